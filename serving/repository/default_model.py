"""The default model, which answers requests that name no model.

Unless `--default-model` names it, it is the first model that was served alone. The plan that all
workers share remembers it. It is recorded beside the state file once a second model is about to be
served: until then a restarted server finds it alone again, or finds that it alone was live.
"""

from __future__ import annotations

import logging

from serving.errors import StateNotKeptError
from serving.event_loop_threads import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.loaded_models import LoadedModels
from serving.repository.rollout import RolloutStore

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

    def note(self) -> None:
        """Remember the model that is served alone; call it when nothing is being rolled out."""
        self._agenda.record_implicit_default()
        self.follow()

    def restore(self) -> None:
        """Remember the only model that was live before a restart, before any is live after it.

        Others may have come to the folder while no server ran.
        """
        wished, versions = self._outlook.saved_state, self._outlook.folder_scan.versions
        known = [name for name in wished.live if name in versions]
        if len(known) == 1 and known[0] not in wished.unloaded and not self._outlook.faults:
            self._agenda.restore_implicit_default(known[0])

    def follow(self) -> None:
        """Set the default model that all workers agreed on; call it before others are served."""
        self._catalogue.prefer(self._outlook.saved_state.default_model or self._agenda.read().alone)

    def save_before_commit(self, name: str) -> None:
        """Record the default model beside the state file before a second model is served.

        Args:
            name: Name of the model whose rollout is about to be committed.
        """
        plan = self._agenda.read()
        alone, known = plan.alone, self._outlook.saved_state.default_model
        if self._catalogue.is_default_configured or known is not None or name in plan.lines:
            return
        if alone is None or alone not in {*plan.lines, name} or not {*plan.lines} - {name}:
            return
        log.info("%s goes on answering requests that name no model: it was alone", alone)
        file, lock = self._outlook.state, self._agenda.ledger.lock_files()
        try:
            run_in_thread(lambda: file.update(lambda state: state.prefer(alone), lock))
        except StateNotKeptError as error:
            log.warning("%s; or with --default-model %s", error.message, alone)
