"""The live versions, recorded beside the state file.

After a restart nothing is live yet. Versions are then compared with the recorded ones, so that a
restart serves neither a version that was held, nor an incompatible one that was added while the
server was stopped.
"""

from __future__ import annotations

import logging

from serving.errors import StateNotKeptError
from serving.event_loop_threads import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.overrides import SavedState, StateChange
from serving.repository.rollout import RolloutStore

log = logging.getLogger(__name__)


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
        self._fault = ""  # last reason that it could not be written, to log it once

    def keep(self, change: StateChange, name: str, version: int | None) -> None:
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
            return change(state).record(live, state.live)

        run_in_thread(lambda: self._write(changed))

    def update(self) -> None:
        """Record the live versions if they have changed; log it if that fails."""
        if not self.is_stale or self._outlook.faults:
            return
        self.is_stale = False
        live = {name: line[0].version for name, line in self._agenda.read().lines.items()}
        shelf = self._outlook.folder_scan
        models = {*live, *shelf.versions, *shelf.unreadable}
        try:
            run_in_thread(lambda: self._write(lambda state: state.record(live, models)))
        except StateNotKeptError as error:
            fault = getattr(error.__cause__, "strerror", None) or error.message
            if fault != self._fault:
                self._fault = fault
                log.warning(
                    "expected to keep in %s which versions are live; got %s; after a restart the "
                    "highest versions are served, also those that are held now; start the server "
                    "with --state FILE in a folder it may write to",
                    *(self._outlook.state.record_path.name, fault),
                )

    def _write(self, change: StateChange) -> None:
        self._outlook.state.update(change, self._agenda.ledger.lock_files())
