"""What the server records of itself: the default model and the live versions."""

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
    """Keeps track of the model that was served alone, and sets it in the catalogue.

    Args:
        outlook: Reader of the state, and its file.
        catalogue: Catalogue that answers requests by the default model.
        agenda: Plan that all workers share.
    """

    def __init__(
        self, outlook: DesiredVersions, catalogue: LoadedModels, agenda: RolloutStore
    ) -> None:
        self._outlook, self._catalogue, self._agenda = outlook, catalogue, agenda

    def record_sole_model(self) -> None:
        """Remember the model that is served alone; call it when nothing is being rolled out."""
        self._agenda.record_implicit_default()
        self.apply()

    def restore(self) -> None:
        """Remember the only model that was live before a restart, before any is live after it.

        Others may have come to the folder while no server ran.
        """
        wished, versions = self._outlook.saved_state, self._outlook.folder_scan.versions
        known = [name for name in wished.live if name in versions]
        if len(known) == 1 and known[0] not in wished.unloaded and not self._outlook.read_errors:
            self._agenda.restore_implicit_default(known[0])

    def apply(self) -> None:
        """Set the default model that all workers agreed on; call it before others are served."""
        self._catalogue.set_intended_default(
            self._outlook.saved_state.default_model or self._agenda.read_plan().implicit_default
        )

    def save_before_commit(self, name: str) -> None:
        """Record the default model beside the state file before a second model is served.

        Args:
            name: Name of the model whose rollout is about to be committed.
        """
        plan = self._agenda.read_plan()
        alone, known = plan.implicit_default, self._outlook.saved_state.default_model
        if (
            self._catalogue.is_default_configured
            or known is not None
            or name in plan.served_versions
        ):
            return
        if (
            alone is None
            or alone not in {*plan.served_versions, name}
            or not {*plan.served_versions} - {name}
        ):
            return
        log.info("%s goes on answering requests that name no model: it was alone", alone)
        file, lock = self._outlook.state_file, self._agenda.shared_state.lock_files()
        try:
            run_in_thread(
                lambda: file.update(lambda state: state.record_default_model(alone), lock)
            )
        except StateNotKeptError as error:
            log.warning("%s; or with --default-model %s", error.message, alone)


class LiveVersionRecord:
    """Writes the state file for one worker.

    Args:
        outlook: Reader of the state file.
        agenda: Plan that all workers share; its lock lets one of them write at a time.

    Attributes:
        is_stale: Whether the live versions may differ from those in the file.
    """

    def __init__(self, outlook: DesiredVersions, agenda: RolloutStore) -> None:
        self.is_stale = False
        self._outlook, self._agenda = outlook, agenda
        self._logged_error = ""  # last reason that it could not be written, to log it once

    def save_change(self, change: StateChange, name: str, version: int | None) -> None:
        """Write a change that an administrator requested.

        Args:
            change: Change of the state.
            name: Name of the model.
            version: Version that answers from here on; None if none does.

        Raises:
            StateNotKeptError: If the file cannot be read or written.
        """

        def changed(state: SavedState) -> SavedState:
            # A restart compares with the live version in the file: it has to be this one.
            live = {name: version} if version is not None and name in state.live else {}
            return change(state).record_live_versions(live, state.live)

        run_in_thread(lambda: self._write(changed))

    def save_live_versions(self) -> None:
        """Record the live versions if they have changed; log it if that fails."""
        if not self.is_stale or self._outlook.read_errors:
            return
        self.is_stale = False
        live = {
            name: line[0].version for name, line in self._agenda.read_plan().served_versions.items()
        }
        shelf = self._outlook.folder_scan
        models = {*live, *shelf.versions, *shelf.unreadable}
        try:
            run_in_thread(
                lambda: self._write(lambda state: state.record_live_versions(live, models))
            )
        except StateNotKeptError as error:
            fault = getattr(error.__cause__, "strerror", None) or error.message
            if fault != self._logged_error:
                self._logged_error = fault
                log.warning(
                    "expected to keep in %s which versions are live; got %s; after a restart the "
                    "highest versions are served, also those that are held now; start the server "
                    "with --state FILE in a folder it may write to",
                    *(self._outlook.state_file.record_path.name, fault),
                )

    def _write(self, change: StateChange) -> None:
        self._outlook.state_file.update(change, self._agenda.shared_state.lock_files())
