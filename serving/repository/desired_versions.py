"""The outlook: what lies in the folder and what was asked for, as it was read last."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from serving.errors import StateNotKeptError
from serving.event_loop import run_in_thread
from serving.repository.folder_scan import FolderScan, compute_fingerprint, explain_missing_models
from serving.repository.overrides import SavedState, StateFile
from serving.repository.rollout import RolloutPlan, ServedVersions, VersionSnapshot


def select_versions(
    models: Path, name: str, shelf: FolderScan, state: SavedState, plan: RolloutPlan, keep: int
) -> ServedVersions:
    """The editions of a model that should be served; the first answers by default.

    That is the highest version, or the pinned one, or if that is refused the one before it: never
    one higher than what was pinned. Others follow, the highest first.

    Args:
        models: the folder of models.
        name: of the model.
        shelf: what lies there.
        state: what was asked for.
        plan: what is served and what was refused.
        keep: how many of them at most.
    """
    if name in state.unloaded:
        return []
    found = shelf.versions.get(name, [])[::-1]
    pin = state.pinned.get(name)
    folder, served = models / name, plan.served_versions.get(name, [])
    below = (version for version in found if pin is None or version <= pin)
    first = next(_iterate_accepted(below, folder, served, plan), None)
    if first is None:
        return []
    others = (version for version in found if version != first.version)
    return list(chain([first], islice(_iterate_accepted(others, folder, served, plan), keep - 1)))


def _iterate_accepted(
    versions: Iterable[int], folder: Path, served: ServedVersions, plan: RolloutPlan
) -> Iterator[VersionSnapshot]:
    """Those versions that are not refused, as they lie there or else as they are served."""
    for version in versions:
        lies = VersionSnapshot(
            version=version, fingerprint=compute_fingerprint(folder / str(version))
        )
        known = [edition for edition in served if edition.version == version]
        # As it is served, with the verdict on it; or as it was before someone began to change it.
        candidates = [edition for edition in known if edition.has_same_content(lies)] or [
            lies,
            *known,
        ]
        for edition in candidates:
            if plan.get_refusal_reason(folder.name, edition) is None:
                yield edition
                break


log = logging.getLogger(__name__)


class DesiredVersions:
    """What should be served, as far as it can be read.

    Args:
        models: the folder of models.
        state_file: what was asked for, in a file.
        keep: versions of a model that are served.

    Attributes:
        shelf: what lay in the folder.
        wished: what was asked for.
        read_errors: why one or the other could not be read, by the folder's or file's name; what could
            be read before stands.
    """

    def __init__(self, models: Path, state: StateFile, keep: int) -> None:
        self.models, self.state_file = models, state
        self.folder_scan, self.saved_state = FolderScan(), SavedState()
        self.read_errors: dict[str, str] = {}
        self._keep = keep

    def scan_folder(self) -> None:
        """Look at what lies in the folder; what cannot be read leaves all as it is."""
        try:
            self.folder_scan = run_in_thread(lambda: FolderScan.read(self.models))
        except OSError as error:
            why = explain_missing_models(self.models, error)
            self._log_error_once(
                self.models.name, f"expected a folder of models, NAME/VERSION; got one {why}"
            )
        else:
            self.read_errors.pop(self.models.name, None)

    def reload_saved_state(self) -> set[str]:
        """Read what was asked for; the models of which something else was before."""
        before = self.saved_state
        try:
            self.saved_state = run_in_thread(self.state_file.read)
        except StateNotKeptError as error:
            self._log_error_once(self.state_file.path.name, error.message)
        else:
            self.read_errors.pop(self.state_file.path.name, None)
        return self.saved_state.find_changed_models(before)

    def select_versions(self, name: str, state: SavedState, plan: RolloutPlan) -> ServedVersions:
        """The editions of a model that should be served; see `select_versions`."""
        return run_in_thread(
            lambda: select_versions(self.models, name, self.folder_scan, state, plan, self._keep)
        )

    def find_outdated_refusals(self, plan: RolloutPlan, now: float) -> list[tuple[str, str]]:
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
        for key, reasons in plan.refusals.items():
            name, _, version = key.partition("/")
            served = plan.served_versions.get(name, [])
            known = {edition.fingerprint for edition in served}
            asked = {self.saved_state.live.get(name), self.saved_state.pinned.get(name)}
            if int(version) in self.folder_scan.versions.get(name, []):
                known.add(compute_fingerprint(self.models / key))
            gone += [
                (key, found)
                for found, refusal in reasons.items()
                if found not in known
                or (refusal.retry_at is not None and now > refusal.retry_at)
                # Where its own number was live, its files were replaced: no one asked for these.
                or (
                    refusal.live_fingerprint
                    and int(version) in asked
                    and int(version) != refusal.live_version
                )
            ]
        return gone

    def _log_error_once(self, name: str, fault: str) -> None:
        """Say a fault, once."""
        if self.read_errors.get(name) != fault:
            log.error("%s: %s; what is served stays as it is", self.models, fault)
            self.read_errors[name] = fault
