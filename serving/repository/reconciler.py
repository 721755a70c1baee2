"""The keeper: one worker's part in what all of them serve. It proves, says so, and swaps.

Several workers agree by way of the plan, and each does the same: looks for what should be served,
rolls it out, and follows what is rolled out by the others. All of it is called by one thread or
greenlet at a time.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import NoAgreementError, VersionRefusedError
from serving.event_loop import run_in_thread
from serving.repository.admission import Admission
from serving.repository.desired_versions import DesiredVersions
from serving.repository.loaded_models import LoadedModels, ServedModel
from serving.repository.loading import LoadedVersions, VersionLoader, strip_models_path
from serving.repository.overrides import StateChange
from serving.repository.rollout import Refusal, ServedVersions, VersionSnapshot
from serving.repository.rollout_store import ROLLOUT_TIMEOUT_SECONDS, RolloutStore
from serving.repository.server_record import DefaultModelRecord, LiveVersionRecord
from serving.runtime.heap import request_trim

log = logging.getLogger(__name__)

ROLLOUT_POLL_SECONDS = 0.02  # seconds between two looks at a rollout that someone waits for
READ_RETRY_SECONDS = (
    30.0  # seconds after which a version that could not be read is put to the proof again
)
LOCAL_RETRY_SECONDS = 1.0  # and one that the others serve

OnOutcome = Callable[[str, str], None]  # of a model and an outcome


@dataclass(frozen=True)
class LocalFailure:
    """A version that the others serve, and that cannot be read here.

    Attributes:
        version: its number.
        reason: why.
        until: it is tried again, seconds of the monotonic clock.
    """

    version: int
    reason: str
    retry_at: float

    def is_of_version(self, edition: VersionSnapshot) -> bool:
        """Whether it is of this edition's version."""
        return edition.version == self.version


class Reconciler:
    """What one worker does for the repository.

    Args:
        outlook: what should be served.
        catalogue: is told what answers from here on.
        rollout_store: the plan of all workers.
        loader: Loads and proves versions.
        admission: Says which of those that prove themselves are held.
        tell: is told of a model, by name, that a version of it was "served", "held", "refused" or
            "unloaded" here.

    Attributes:
        draining: versions that no longer answer; dead once no request holds them.
        default_model: Rule by which one model answers requests that name none.
    """

    def __init__(
        self,
        outlook: DesiredVersions,
        catalogue: LoadedModels,
        agenda: RolloutStore,
        loader: VersionLoader,
        admission: Admission,
        tell: OnOutcome,
    ) -> None:
        self.desired_versions, self.loaded_models, self.rollout_store = outlook, catalogue, agenda
        self.default_model = DefaultModelRecord(outlook, catalogue, agenda)
        self.draining: list[weakref.ref[ServedModel]] = []
        self._loader, self._admission, self._on_outcome = loader, admission, tell
        self._served: dict[str, LoadedVersions] = {}
        self._pending_models: set[str] = set()  # models to be looked at again
        self._local_failures: dict[
            str, LocalFailure
        ] = {}  # models that the others serve, and this one cannot
        self.requested_model = ""  # the model whose rollout someone waits for, and commits
        self._live_record = LiveVersionRecord(outlook, agenda)

    @property
    def is_settled(self) -> bool:
        """Nothing is being rolled out, and what is served here is what all agreed on."""
        plan = self.rollout_store.read_plan()
        busy = plan.rollouts or (self._pending_models and not self.desired_versions.read_errors)
        behind = {
            name
            for name, line in plan.served_versions.items()
            if self._get_served_versions().get(name) != line
        }
        return (
            not busy
            and behind <= set(self._local_failures)
            and set(self._served) <= set(plan.served_versions)
        )

    @property
    def is_only_waiting_for_proofs(self) -> bool:
        """Whether nothing is left to do but to wait for the proofs of new versions."""
        rollouts = self.rollout_store.read_plan().rollouts
        return self._pending_models <= rollouts.keys() and all(
            r.versions is None for r in rollouts.values()
        )

    def start_rollouts(self) -> None:
        """Look for what should be served, and begin to roll it out."""
        self.desired_versions.scan_folder()
        self.desired_versions.reload_saved_state()
        self._clear_outdated_refusals()
        self._pending_models |= {
            *self.desired_versions.folder_scan.versions,
            *self.rollout_store.read_plan().served_versions,
        }
        self.start_pending_rollouts()

    def start_rollouts_of_changed_state(self) -> None:
        """Look for models that should be served otherwise since the state was read last."""
        if changed := self.desired_versions.reload_saved_state():
            self.desired_versions.scan_folder()
            self._clear_outdated_refusals()  # one that was held may be pinned now
            self._pending_models |= changed

    def start_pending_rollouts(self) -> None:
        """Look at models whose rollout was in the way, or came to nothing."""
        if self.desired_versions.read_errors:
            return
        due, self._pending_models = self._pending_models, set()
        for name in sorted(due):
            self._start_rollout(name)

    def clear_refusal(self, name: str, version: int) -> None:
        """Forget that a version was refused; it will be put to the proof again."""
        key = f"{name}/{version}"
        reasons = self.rollout_store.read_plan().refusals.get(key, {})
        self.rollout_store.clear_refusals([(key, found) for found in reasons])

    def advance_rollouts(self) -> None:
        """Prove what is being rolled out, serve what is agreed on."""
        # But not what someone asked for in vain: nothing is to change then.
        self._pending_models |= {
            *self.rollout_store.drop_stale_rollouts(),
            *self.rollout_store.refuse_crashing_versions(),
        } - {self.requested_model}
        for name, rollout in self.rollout_store.read_plan().rollouts.items():
            if rollout.versions is None:
                continue
            if os.getpid() not in rollout.ready_pids:
                if self.load_versions(name, rollout.versions) is not None:
                    self.rollout_store.report_ready(name, rollout.versions)
            elif (
                rollout.leader_pid == os.getpid()
                and name != self.requested_model
                and self.rollout_store.is_ready_everywhere(name)
            ):
                self.default_model.save_before_commit(name)
                self.rollout_store.commit_rollout(name)
                self._live_record.is_stale = True
        self._live_record.save_live_versions()
        self.default_model.apply()
        plan, lines = self.rollout_store.read_plan(), self._get_served_versions()
        for name in sorted({*plan.served_versions, *lines}):
            if plan.served_versions.get(name) != lines.get(name):
                self._serve_versions(name, plan.served_versions.get(name, []))
        self._clean_up()

    def apply_change(self, name: str, change: StateChange, version: int | None) -> None:
        """Change the state, and have all workers serve what follows from it.

        Args:
            name: of the model.
            change: of the state, which is kept once every worker is ready.
            version: that answers then; None if none is to.

        Raises:
            VersionRefusedError: it does not prove itself; nothing was changed.
            StateNotKeptError: the state cannot be read or written; nothing was changed.
            NoAgreementError: another worker takes too long; nothing was changed.
        """
        self.requested_model = name
        try:
            line = self._prepare(name, change, version)
            self.rollout_store.propose_versions(name, line)
            self.wait_until_ready(name, line)
            self._live_record.save_change(change, name, version)
            self.default_model.save_before_commit(name)
            self.rollout_store.commit_rollout(name)
            self._live_record.is_stale = True
        finally:
            self.requested_model = ""
            self.rollout_store.withdraw_rollout(name)
            self._clean_up()
        self.advance_rollouts()

    def _clear_outdated_refusals(self) -> None:
        plan, now = self.rollout_store.read_plan(), self.rollout_store.clock()
        self.rollout_store.clear_refusals(
            run_in_thread(lambda: self.desired_versions.find_outdated_refusals(plan, now))
        )

    def _prepare(self, name: str, change: StateChange, version: int | None) -> ServedVersions:
        """What follows from a change, proved here; the model is claimed."""
        while True:
            while not self.rollout_store.claim_rollout(name):
                self.advance_rollouts()
                time.sleep(ROLLOUT_POLL_SECONDS)
            self.rollout_store.release_held_versions(name)
            state, plan = (
                change(run_in_thread(self.desired_versions.state_file.read)),
                self.rollout_store.read_plan(),
            )
            line = self.desired_versions.select_versions(name, state, plan)
            if version is not None and (not line or line[0].version != version):
                raise self._refusal(name, version)
            deadline = self.rollout_store.clock() + ROLLOUT_TIMEOUT_SECONDS
            while not self._loader.is_safe_to_load(name, line, self._served.get(name, [])):
                if self.rollout_store.clock() > deadline:
                    raise NoAgreementError(
                        f"expected {name} to be proved within {ROLLOUT_TIMEOUT_SECONDS:g} seconds; the proof goes "
                        f"on; nothing was changed; try again"
                    )
                self.advance_rollouts()
                self.rollout_store.renew_claim(name)
                time.sleep(ROLLOUT_POLL_SECONDS)
            if (proved := self.load_versions(name, line)) is not None:
                return [edition for edition, _ in proved]
            self.rollout_store.withdraw_rollout(name)

    def wait_until_ready(self, name: str, line: ServedVersions) -> None:
        while self.rollout_store.is_proposal_pending(name, line):
            if self.rollout_store.is_ready_everywhere(name):
                return
            self.advance_rollouts()
            time.sleep(ROLLOUT_POLL_SECONDS)
        for edition in line:
            if self.rollout_store.read_plan().get_refusal_reason(name, edition) is not None:
                raise self._refusal(name, edition.version)
        raise NoAgreementError(
            f"expected every worker to prove {name} in time; one neither did nor refused it; "
            f"nothing was changed; try again"
        )

    def _refusal(self, name: str, version: int) -> VersionRefusedError:
        reason = (
            self.rollout_store.read_plan()
            .list_refusal_reasons()
            .get(f"{name}/{version}", "its folder has gone")
        )
        return VersionRefusedError(
            f"expected version {version} of {name} to prove itself; {reason}; nothing was changed",
            model=name,
            version=version,
        )

    def _start_rollout(self, name: str) -> None:
        """Begin to have all serve what should be served of a model."""
        if name in self.desired_versions.folder_scan.unreadable:
            return
        if self._loader.is_proving(name):
            self.rollout_store.renew_claim(name)
            self._pending_models.add(name)
            return
        # Once for each version, and not for ever: one that is being written changes all the time.
        for _ in range(len(self.desired_versions.folder_scan.versions.get(name, [])) + 1):
            plan = self.rollout_store.read_plan()
            served = plan.served_versions.get(name, [])
            if not {e.version for e in served} <= {
                *self.desired_versions.folder_scan.versions.get(name, [])
            }:
                self.desired_versions.scan_folder()  # another worker may have looked later
            line = self.desired_versions.select_versions(
                name, self.desired_versions.saved_state, plan
            )
            if len(line) == len(served) and all(
                map(VersionSnapshot.has_same_content, line, served)
            ):
                if self.rollout_store.has_claim(name):  # the version was removed during its proof
                    self.rollout_store.withdraw_rollout(name)
                return
            if not self.rollout_store.claim_rollout(name):
                self._pending_models.add(name)
                return
            if self.rollout_store.read_plan().served_versions.get(name, []) == served:
                if not self._loader.is_safe_to_load(name, line, self._served.get(name, [])):
                    self._pending_models.add(name)
                    return
                proved = self.load_versions(name, line)
                if proved is not None and not self._hold_if_incompatible(name, proved, served):
                    self.rollout_store.propose_versions(name, [edition for edition, _ in proved])
                    return
            # It was refused, or is held, or someone else had been faster.
            self.rollout_store.withdraw_rollout(name)

    def load_versions(self, name: str, line: ServedVersions) -> LoadedVersions | None:
        """The editions, proved here; None if one is refused."""
        return self._loader.load_versions(
            name, line, self._served.get(name, []), self._record_refusal
        )

    def _hold_if_incompatible(
        self, name: str, proved: LoadedVersions, line: ServedVersions
    ) -> bool:
        """Return whether the first of these versions is held; record the reason if so."""
        refusal = self._admission.find_incompatibility(
            name, proved, line, self._served.get(name, [])
        )
        if refusal is None:
            return False
        edition = proved[0][0]
        log.warning("%s/%s is %s", name, edition.version, refusal.reason)
        self.rollout_store.refuse_version(name, edition, refusal)
        self._on_outcome(name, "held")
        return True

    def _record_refusal(
        self, name: str, edition: VersionSnapshot, reason: str, passes: bool
    ) -> None:
        self._on_outcome(name, "refused")
        now = self.rollout_store.clock()
        if any(
            edition.has_same_content(other)
            for other in self.rollout_store.read_plan().served_versions.get(name, [])
        ):
            # The others serve it. That it cannot be read here and now is no fault of its own.
            self.desired_versions.scan_folder()
            if (
                passes
                or self.desired_versions.read_errors
                or edition.version not in self.desired_versions.folder_scan.versions.get(name, [])
            ):
                self._local_failures[name] = LocalFailure(
                    edition.version, reason, now + LOCAL_RETRY_SECONDS
                )
                return
        until = now + READ_RETRY_SECONDS if passes else None
        self.rollout_store.refuse_version(name, edition, Refusal(reason=reason, retry_at=until))

    def _serve_versions(self, name: str, line: ServedVersions) -> None:
        """Have the agreed line answer here."""
        stuck = self._local_failures.get(name)
        if (
            stuck
            and self.rollout_store.clock() < stuck.retry_at
            and any(map(stuck.is_of_version, line))
        ):
            return
        self._local_failures.pop(name, None)
        proved = self.load_versions(name, line)
        if proved is None:  # as after a restart, when it was damaged meanwhile: all must do without
            self._pending_models.add(name)
            return
        before = {model for _, model in self._served.pop(name, [])}
        if proved:
            self._served[name] = proved
        models = [model for _, model in proved]
        self.loaded_models.replace_versions(name, models)
        self.draining += map(weakref.ref, before - set(models))
        for model in models:
            if model not in before:
                _log_served(model)
                self._on_outcome(name, "served")
        if not line:
            log.info("unloaded %s", name)
            self._on_outcome(name, "unloaded")

    def _clean_up(self) -> None:
        """Let go of what came to nothing, and say what is refused."""
        plan = self.rollout_store.read_plan()
        self._loader.discard_except(
            plan.rollouts.keys(), self._pending_models | plan.rollouts.keys()
        )
        draining = [model for model in self.draining if model() is not None]
        if len(draining) < len(self.draining):
            request_trim()
        self.draining = draining
        refused = plan.list_refusal_reasons() | {
            f"{name}/{stuck.version}": stuck.reason for name, stuck in self._local_failures.items()
        }
        for name, proved in self._served.items():
            for edition, model in proved:
                refused |= {
                    f"{name}/{edition.version}/{variant}": trial.failure
                    for variant, trial in model.variant_checks.items()
                    if not trial.passed
                }
        for name, reason in {
            **self.desired_versions.folder_scan.unreadable,
            **self.desired_versions.read_errors,
        }.items():
            refused[name] = strip_models_path(reason, self.desired_versions.models)
        if refused != self.loaded_models.refusal_reasons:
            self.loaded_models.refusal_reasons = refused
        self.loaded_models.hold_reasons = plan.list_refusal_reasons(is_held=True)

    def _get_served_versions(self) -> dict[str, ServedVersions]:
        return {name: [edition for edition, _ in proved] for name, proved in self._served.items()}


def _log_served(model: ServedModel) -> None:
    version = f"{model.manifest.name}/{model.manifest.version}"
    for variant, trial in model.variant_checks.items():
        if not trial.passed:
            log.warning("refused %s/%s: %s", version, variant, trial.failure)
    log.info("serving %s: %s", version, model.variant_reason)
