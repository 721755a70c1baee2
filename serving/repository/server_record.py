"""Record the default model and the live versions, so that a restart does not change them.

Both are saved in a second file in the state file's folder. After a restart, new versions are
compared with the recorded live versions, so that the server serves neither a version that was held,
nor an incompatible one that was added while the server was stopped.
"""

from __future__ import annotations

import logging

from serving.errors import StateNotKeptError
from serving.event_loop import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.loaded_models import LoadedModels
from serving.repository.overrides import SavedState, StateChange
from serving.repository.rollout_store import RolloutStore

log = logging.getLogger(__name__)


class DefaultModelRecord:
    """Keeps the default model the same while other models are added, and across restarts.

    Without --default-model, the default model is the first one that was served while no other model
    was. The rollout plan contains its name. It is saved to the file when a second model is about to
    be served. Before that, a restarted server finds the same model without it, since it is the only
    one in the folder or the only one that was live.

    Args:
        desired_versions: Reader of the folder of models and the saved state.
        loaded_models: Loaded models of this worker, which look up the default model.
        store: Rollout plan that all workers share.
    """

    def __init__(
        self, desired_versions: DesiredVersions, loaded_models: LoadedModels, store: RolloutStore
    ) -> None:
        self._desired, self._loaded_models, self._store = desired_versions, loaded_models, store

    def record_sole_model(self) -> None:
        """Make the only served model the default model. No rollout may be in progress."""
        self._store.record_implicit_default()
        self.apply()

    def restore(self) -> None:
        """After a restart, make the model that was the only live one the default model.

        Call it before any model is served: other models may have been added while no server ran.
        """
        saved_state, versions = self._desired.saved_state, self._desired.folder_scan.versions
        names = [name for name in saved_state.live if name in versions]
        if (
            len(names) == 1
            and names[0] not in saved_state.unloaded
            and not self._desired.read_errors
        ):
            self._store.restore_implicit_default(names[0])

    def apply(self) -> None:
        """Set the default model that all workers agreed on. Call it before more are served."""
        self._loaded_models.set_intended_default(
            self._desired.saved_state.default_model or self._store.read_plan().implicit_default
        )

    def save_before_commit(self, name: str) -> None:
        """Save the default model if a second model is about to be served.

        Args:
            name: Name of the model whose rollout is about to be committed.
        """
        plan = self._store.read_plan()
        is_saved = self._desired.saved_state.default_model is not None
        if self._loaded_models.is_default_configured or is_saved or name in plan.served_versions:
            return
        sole_model = plan.implicit_default
        if sole_model is None or sole_model not in {*plan.served_versions, name}:
            return
        if not {*plan.served_versions} - {name}:
            return
        log.info(
            "%s still answers requests that name no model: it was served before any other",
            sole_model,
        )
        file, lock = self._desired.state_file, self._store.shared_state.lock_files()
        try:
            run_in_thread(
                lambda: file.update(lambda state: state.record_default_model(sole_model), lock)
            )
        except StateNotKeptError as error:
            log.warning("%s; or with --default-model %s", error.message, sole_model)


class LiveVersionRecord:
    """Saves the live versions, and the changes that administrators request.

    Args:
        desired_versions: Reader of the state file.
        store: Rollout plan that all workers share; its lock lets one of them write at a time.

    Attributes:
        is_stale: Whether the live versions may differ from those in the file.
    """

    def __init__(self, desired_versions: DesiredVersions, store: RolloutStore) -> None:
        self.is_stale = False
        self._desired, self._store = desired_versions, store
        self._logged_error = ""  # Last error that was logged: each one is logged once.

    def save_change(self, change: StateChange, name: str, version: int | None) -> None:
        """Save a change that an administrator requested.

        Args:
            change: Function that returns the changed state.
            name: Name of the model.
            version: New live version; None to unload the model.

        Raises:
            StateNotKeptError: If the file cannot be read or written.
        """

        def change_and_record(state: SavedState) -> SavedState:
            # After a restart, new versions are compared with the live version in the file, so it
            # has to be the requested one.
            live = {name: version} if version is not None and name in state.live else {}
            return change(state).record_live_versions(live, state.live)

        run_in_thread(lambda: self._update_file(change_and_record))

    def save_live_versions(self) -> None:
        """Save the live versions if they may have changed; log the error if that fails."""
        if not self.is_stale or self._desired.read_errors:
            return
        self.is_stale = False
        served_versions = self._store.read_plan().served_versions
        live = {name: versions[0].version for name, versions in served_versions.items()}
        folder_scan = self._desired.folder_scan
        models = {*live, *folder_scan.versions, *folder_scan.unreadable}
        try:
            run_in_thread(
                lambda: self._update_file(lambda state: state.record_live_versions(live, models))
            )
        except StateNotKeptError as error:
            reason = getattr(error.__cause__, "strerror", None) or error.message
            if reason != self._logged_error:
                self._logged_error = reason
                log.warning(
                    "expected to save in %s which versions are live; got %s; after a restart the "
                    "highest versions are served, also those that are held now; start the server "
                    "with --state FILE in a folder it may write to",
                    *(self._desired.state_file.record_path.name, reason),
                )

    def _update_file(self, change: StateChange) -> None:
        self._desired.state_file.update(change, self._store.shared_state.lock_files())
