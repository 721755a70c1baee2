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

    def by(self, edition: VersionSnapshot) -> bool:
        """Whether it is of this edition's version."""
        return edition.version == self.version


class Reconciler:
    """What one worker does for the repository.

    Args:
        outlook: what should be served.
        catalogue: is told what answers from here on.
        agenda: the plan of all workers.
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
        self.desired_versions, self.loaded_models, self.agenda = outlook, catalogue, agenda
        self.default_model = DefaultModelRecord(outlook, catalogue, agenda)
        self.draining: list[weakref.ref[ServedModel]] = []
        self._loader, self._admission, self._tell = loader, admission, tell
        self._served: dict[str, LoadedVersions] = {}
        self._due: set[str] = set()  # models to be looked at again
        self._local_failures: dict[
            str, LocalFailure
        ] = {}  # models that the others serve, and this one cannot
        self._asked = ""  # the model whose rollout someone waits for, and commits
        self._record = LiveVersionRecord(outlook, agenda)

    @property
    def is_settled(self) -> bool:
        """Nothing is being rolled out, and what is served here is what all agreed on."""
        plan = self.agenda.read()
        busy = plan.rollouts or (self._due and not self.desired_versions.faults)
        behind = {name for name, line in plan.lines.items() if self._lines().get(name) != line}
        return (
            not busy
            and behind <= set(self._local_failures)
            and set(self._served) <= set(plan.lines)
        )

    @property
    def is_only_waiting_for_proofs(self) -> bool:
        """Whether nothing is left to do but to wait for the proofs of new versions."""
        rollouts = self.agenda.read().rollouts
        return self._due <= rollouts.keys() and all(r.versions is None for r in rollouts.values())

    def look(self) -> None:
        """Look for what should be served, and begin to roll it out."""
        self.desired_versions.scan_folder()
        self.desired_versions.reload_saved_state()
        self._clear_outdated_refusals()
        self._due |= {*self.desired_versions.folder_scan.versions, *self.agenda.read().lines}
        self.start_pending_rollouts()

    def start_rollouts_of_changed_state(self) -> None:
        """Look for models that should be served otherwise since the state was read last."""
        if changed := self.desired_versions.reload_saved_state():
            self.desired_versions.scan_folder()
            self._clear_outdated_refusals()  # one that was held may be pinned now
            self._due |= changed

    def start_pending_rollouts(self) -> None:
        """Look at models whose rollout was in the way, or came to nothing."""
        if self.desired_versions.faults:
            return
        due, self._due = self._due, set()
        for name in sorted(due):
            self._start_rollout(name)

    def forgive(self, name: str, version: int) -> None:
        """Forget that a version was refused; it will be put to the proof again."""
        key = f"{name}/{version}"
        reasons = self.agenda.read().refused.get(key, {})
        self.agenda.forgive([(key, found) for found in reasons])

    def follow(self) -> None:
        """Prove what is being rolled out, serve what is agreed on."""
        # But not what someone asked for in vain: nothing is to change then.
        self._due |= {*self.agenda.clear(), *self.agenda.refuse_crashing_versions()} - {self._asked}
        for name, rollout in self.agenda.read().rollouts.items():
            if rollout.versions is None:
                continue
            if os.getpid() not in rollout.ready:
                if self.load_versions(name, rollout.versions) is not None:
                    self.agenda.report_ready(name, rollout.versions)
            elif (
                rollout.by == os.getpid()
                and name != self._asked
                and self.agenda.is_ready_everywhere(name)
            ):
                self.default_model.save_before_commit(name)
                self.agenda.commit(name)
                self._record.is_stale = True
        self._record.update()
        self.default_model.follow()
        plan, lines = self.agenda.read(), self._lines()
        for name in sorted({*plan.lines, *lines}):
            if plan.lines.get(name) != lines.get(name):
                self._serve(name, plan.lines.get(name, []))
        self._tidy()

    def ask(self, name: str, change: StateChange, version: int | None) -> None:
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
        self._asked = name
        try:
            line = self._prepare(name, change, version)
            self.agenda.propose(name, line)
            self.wait_until_ready(name, line)
            self._record.keep(change, name, version)
            self.default_model.save_before_commit(name)
            self.agenda.commit(name)
            self._record.is_stale = True
        finally:
            self._asked = ""
            self.agenda.withdraw_rollout(name)
            self._tidy()
        self.follow()

    def _clear_outdated_refusals(self) -> None:
        plan, now = self.agenda.read(), self.agenda.clock()
        self.agenda.forgive(
            run_in_thread(lambda: self.desired_versions.find_outdated_refusals(plan, now))
        )

    def _prepare(self, name: str, change: StateChange, version: int | None) -> ServedVersions:
        """What follows from a change, proved here; the model is claimed."""
        while True:
            while not self.agenda.claim_rollout(name):
                self.follow()
                time.sleep(ROLLOUT_POLL_SECONDS)
            self.agenda.release(name)
            state, plan = (
                change(run_in_thread(self.desired_versions.state.read)),
                self.agenda.read(),
            )
            line = self.desired_versions.wish(name, state, plan)
            if version is not None and (not line or line[0].version != version):
                raise self._refusal(name, version)
            deadline = self.agenda.clock() + ROLLOUT_TIMEOUT_SECONDS
            while not self._loader.is_safe_to_load(name, line, self._served.get(name, [])):
                if self.agenda.clock() > deadline:
                    raise NoAgreementError(
                        f"expected {name} to be proved within {ROLLOUT_TIMEOUT_SECONDS:g} seconds; the proof goes "
                        f"on; nothing was changed; try again"
                    )
                self.follow()
                self.agenda.renew_claim(name)
                time.sleep(ROLLOUT_POLL_SECONDS)
            if (proved := self.load_versions(name, line)) is not None:
                return [edition for edition, _ in proved]
            self.agenda.withdraw_rollout(name)

    def wait_until_ready(self, name: str, line: ServedVersions) -> None:
        while self.agenda.is_proposal_pending(name, line):
            if self.agenda.is_ready_everywhere(name):
                return
            self.follow()
            time.sleep(ROLLOUT_POLL_SECONDS)
        for edition in line:
            if self.agenda.read().reason(name, edition) is not None:
                raise self._refusal(name, edition.version)
        raise NoAgreementError(
            f"expected every worker to prove {name} in time; one neither did nor refused it; "
            f"nothing was changed; try again"
        )

    def _refusal(self, name: str, version: int) -> VersionRefusedError:
        reason = self.agenda.read().reasons().get(f"{name}/{version}", "its folder has gone")
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
            self.agenda.renew_claim(name)
            self._due.add(name)
            return
        # Once for each version, and not for ever: one that is being written changes all the time.
        for _ in range(len(self.desired_versions.folder_scan.versions.get(name, [])) + 1):
            plan = self.agenda.read()
            served = plan.lines.get(name, [])
            if not {e.version for e in served} <= {
                *self.desired_versions.folder_scan.versions.get(name, [])
            }:
                self.desired_versions.scan_folder()  # another worker may have looked later
            line = self.desired_versions.wish(name, self.desired_versions.saved_state, plan)
            if len(line) == len(served) and all(map(VersionSnapshot.same, line, served)):
                if self.agenda.has_claim(name):  # the version was removed during its proof
                    self.agenda.withdraw_rollout(name)
                return
            if not self.agenda.claim_rollout(name):
                self._due.add(name)
                return
            if self.agenda.read().lines.get(name, []) == served:
                if not self._loader.is_safe_to_load(name, line, self._served.get(name, [])):
                    self._due.add(name)
                    return
                proved = self.load_versions(name, line)
                if proved is not None and not self._hold_if_incompatible(name, proved, served):
                    self.agenda.propose(name, [edition for edition, _ in proved])
                    return
            # It was refused, or is held, or someone else had been faster.
            self.agenda.withdraw_rollout(name)

    def load_versions(self, name: str, line: ServedVersions) -> LoadedVersions | None:
        """The editions, proved here; None if one is refused."""
        return self._loader.load_versions(name, line, self._served.get(name, []), self._refuse)

    def _hold_if_incompatible(
        self, name: str, proved: LoadedVersions, line: ServedVersions
    ) -> bool:
        """Return whether the first of these versions is held; record the reason if so."""
        refusal = self._admission.hold(name, proved, line, self._served.get(name, []))
        if refusal is None:
            return False
        edition = proved[0][0]
        log.warning("%s/%s is %s", name, edition.version, refusal.reason)
        self.agenda.refuse(name, edition, refusal)
        self._tell(name, "held")
        return True

    def _refuse(self, name: str, edition: VersionSnapshot, reason: str, passes: bool) -> None:
        self._tell(name, "refused")
        now = self.agenda.clock()
        if any(edition.same(other) for other in self.agenda.read().lines.get(name, [])):
            # The others serve it. That it cannot be read here and now is no fault of its own.
            self.desired_versions.scan_folder()
            if (
                passes
                or self.desired_versions.faults
                or edition.version not in self.desired_versions.folder_scan.versions.get(name, [])
            ):
                self._local_failures[name] = LocalFailure(
                    edition.version, reason, now + LOCAL_RETRY_SECONDS
                )
                return
        until = now + READ_RETRY_SECONDS if passes else None
        self.agenda.refuse(name, edition, Refusal(reason=reason, retry_at=until))

    def _serve(self, name: str, line: ServedVersions) -> None:
        """Have the agreed line answer here."""
        stuck = self._local_failures.get(name)
        if stuck and self.agenda.clock() < stuck.retry_at and any(map(stuck.by, line)):
            return
        self._local_failures.pop(name, None)
        proved = self.load_versions(name, line)
        if proved is None:  # as after a restart, when it was damaged meanwhile: all must do without
            self._due.add(name)
            return
        before = {model for _, model in self._served.pop(name, [])}
        if proved:
            self._served[name] = proved
        models = [model for _, model in proved]
        self.loaded_models.swap(name, models)
        self.draining += map(weakref.ref, before - set(models))
        for model in models:
            if model not in before:
                _log_served(model)
                self._tell(name, "served")
        if not line:
            log.info("unloaded %s", name)
            self._tell(name, "unloaded")

    def _tidy(self) -> None:
        """Let go of what came to nothing, and say what is refused."""
        plan = self.agenda.read()
        self._loader.forget_all_but(plan.rollouts.keys(), self._due | plan.rollouts.keys())
        draining = [model for model in self.draining if model() is not None]
        if len(draining) < len(self.draining):
            request_trim()
        self.draining = draining
        refused = plan.reasons() | {
            f"{name}/{stuck.version}": stuck.reason for name, stuck in self._local_failures.items()
        }
        for name, proved in self._served.items():
            for edition, model in proved:
                refused |= {
                    f"{name}/{edition.version}/{variant}": trial.reason
                    for variant, trial in model.trials.items()
                    if not trial.passed
                }
        for name, reason in {
            **self.desired_versions.folder_scan.unreadable,
            **self.desired_versions.faults,
        }.items():
            refused[name] = strip_models_path(reason, self.desired_versions.models)
        if refused != self.loaded_models.refused:
            self.loaded_models.refused = refused
        self.loaded_models.held = plan.reasons(is_held=True)

    def _lines(self) -> dict[str, ServedVersions]:
        return {name: [edition for edition, _ in proved] for name, proved in self._served.items()}


def _log_served(model: ServedModel) -> None:
    version = f"{model.manifest.name}/{model.manifest.version}"
    for variant, trial in model.trials.items():
        if not trial.passed:
            log.warning("refused %s/%s: %s", version, variant, trial.reason)
    log.info("serving %s: %s", version, model.why)
