"""The outlook: what lies in the folder and what was asked for, as it was read last."""

from __future__ import annotations

import logging
from pathlib import Path

from serving.errors import StateNotKeptError
from serving.event_loop_threads import aside
from serving.repository.folder_scan import Shelf, explain
from serving.repository.overrides import State, StateFile
from serving.repository.rollout import Line, Plan
from serving.repository.stamps import stamp
from serving.repository.wish import wish

log = logging.getLogger(__name__)


class Outlook:
    """What should be served, as far as it can be read.

    Args:
        models: the folder of models.
        state: what was asked for, in a file.
        keep: versions of a model that are served.

    Attributes:
        shelf: what lay in the folder.
        wished: what was asked for.
        faults: why one or the other could not be read, by the folder's or file's name; what could
            be read before stands.
    """

    def __init__(self, models: Path, state: StateFile, keep: int) -> None:
        self.models, self.state = models, state
        self.shelf, self.wished = Shelf(), State()
        self.faults: dict[str, str] = {}
        self._keep = keep

    def look_at_shelf(self) -> None:
        """Look at what lies in the folder; what cannot be read leaves all as it is."""
        try:
            self.shelf = aside(lambda: Shelf.look(self.models))
        except OSError as error:
            why = explain(self.models, error)
            self._say(self.models.name, f"expected a folder of models, NAME/VERSION; got one {why}")
        else:
            self.faults.pop(self.models.name, None)

    def read_state(self) -> set[str]:
        """Read what was asked for; the models of which something else was before."""
        before = self.wished
        try:
            self.wished = aside(self.state.read)
        except StateNotKeptError as error:
            self._say(self.state.path.name, error.message)
        else:
            self.faults.pop(self.state.path.name, None)
        return self.wished.differences(before)

    def wish(self, name: str, state: State, plan: Plan) -> Line:
        """The editions of a model that should be served; see `wish`."""
        return aside(lambda: wish(self.models, name, self.shelf, state, plan, self._keep))

    def out_of_date(self, plan: Plan, now: float) -> list[tuple[str, str]]:
        """Return refused and held versions that are to be tried again.

        They are versions whose files changed or are gone, versions that could not be read, and held
        versions that are pinned by now, or live on another server that shares the state file.

        Args:
            plan: Plan with the refused versions.
            now: Time on the agenda's clock, in seconds.

        Returns:
            Pairs of `name/version` and stamp.
        """
        gone = []
        for key, reasons in plan.refused.items():
            name, _, version = key.partition("/")
            served = plan.lines.get(name, [])
            known = {edition.stamp for edition in served}
            asked = {self.wished.live.get(name), self.wished.pinned.get(name)}
            if int(version) in self.shelf.versions.get(name, []):
                known.add(stamp(self.models / key))
            gone += [
                (key, found)
                for found, refusal in reasons.items()
                if found not in known
                or (refusal.until is not None and now > refusal.until)
                # Where its own number was live, its files were replaced: no one asked for these.
                or (refusal.against and int(version) in asked and int(version) != refusal.live)
            ]
        return gone

    def _say(self, name: str, fault: str) -> None:
        """Say a fault, once."""
        if self.faults.get(name) != fault:
            log.error("%s: %s; what is served stays as it is", self.models, fault)
            self.faults[name] = fault
