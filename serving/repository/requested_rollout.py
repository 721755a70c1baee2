"""A rollout that an administrator requested: load, unload or rollback of a model.

Unlike other rollouts it either succeeds as a whole or changes nothing, and the request waits for
it.
"""

from __future__ import annotations

import time

from serving.errors import NoAgreementError, VersionRefusedError
from serving.event_loop import run_in_thread
from serving.repository.overrides import StateChange
from serving.repository.reconciler import ROLLOUT_POLL_SECONDS, Reconciler
from serving.repository.rollout import ServedVersions
from serving.repository.rollout_store import ROLLOUT_TIMEOUT_SECONDS


class RequestedRollout:
    """Changes the saved state, and makes all workers serve the resulting versions.

    Args:
        reconciler: Reconciler of this worker. No other thread may use it meanwhile.
        name: Name of the model.
        change: Function that returns the changed state. The state is saved once every worker is
            ready.
        version: Version that is to be live; None to unload the model.
    """

    def __init__(
        self, reconciler: Reconciler, name: str, change: StateChange, version: int | None
    ) -> None:
        self._reconciler, self._store = reconciler, reconciler.rollout_store
        self._name, self._change, self._version = name, change, version

    def run(self) -> None:
        """Load the versions in all workers, save the state and commit the rollout.

        If this raises an error, nothing has changed.

        Raises:
            VersionRefusedError: If the version cannot be loaded or fails its self-test.
            StateNotKeptError: If the state cannot be read or written.
            NoAgreementError: If another worker takes too long.
        """
        try:
            versions = self._load_here()
            self._store.propose_versions(self._name, versions)
            self._wait_until_ready(versions)
            self._reconciler.live_record.save_change(self._change, self._name, self._version)
            self._reconciler.commit_rollout(self._name)
        finally:
            self._reconciler.requested_model = ""
            self._store.withdraw_rollout(self._name)
            self._reconciler.clean_up()
        self._reconciler.advance_rollouts()

    def _load_here(self) -> ServedVersions:
        """Claim the model, and load the versions to serve after the change in this worker."""
        desired = self._reconciler.desired_versions
        while True:
            while not self._store.claim_rollout(self._name):
                self._reconciler.advance_rollouts()
                time.sleep(ROLLOUT_POLL_SECONDS)
            # Only from here on: a rollout that this worker had started by itself must be committed
            # before, or the claim would be waited for in vain.
            self._reconciler.requested_model = self._name
            self._store.release_held_versions(self._name)
            state = self._change(run_in_thread(desired.state_file.read))
            versions = desired.select_versions(self._name, state, self._store.read_plan())
            live = versions[0].version if versions else None
            if self._version is not None and live != self._version:
                raise self._build_refusal(self._version)
            self._wait_until_safe_to_load(versions)
            if (loaded := self._reconciler.load_versions(self._name, versions)) is not None:
                return [snapshot for snapshot, _ in loaded]
            # The version was refused: the next round selects another one, or raises the error.
            self._store.withdraw_rollout(self._name)

    def _wait_until_safe_to_load(self, versions: ServedVersions) -> None:
        deadline = self._store.clock() + ROLLOUT_TIMEOUT_SECONDS
        while not self._reconciler.is_safe_to_load(self._name, versions):
            if self._store.clock() > deadline:
                raise NoAgreementError(
                    f"expected the self-test of {self._name} to end within "
                    f"{ROLLOUT_TIMEOUT_SECONDS:g} seconds; it is still running; nothing was "
                    f"changed; try again"
                )
            self._reconciler.advance_rollouts()
            self._store.renew_claim(self._name)
            time.sleep(ROLLOUT_POLL_SECONDS)

    def _wait_until_ready(self, versions: ServedVersions) -> None:
        """Wait until every worker has loaded the versions, or one refuses them."""
        while self._store.is_proposal_pending(self._name, versions):
            if self._store.is_ready_everywhere(self._name):
                return
            self._reconciler.advance_rollouts()
            time.sleep(ROLLOUT_POLL_SECONDS)
        for snapshot in versions:
            if self._store.read_plan().get_exclusion_reason(self._name, snapshot) is not None:
                raise self._build_refusal(snapshot.version)
        raise NoAgreementError(
            f"expected every worker to load {self._name} in time; one neither loaded nor refused "
            f"it; nothing was changed; try again"
        )

    def _build_refusal(self, version: int) -> VersionRefusedError:
        reasons = self._store.read_plan().list_refusal_reasons()
        reason = reasons.get(f"{self._name}/{version}", "its folder is gone")
        return VersionRefusedError(
            f"expected version {version} of {self._name} to pass its self-test; {reason}; nothing "
            f"was changed",
            model=self._name,
            version=version,
        )
