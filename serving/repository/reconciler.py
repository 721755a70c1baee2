"""Makes the versions that one worker serves match those that all workers should serve.

Each worker has one reconciler. It starts a rollout when the desired versions differ from the served
ones, loads what other workers propose, and serves what is committed. The workers agree through the
rollout plan in shared memory. One thread or greenlet at a time may call a reconciler.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from serving.event_loop import run_in_thread
from serving.repository.admission import Admission
from serving.repository.desired_versions import DesiredVersions
from serving.repository.loaded_models import LoadedModels, LoadedVersions, ServedModel
from serving.repository.loading import VersionLoader, strip_models_path
from serving.repository.rollout import Refusal, RolloutPlan, ServedVersions, VersionSnapshot
from serving.repository.rollout_store import RolloutStore
from serving.repository.server_record import DefaultModelRecord, LiveVersionRecord
from serving.runtime.heap import request_trim

log = logging.getLogger(__name__)

ROLLOUT_POLL_SECONDS = 0.02  # pause between two steps of a rollout in progress
READ_RETRY_SECONDS = 30.0  # pause before a version that could not be read is loaded again
LOCAL_RETRY_SECONDS = 1.0  # the same for a version that the other workers serve

# Callback with the name of a model and the outcome for one of its versions in this worker:
# "served", "held", "refused" or "unloaded".
OnOutcome = Callable[[str, str], None]


@dataclass(frozen=True)
class LocalFailure:
    """A version that the other workers serve, but that this worker cannot read.

    Attributes:
        version: Number of the version.
        reason: Reason as a sentence.
        retry_at: Time of the next attempt, on the rollout store's clock, in seconds.
    """

    version: int
    reason: str
    retry_at: float

    def is_of_version(self, snapshot: VersionSnapshot) -> bool:
        """Return whether the failure concerns this version, regardless of its content."""
        return snapshot.version == self.version


class Reconciler:
    """Rolls out versions together with the other workers, and serves them.

    Args:
        desired_versions: Reader of the folder of models and the saved state.
        loaded_models: Loaded models of this worker, which serve requests.
        store: Rollout plan that all workers share.
        loader: Loader of versions.
        admission: Check whether a version that passed its self-test is served automatically.
        on_outcome: Callback for each version that is served, held, refused or unloaded here.

    Attributes:
        desired_versions: Reader of the folder of models and the saved state.
        loaded_models: Loaded models of this worker, which serve requests.
        rollout_store: Rollout plan that all workers share.
        default_model: Record of the default model.
        live_record: Record of the live versions, for a restart.
        draining: Weak references to replaced models that still serve requests that began before.
        requested_model: Name of the model that an administrator's request is rolling out; that
            request also commits the rollout. Empty if there is no such request.
    """

    def __init__(
        self,
        desired_versions: DesiredVersions,
        loaded_models: LoadedModels,
        store: RolloutStore,
        loader: VersionLoader,
        admission: Admission,
        on_outcome: OnOutcome,
    ) -> None:
        self.desired_versions, self.loaded_models = desired_versions, loaded_models
        self.rollout_store = store
        self.default_model = DefaultModelRecord(desired_versions, loaded_models, store)
        self.live_record = LiveVersionRecord(desired_versions, store)
        self.draining: list[weakref.ref[ServedModel]] = []
        self.requested_model = ""
        self._loader, self._admission, self._on_outcome = loader, admission, on_outcome
        self._served: dict[str, LoadedVersions] = {}
        self._pending_models: set[str] = set()  # Names of models that may need a rollout.
        self._local_failures: dict[str, LocalFailure] = {}  # By name of the model.

    @property
    def is_settled(self) -> bool:
        """Whether no rollout is in progress, and this worker serves what was committed."""
        plan = self.rollout_store.read_plan()
        if plan.rollouts or (self._pending_models and not self.desired_versions.read_errors):
            return False
        served = self._get_served_versions()
        outdated = {
            name for name, versions in plan.served_versions.items() if served.get(name) != versions
        }
        return outdated <= set(self._local_failures) and set(served) <= set(plan.served_versions)

    @property
    def is_only_waiting_for_proofs(self) -> bool:
        """Whether nothing is left to do but to wait for the proofs of new versions."""
        rollouts = self.rollout_store.read_plan().rollouts
        return self._pending_models <= rollouts.keys() and all(
            rollout.versions is None for rollout in rollouts.values()
        )

    def start_rollouts(self) -> None:
        """Read the folder and the state file, and start the rollouts that they require."""
        self.desired_versions.scan_folder()
        self.desired_versions.reload_saved_state()
        self._clear_outdated_exclusions()
        self._pending_models |= {
            *self.desired_versions.folder_scan.versions,
            *self.rollout_store.read_plan().served_versions,
        }
        self.start_pending_rollouts()

    def reload_saved_state(self) -> None:
        """Read the state file; models whose pin or unload changed become pending."""
        if changed := self.desired_versions.reload_saved_state():
            self.desired_versions.scan_folder()
            self._clear_outdated_exclusions()  # A version that was held may be pinned now.
            self._pending_models |= changed

    def start_pending_rollouts(self) -> None:
        """Start a rollout of each pending model, unless it serves the desired versions already."""
        if self.desired_versions.read_errors:
            return
        pending, self._pending_models = self._pending_models, set()
        for name in sorted(pending):
            self._start_rollout(name)

    def advance_rollouts(self) -> None:
        """Load proposed versions, commit those that all workers loaded, serve committed ones."""
        stopped = {
            *self.rollout_store.drop_stale_rollouts(),
            *self.rollout_store.refuse_crashing_versions(),
        }
        # A rollout that an administrator requested must change nothing if it fails: no retry.
        self._pending_models |= stopped - {self.requested_model}
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
                self.commit_rollout(name)
        self.live_record.save_live_versions()
        self.default_model.apply()
        committed = self.rollout_store.read_plan().served_versions
        served = self._get_served_versions()
        for name in sorted({*committed, *served}):
            if committed.get(name) != served.get(name):
                self._serve_versions(name, committed.get(name, []))
        self.clean_up()

    def commit_rollout(self, name: str) -> None:
        """Make all workers serve the versions that this worker proposed for a model."""
        self.default_model.save_before_commit(name)
        self.rollout_store.commit_rollout(name)
        self.live_record.is_stale = True

    def clear_exclusions(self, name: str, version: int) -> None:
        """Forget that a version was refused or held, so that it is loaded and tested again."""
        key = f"{name}/{version}"
        exclusions = self.rollout_store.read_plan().exclusions.get(key, {})
        self.rollout_store.clear_exclusions([(key, fingerprint) for fingerprint in exclusions])

    def is_safe_to_load(self, name: str, versions: ServedVersions) -> bool:
        """Return whether the proofs of these versions have ended; start those that have not begun.

        Args:
            name: Name of the model.
            versions: Versions to load.
        """
        return self._loader.is_safe_to_load(name, versions, self._served.get(name, []))

    def load_versions(self, name: str, versions: ServedVersions) -> LoadedVersions | None:
        """Return versions loaded in this worker; None if one of them is refused.

        Args:
            name: Name of the model.
            versions: Versions to load, unless they are loaded already.
        """
        served = self._served.get(name, [])
        return self._loader.load_versions(name, versions, served, self._record_refusal)

    def clean_up(self) -> None:
        """Free unused models and proof reports, and publish the reasons of refused versions."""
        plan = self.rollout_store.read_plan()
        rolling_out = plan.rollouts.keys()
        self._loader.discard_except(rolling_out, self._pending_models | rolling_out)
        draining = [reference for reference in self.draining if reference() is not None]
        if len(draining) < len(self.draining):
            request_trim()
        self.draining = draining
        reasons = self._collect_refusal_reasons(plan)
        if reasons != self.loaded_models.refusal_reasons:
            self.loaded_models.refusal_reasons = reasons
        self.loaded_models.hold_reasons = plan.list_hold_reasons()

    def _collect_refusal_reasons(self, plan: RolloutPlan) -> dict[str, str]:
        """Return why versions, variants, folders and the state file are not used, by their keys."""
        reasons = plan.list_refusal_reasons()
        for name, failure in self._local_failures.items():
            reasons[f"{name}/{failure.version}"] = failure.reason
        for name, loaded in self._served.items():
            for snapshot, model in loaded:
                for variant, check in model.variant_checks.items():
                    if not check.passed:
                        reasons[f"{name}/{snapshot.version}/{variant}"] = check.failure
        desired = self.desired_versions
        for name, reason in {**desired.folder_scan.unreadable, **desired.read_errors}.items():
            reasons[name] = strip_models_path(reason, desired.models)
        return reasons

    def _clear_outdated_exclusions(self) -> None:
        plan, now = self.rollout_store.read_plan(), self.rollout_store.clock()
        self.rollout_store.clear_exclusions(
            run_in_thread(lambda: self.desired_versions.find_outdated_exclusions(plan, now))
        )

    def _start_rollout(self, name: str) -> None:
        """Propose the desired versions of a model to the other workers, if they are not served."""
        desired = self.desired_versions
        if name in desired.folder_scan.unreadable:
            return
        if self._loader.is_proving(name):
            self.rollout_store.renew_claim(name)
            self._pending_models.add(name)
            return
        # Each round refuses or holds one version, so one round per version is enough. The rounds
        # are limited because a version that is being written has new content in each of them.
        for _ in range(len(desired.folder_scan.versions.get(name, [])) + 1):
            plan = self.rollout_store.read_plan()
            current = plan.served_versions.get(name, [])
            in_folder = desired.folder_scan.versions.get(name, [])
            if not {snapshot.version for snapshot in current} <= {*in_folder}:
                desired.scan_folder()  # Another worker may have scanned it later than this one.
            versions = desired.select_versions(name, desired.saved_state, plan)
            pairs = zip(versions, current, strict=False)
            if len(versions) == len(current) and all(a.has_same_content(b) for a, b in pairs):
                if self.rollout_store.has_claim(name):  # The version was removed during its proof.
                    self.rollout_store.withdraw_rollout(name)
                return
            if not self.rollout_store.claim_rollout(name):
                self._pending_models.add(name)
                return
            if self.rollout_store.read_plan().served_versions.get(name, []) == current:
                if not self.is_safe_to_load(name, versions):
                    self._pending_models.add(name)
                    return
                loaded = self.load_versions(name, versions)
                if loaded is not None and not self._hold_if_incompatible(name, loaded, current):
                    proposal = [snapshot for snapshot, _ in loaded]
                    self.rollout_store.propose_versions(name, proposal)
                    return
            # A version was refused or held, or another worker committed a rollout meanwhile.
            self.rollout_store.withdraw_rollout(name)

    def _hold_if_incompatible(
        self, name: str, loaded: LoadedVersions, current: ServedVersions
    ) -> bool:
        """Return whether the first of the loaded versions is held; record the reason if so."""
        hold = self._admission.find_incompatibility(
            name, loaded, current, self._served.get(name, [])
        )
        if hold is None:
            return False
        snapshot = loaded[0][0]
        log.warning("%s/%s is %s", name, snapshot.version, hold.reason)
        self.rollout_store.exclude_version(name, snapshot, hold)
        self._on_outcome(name, "held")
        return True

    def _record_refusal(
        self, name: str, snapshot: VersionSnapshot, reason: str, is_transient: bool
    ) -> None:
        """Refuse a version in all workers, or only here if the others serve it."""
        self._on_outcome(name, "refused")
        now = self.rollout_store.clock()
        current = self.rollout_store.read_plan().served_versions.get(name, [])
        if any(map(snapshot.has_same_content, current)):
            # The other workers serve it, and continue to if this worker only failed to read it.
            self.desired_versions.scan_folder()
            in_folder = self.desired_versions.folder_scan.versions.get(name, [])
            is_readable = snapshot.version in in_folder and not self.desired_versions.read_errors
            if is_transient or not is_readable:
                self._local_failures[name] = LocalFailure(
                    snapshot.version, reason, now + LOCAL_RETRY_SECONDS
                )
                return
        retry_at = now + READ_RETRY_SECONDS if is_transient else None
        refusal = Refusal(reason=reason, retry_at=retry_at)
        self.rollout_store.exclude_version(name, snapshot, refusal)

    def _serve_versions(self, name: str, versions: ServedVersions) -> None:
        """Serve the committed versions of a model; stop serving the model if there are none."""
        failure = self._local_failures.get(name)
        is_too_early = failure and self.rollout_store.clock() < failure.retry_at
        if failure and is_too_early and any(map(failure.is_of_version, versions)):
            return
        self._local_failures.pop(name, None)
        loaded = self.load_versions(name, versions)
        if loaded is None:
            # For instance, the files were damaged before a restart. Then no worker may serve them.
            self._pending_models.add(name)
            return
        before = {model for _, model in self._served.pop(name, [])}
        if loaded:
            self._served[name] = loaded
        models = [model for _, model in loaded]
        self.loaded_models.replace_versions(name, models)
        self.draining += map(weakref.ref, before - set(models))
        for model in models:
            if model not in before:
                _log_served(model)
                self._on_outcome(name, "served")
        if not versions:
            log.info("unloaded %s", name)
            self._on_outcome(name, "unloaded")

    def _get_served_versions(self) -> dict[str, ServedVersions]:
        return {name: [snapshot for snapshot, _ in pairs] for name, pairs in self._served.items()}


def _log_served(model: ServedModel) -> None:
    key = f"{model.manifest.name}/{model.manifest.version}"
    for variant, check in model.variant_checks.items():
        if not check.passed:
            log.warning("refused %s/%s: %s", key, variant, check.failure)
    log.info("serving %s: %s", key, model.variant_reason)
