"""The model repository: its interface for HTTP handlers, and a thread that watches the folder."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from typing_extensions import TypedDict

from serving.errors import ModelNotFoundError, NoEarlierVersionError, VersionRefusedError
from serving.event_loop import run_in_thread
from serving.repository.admission import Admission
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import MAX_NAME_CHARACTERS, explain_missing_models
from serving.repository.index import IndexEntry, build_index
from serving.repository.loaded_models import LoadedModels
from serving.repository.loading import VersionLoader
from serving.repository.overrides import FileStats, StateChange, StateFile
from serving.repository.reconciler import ROLLOUT_POLL_SECONDS, OnOutcome, Reconciler
from serving.repository.repository_options import DEFAULT_OPTIONS, RepositoryOptions
from serving.repository.requested_rollout import RequestedRollout
from serving.repository.rollout_store import RolloutStore
from serving.repository.shared_state import SharedState
from serving.runtime.heap import is_trim_due, trim_heap
from serving.runtime.proof_server import ProofServer
from serving.runtime.variant_selection import AUTO_VARIANT

log = logging.getLogger(__name__)

START_WAIT_SECONDS = 2.0  # longest wait for proofs at the start if a model is loaded already
EMPTY_START_WAIT_SECONDS = 30.0  # longest wait for proofs at the start if no model is loaded yet
REMINDER_SECONDS = 60.0  # time between two log lines about a folder that is still empty
STATE_POLL_SECONDS = 0.1  # time between two checks of the state file and the rollout plan


def ignore_outcome(_model: str, _outcome: str) -> None:
    """Do nothing. This is the default of `on_outcome`."""


class ChangeResult(TypedDict):
    """Result of a load, an unload or a rollback.

    Attributes:
        name: Name of the model.
        version: Live version; None if the model is unloaded.
        before: Live version before the change; None if there was none.
        versions: Numbers of all versions that are served, ascending.
    """

    name: str
    version: int | None
    before: int | None
    versions: list[int]


class Repository(LoadedModels):
    """The model repository of one worker: it serves the highest versions in a folder of models.

    The constructor does no work: `load` loads the models, and `watch` makes the worker notice later
    changes.

    Args:
        models: Folder of models.
        options: Choice of versions and variants to serve, and limits of their self-tests.
        shared_state: State that the workers share; None if this process is the only one.
        on_outcome: Callback with a model's name and one of `RELOAD_OUTCOMES`, for each change of a
            version in this worker.
        proof_server: Server that tests versions in separate processes before they are loaded; None
            to load them without that test.
        clock: Function that returns the time in seconds, of a clock that all workers share.
    """

    def __init__(
        self,
        models: Path,
        options: RepositoryOptions = DEFAULT_OPTIONS,
        *,
        shared_state: SharedState | None = None,
        on_outcome: OnOutcome = ignore_outcome,
        proof_server: ProofServer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(options.default_model)
        self._models, self._options = models, options
        self._state_file = StateFile(models / options.state)
        store = RolloutStore(shared_state or SharedState(), clock)
        self._desired = DesiredVersions(models, self._state_file, options.keep)
        loader = VersionLoader(self._desired, store, options, proof_server)
        admission = Admission(self._desired, options.take_up, options.limits.bundle)
        self._reconciler = Reconciler(self._desired, self, store, loader, admission, on_outcome)
        self._lock = threading.Lock()
        self._last_stats: FileStats = ()
        self._next_scan = 0.0
        self._next_reminder = 0.0

    def load(self) -> None:
        """Load the highest versions of every model that pass their self-test.

        A version that fails it is logged, and the next lower one is loaded instead. If other
        workers serve models already, the same versions are loaded. Call this once, in the process
        that serves requests. A missing default model and an unknown variant are logged.
        """
        with self._lock:
            self._last_stats = run_in_thread(self._state_file.stat_files)
            self._next_scan = time.monotonic() + self._options.poll
            self._reconciler.rollout_store.register_worker()
            self._reconciler.advance_rollouts()
            # Without polling, a worker that starts later serves only what the others serve.
            if self._options.poll or not self.live_models:
                self._reconciler.start_rollouts()
            else:
                self._reconciler.reload_saved_state()
            self._reconciler.default_model.restore()
            self._reconciler.advance_rollouts()
            start = time.monotonic()
            while not self._reconciler.is_settled:
                max_wait = START_WAIT_SECONDS if self.live_models else EMPTY_START_WAIT_SECONDS
                is_late = time.monotonic() - start > max_wait
                if self._reconciler.is_only_waiting_for_proofs and is_late:
                    break  # Versions whose proofs take long must not delay those that are loaded.
                time.sleep(ROLLOUT_POLL_SECONDS)
                self._reconciler.start_pending_rollouts()
                self._reconciler.advance_rollouts()
            if self._reconciler.is_settled:
                self._reconciler.default_model.record_sole_model()
            self._log_empty_folder()
        self._log_unusable_options()

    def reconcile_once(self) -> None:
        """Scan for changes if a scan is due, and advance the rollouts in progress by one step."""
        with self._lock:
            stats = run_in_thread(self._state_file.stat_files)
            if self._options.poll and time.monotonic() >= self._next_scan:
                self._next_scan = time.monotonic() + self._options.poll
                self._reconciler.start_rollouts()
            elif stats != self._last_stats:
                self._reconciler.reload_saved_state()
            self._last_stats = stats
            self._reconciler.advance_rollouts()
            self._reconciler.start_pending_rollouts()
            if self._reconciler.is_settled:
                self._reconciler.default_model.record_sole_model()
            self._log_empty_folder()
            if is_trim_due():
                run_in_thread(trim_heap)

    @property
    def reconcile_interval(self) -> float:
        """Time until the next `reconcile_once`, in seconds; shorter during a rollout."""
        return STATE_POLL_SECONDS if self._reconciler.is_settled else ROLLOUT_POLL_SECONDS

    def watch(self) -> None:
        """Start a thread that calls `reconcile_once` for as long as this repository is referenced.

        In a worker of this server, in which gevent replaces threads, it is a greenlet.
        """
        threading.Thread(
            target=_reconcile_forever, args=(weakref.ref(self),), name="repository", daemon=True
        ).start()

    def load_model(self, name: str) -> ChangeResult:
        """Serve a model's highest version, even if the model was unloaded or pinned to another one.

        Args:
            name: Name of the model.

        Raises:
            ModelNotFoundError: If there is no such model in the folder.
            VersionRefusedError: If the version cannot be loaded or fails its self-test.
            StateNotKeptError: If the state file cannot be read or written.
            NoAgreementError: If another worker takes too long.
        """
        with self._lock:
            highest = self._list_versions(name)[-1]
            self._reconciler.clear_exclusions(name, highest)  # The cause of a refusal may be gone.
            return self._apply_change(name, highest, lambda state: state.clear_overrides(name))

    def unload_model(self, name: str) -> ChangeResult:
        """Serve no version of a model until it is loaded again.

        Requests that already use the model are still served.

        Args:
            name: Name of the model.

        Raises:
            ModelNotFoundError: If there is no such model in the folder.
            StateNotKeptError: If the state file cannot be read or written.
            NoAgreementError: If another worker takes too long.
        """
        with self._lock:
            self._list_versions(name)  # It raises the error if there is no such model.
            return self._apply_change(name, None, lambda state: state.unload_model(name))

    def roll_back(self, name: str, version: int | None = None) -> ChangeResult:
        """Pin a version of a model.

        Args:
            name: Name of the model.
            version: Number of the version, lower or higher than the live one; None for the highest
                one below the live one that passes its self-test.

        Raises:
            ModelNotFoundError: If the model is not served, or the folder has no such version.
            NoEarlierVersionError: If there is no version below the live one.
            VersionRefusedError: If the version, or without one every version below the live one,
                fails its self-test.
            StateNotKeptError: If the state file cannot be read or written.
            NoAgreementError: If another worker takes too long.
        """
        with self._lock:
            versions = self._list_versions(name)
            if version is not None:
                if version not in versions:
                    raise ModelNotFoundError(
                        f"expected a version of {name} out of {', '.join(map(str, versions))}; got "
                        f"{version}",
                        versions=versions,
                    )
                return self._pin_version(name, version)
            live = self.find_model(name).manifest.version
            earlier = [number for number in versions if number < live]
            if not earlier:
                raise NoEarlierVersionError(
                    f"expected a version of {name} before {live}, which is live; got "
                    f"{', '.join(map(str, versions))}; put one into the repository",
                    model=name,
                    versions=versions,
                )
            refusals = []
            for candidate in reversed(earlier):
                try:
                    return self._pin_version(name, candidate)
                except VersionRefusedError as error:
                    refusals.append(error)
            raise _join_refusals(refusals)

    def build_index(self) -> list[IndexEntry]:
        """Return the state of every version in the folder, as this worker sees it."""
        with self._lock:
            self._desired.scan_folder()
            self._reconciler.reload_saved_state()
            self._reconciler.advance_rollouts()
            return build_index(self._reconciler)

    def _log_unusable_options(self) -> None:
        """Log that the default model is not served, or that no model has the preferred variant."""
        has_models = self.live_models or self.is_default_configured
        lacks_default = has_models and self.default_model is None
        if lacks_default and self._reconciler.rollout_store.is_oldest_worker():
            log.warning(
                "requests that name no model are refused, since %s; set --default-model NAME to "
                "the model that is to answer them",
                self.no_default_reason,
            )
        variants = sorted(
            {name for model in self.live_models.values() for name in model.variant_checks}
        )
        preferred = self._options.variant
        if variants and preferred not in (AUTO_VARIANT, *variants):  # Most likely a typo.
            log.warning(
                "expected a variant out of %s; got %s; ignored", ", ".join(variants), preferred
            )

    def _log_empty_folder(self) -> None:
        """Log that the folder holds no model, once a minute for as long as it holds none."""
        if self.live_models or self.refusal_reasons or self._desired.folder_scan.versions:
            self._next_reminder = 0.0
        elif time.monotonic() >= self._next_reminder:
            poll = self._options.poll
            self._next_reminder = time.monotonic() + REMINDER_SECONDS
            if self._reconciler.rollout_store.is_oldest_worker():
                log.warning(
                    "waiting for models: expected a folder of models, NAME/VERSION; got %s, %s; %s",
                    self._models,
                    explain_missing_models(self._models),
                    f"it is scanned every {poll:g} s" if poll else "--poll is 0",
                )

    def _list_versions(self, name: str) -> list[int]:
        """Return the numbers of a model's versions in the folder, ascending.

        Before that, serve what other workers have committed: "the live version" of a request is
        the one that any worker has answered with, not what this worker served a moment before.
        """
        self._reconciler.advance_rollouts()
        self._desired.scan_folder()
        models = self._desired.folder_scan.versions
        if name not in models:
            names = sorted(models)
            raise ModelNotFoundError(
                f"expected a model out of {', '.join(names) or 'none'}; got "
                f"{name[:MAX_NAME_CHARACTERS]!r}",
                models=names,
            )
        return models[name]

    def _pin_version(self, name: str, version: int) -> ChangeResult:
        self._reconciler.clear_exclusions(name, version)
        return self._apply_change(name, version, lambda state: state.pin_version(name, version))

    def _apply_change(self, name: str, version: int | None, change: StateChange) -> ChangeResult:
        before = self.live_models.get(name)
        RequestedRollout(self._reconciler, name, change, version).run()
        return ChangeResult(
            name=name,
            version=version,
            before=None if before is None else before.manifest.version,
            versions=sorted(self.get_versions(name)),
        )


def _join_refusals(refusals: list[VersionRefusedError]) -> VersionRefusedError:
    """Return one error for several versions, with the details of the first, which was preferred."""
    return VersionRefusedError("; ".join(map(str, refusals)), **refusals[0].details)


def _reconcile_forever(reference: weakref.ref[Repository]) -> None:
    while (repository := reference()) is not None:
        try:
            repository.reconcile_once()
        except Exception:  # Continue after any error, so that later versions are found.
            log.exception("expected to look for new versions; got an internal error; going on")
        interval = repository.reconcile_interval
        del repository  # So that the repository can be freed during the pause.
        time.sleep(interval)
