"""The record of which versions are live, in the state's file.

After a restart nothing is live. New versions are compared with what was then, so that a restart
takes up none that was held, nor one that came while the server was stopped.
"""

from __future__ import annotations

import logging

from serving.errors import StateNotKeptError
from serving.repository.aside import aside
from serving.repository.outlook import Outlook
from serving.repository.plan import Agenda
from serving.repository.state import Change, State

log = logging.getLogger(__name__)


class LiveRecord:
    """Writes the state's file for one worker.

    Args:
        outlook: Reads the file.
        agenda: The plan of all workers, which write one after the other.

    Attributes:
        is_stale: Whether something else may be live than the file says.
    """

    def __init__(self, outlook: Outlook, agenda: Agenda) -> None:
        self.is_stale = False
        self._outlook, self._agenda = outlook, agenda
        self._fault = ""  # why it could not be written, which is said once

    def keep(self, change: Change, name: str, version: int | None) -> None:
        """Write what was asked for.

        Args:
            change: Change of the state.
            name: Name of the model.
            version: Version that answers from here on; None if none does.

        Raises:
            StateNotKeptError: If the file cannot be read or written.
        """

        def changed(state: State) -> State:
            # Where a restart would compare with what the file says, it has to be this version.
            live = {name: version} if version is not None and name in state.live else {}
            return change(state).record(live, state.live)

        aside(lambda: self._write(changed))

    def update(self) -> None:
        """Write which versions are live, if that has changed; the log says so if it cannot be."""
        if not self.is_stale or self._outlook.faults:
            return
        self.is_stale = False
        live = {name: line[0].version for name, line in self._agenda.read().lines.items()}
        shelf = self._outlook.shelf
        models = {*live, *shelf.versions, *shelf.unreadable}
        try:
            aside(lambda: self._write(lambda state: state.record(live, models)))
        except StateNotKeptError as error:
            fault = getattr(error.__cause__, "strerror", None) or error.message
            if fault != self._fault:
                self._fault = fault
                log.warning(
                    "expected to keep in %s which versions are live; got %s; after a restart the "
                    "highest versions are served, also those that are held now; start the server "
                    "with --state FILE in a folder it may write to",
                    *(self._outlook.state.path.name, fault),
                )

    def _write(self, change: Change) -> None:
        self._outlook.state.change(change, self._agenda.ledger.keeping())
