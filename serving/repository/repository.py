"""The repository as a whole: found in by requests, asked by administrators, watched over."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from serving.errors import ModelNotFoundError, NoEarlierVersionError, VersionRefusedError
from serving.event_loop import run_in_thread
from serving.repository.admission import Admission, TakeUpPolicy
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import explain_missing_models
from serving.repository.index import IndexEntry, build_index
from serving.repository.loaded_models import MAX_NAME_CHARACTERS, LoadedModels
from serving.repository.loading import VersionLoader
from serving.repository.overrides import StateChange, StateFile
from serving.repository.reconciler import ROLLOUT_POLL_SECONDS, OnOutcome, Reconciler
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime import ProofLimits
from serving.runtime.heap import is_trim_due, trim_heap
from serving.runtime.proof_server import ProofServer
from serving.runtime.variant_selection import AUTO_VARIANT

log = logging.getLogger(__name__)

START_WAIT_SECONDS = 2.0  # seconds that start-up waits for pending proofs while a model is served
EMPTY_START_WAIT_SECONDS = 30.0  # and while none is served
REMINDER_SECONDS = 60.0  # seconds between two log lines about a folder that is still empty
STATE_POLL_SECONDS = 0.1  # seconds between looks at the state and at what other workers do
DEFAULT_STATE_FILE = Path(".serving.json")
DEFAULT_PROOF_LIMITS = ProofLimits()


def ignore_outcome(_model: str, _outcome: str) -> None:
    """What no one wants to know."""


class ChangeResult(TypedDict):
    """What was done."""

    name: str
    version: int | None  # that answers by default now; None if the model is unloaded
    before: int | None  # that answered before
    versions: list[int]  # that are served


class Repository(LoadedModels):
    """Versions that come and go while the server answers.

    Once it is made it serves, of every model in the folder, the highest versions that prove
    themselves; one that does not is logged and passed over for the one before it. Where other
    processes serve already, it serves what they do. It is not watched yet.

    Args:
        models: the folder.
        variant: to serve where there is one of that name, or "auto".
        shared_state: where several processes keep what they serve; this one decides alone without.
        keep: versions of each model that are served, the highest.
        poll: seconds between looks at the folder; 0 looks only when asked.
        load_model: "compatible" holds a new version that does not accept what the live one accepts;
            "all" takes up every one that proves itself.
        state: file of pinned versions and unloaded models; relative to the folder.
        default_model: Name of the model that answers requests that name none; None for the one
            that is or was served alone.
        on_outcome: is told of every model, by name, of which a version was "served", "held", "refused"
            or "unloaded" in this process.
        limits: Limits within which versions are loaded and proved.
        proof_server: Proves new versions in processes of their own first; None to load them at
            once.
        clock: Seconds of a clock that all processes have in common.
    """

    def __init__(
        self,
        models: Path,
        variant: str = AUTO_VARIANT,
        shared_state: SharedState | None = None,
        *,
        keep: int = 1,
        poll: float = 1.0,
        take_up: TakeUpPolicy = "compatible",
        state: Path = DEFAULT_STATE_FILE,
        default_model: str | None = None,
        on_outcome: OnOutcome = ignore_outcome,
        limits: ProofLimits = DEFAULT_PROOF_LIMITS,
        proof_server: ProofServer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(default_model)
        self._models, self._variant, self._poll = models, variant, poll
        self._state = StateFile(models / state)
        agenda = RolloutStore(shared_state or SharedState(), clock)
        self._outlook = DesiredVersions(models, self._state, keep)
        loader = VersionLoader(self._outlook, agenda, variant, limits, proof_server)
        admission = Admission(self._outlook, take_up, limits.bundle)
        self._keeper = Reconciler(self._outlook, self, agenda, loader, admission, on_outcome)
        self._lock = threading.Lock()
        self._seen = self._state.stat_files()
        self._next_look = time.monotonic() + poll
        self._next_reminder = 0.0
        self._start()

    def reconcile_once(self) -> None:
        """Look for what has changed, if it is time to, and take a step towards serving it."""
        with self._lock:
            seen = run_in_thread(self._state.stat_files)
            if self._poll and time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + self._poll
                self._keeper.start_rollouts()
            elif seen != self._seen:
                self._keeper.start_rollouts_of_changed_state()
            self._seen = seen
            self._keeper.advance_rollouts()
            self._keeper.start_pending_rollouts()
            if self._keeper.is_settled:
                self._keeper.default_model.record_sole_model()
            self._log_empty_folder()
            if is_trim_due():
                run_in_thread(trim_heap)

    @property
    def reconcile_interval(self) -> float:
        """Seconds until the next turn: fewer while others wait for what is done in it."""
        return STATE_POLL_SECONDS if self._keeper.is_settled else ROLLOUT_POLL_SECONDS

    def watch(self) -> None:
        """Take turns from here on, for as long as there is someone who holds this repository.

        In a worker of ours, whose threads are gevent's greenlets, by a greenlet; under another
        server by a thread.
        """
        threading.Thread(
            target=_reconcile_forever, args=(weakref.ref(self),), name="repository", daemon=True
        ).start()

    def load_model(self, name: str) -> ChangeResult:
        """Serve a model's highest version, whatever was pinned or unloaded.

        Raises:
            ModelNotFoundError: there is no such model in the folder.
            VersionRefusedError, StateNotKeptError, NoAgreementError: nothing was changed.
        """
        with self._lock:
            highest = self._find_versions(name)[-1]
            self._keeper.clear_refusal(name, highest)  # what was in its way may have gone
            return self._apply_change(name, highest, lambda state: state.clear_overrides(name))

    def unload_model(self, name: str) -> ChangeResult:
        """Serve no version of a model until it is loaded; requests that hold one are answered.

        Raises:
            ModelNotFoundError: there is no such model in the folder.
            StateNotKeptError, NoAgreementError: nothing was changed.
        """
        with self._lock:
            self._find_versions(name)
            return self._apply_change(name, None, lambda state: state.unload_model(name))

    def roll_back(self, name: str, version: int | None = None) -> ChangeResult:
        """Pin a version, by default the highest before the one that answers that proves itself.

        Args:
            name: Name of the model.
            version: Number of the version to pin, lower or higher than the one that answers; None
                for one before it.

        Raises:
            ModelNotFoundError: If the model is not served, or the folder has no such version.
            NoEarlierVersionError: there is none before it.
            VersionRefusedError: none of those proves itself; nothing was changed.
            StateNotKeptError, NoAgreementError: nothing was changed.
        """
        with self._lock:
            known = self._find_versions(name)
            if version is not None:
                if version not in known:
                    raise ModelNotFoundError(
                        f"expected a version of {name} out of {', '.join(map(str, known))}; got "
                        f"{version}",
                        versions=known,
                    )
                return self._pin(name, version)
            answers = self.find_model(name).manifest.version
            earlier = [version for version in known if version < answers]
            if not earlier:
                raise NoEarlierVersionError(
                    f"expected a version of {name} before {answers}, which answers; got "
                    f"{', '.join(map(str, known))}; put one into the repository",
                    model=name,
                    versions=known,
                )
            refusals = []
            for candidate in reversed(earlier):
                try:
                    return self._pin(name, candidate)
                except VersionRefusedError as error:
                    refusals.append(error)
            raise _join_refusals(refusals)

    def build_index(self) -> list[IndexEntry]:
        """Every version in the folder, and what has become of it, in this worker."""
        with self._lock:
            self._outlook.scan_folder()
            self._keeper.start_rollouts_of_changed_state()
            self._keeper.advance_rollouts()
            return build_index(self._keeper)

    def _start(self) -> None:
        with self._lock:
            self._keeper.rollout_store.register_worker()
            self._keeper.advance_rollouts()
            # Whoever comes later serves what the others do: it looks for more when they do.
            if self._poll or not self.live_models:
                self._keeper.start_rollouts()
            else:
                self._keeper.start_rollouts_of_changed_state()
            self._keeper.default_model.restore()
            self._keeper.advance_rollouts()
            began = time.monotonic()
            while not self._keeper.is_settled:
                waits = START_WAIT_SECONDS if self.live_models else EMPTY_START_WAIT_SECONDS
                if self._keeper.is_only_waiting_for_proofs and time.monotonic() - began > waits:
                    break  # what is served need not wait for versions whose proofs take long
                time.sleep(ROLLOUT_POLL_SECONDS)
                self._keeper.start_pending_rollouts()
                self._keeper.advance_rollouts()
            if self._keeper.is_settled:
                self._keeper.default_model.record_sole_model()
            self._log_empty_folder()
        lacks_default = (
            self.live_models or self.is_default_configured
        ) and self.default_model is None
        if lacks_default and self._keeper.rollout_store.is_oldest_worker():
            log.warning(
                "requests that name no model are refused, since %s; --default-model NAME has "
                "another answer them",
                self.no_default_reason,
            )
        known = sorted(
            {name for model in self.live_models.values() for name in model.variant_checks}
        )
        if known and self._variant not in (AUTO_VARIANT, *known):  # a typo, most likely
            log.warning(
                "expected a variant out of %s; got %s; ignored", ", ".join(known), self._variant
            )

    def _log_empty_folder(self) -> None:
        """Say once, and again from time to time, that no model has come yet."""
        if self.live_models or self.refusal_reasons or self._outlook.folder_scan.versions:
            self._next_reminder = 0.0
        elif time.monotonic() >= self._next_reminder:
            self._next_reminder = time.monotonic() + REMINDER_SECONDS
            if self._keeper.rollout_store.is_oldest_worker():
                looks = f"it is looked at every {self._poll:g} s" if self._poll else "--poll is 0"
                log.warning(
                    "waiting for models: expected a folder of models, NAME/VERSION; got %s, %s; %s",
                    self._models,
                    explain_missing_models(self._models),
                    looks,
                )

    def _find_versions(self, name: str) -> list[int]:
        """A model's versions in the folder."""
        self._outlook.scan_folder()
        versions = self._outlook.folder_scan.versions
        if name not in versions:
            known = sorted(versions)
            raise ModelNotFoundError(
                f"expected a model out of {', '.join(known) or 'none'}; got {name[:MAX_NAME_CHARACTERS]!r}",
                models=known,
            )
        return versions[name]

    def _pin(self, name: str, version: int) -> ChangeResult:
        self._keeper.clear_refusal(name, version)
        return self._apply_change(name, version, lambda state: state.pin_version(name, version))

    def _apply_change(self, name: str, version: int | None, change: StateChange) -> ChangeResult:
        before = self.live_models.get(name)
        self._keeper.apply_change(name, change, version)
        return ChangeResult(
            name=name,
            version=version,
            before=None if before is None else before.manifest.version,
            versions=sorted(self.get_versions(name)),
        )


def _join_refusals(refusals: list[VersionRefusedError]) -> VersionRefusedError:
    """The refusal of all; its details are those of the first, which was asked for."""
    return VersionRefusedError("; ".join(map(str, refusals)), **refusals[0].details)


def _reconcile_forever(watched: weakref.ref[Repository]) -> None:
    while (repository := watched()) is not None:
        try:
            repository.reconcile_once()
        except Exception:  # whatever it is, the next version is to be found
            log.exception("expected to look for new versions; got a fault of ours; going on")
        wait = repository.reconcile_interval
        del repository
        time.sleep(wait)
