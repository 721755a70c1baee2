"""Select the versions that should be served, from the folder of models and the saved state.

The reconciler compares them with the versions that are served, and rolls out the difference.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from serving.errors import StateNotKeptError
from serving.event_loop import run_in_thread
from serving.repository.folder_scan import FolderScan, compute_fingerprint, explain_missing_models
from serving.repository.overrides import SavedState, StateFile
from serving.repository.rollout import (
    Exclusion,
    Hold,
    Refusal,
    RolloutPlan,
    ServedVersions,
    VersionSnapshot,
)

log = logging.getLogger(__name__)


class DesiredVersions:
    """Reads the folder of models and the saved state, and selects what should be served.

    Args:
        models: Folder of models.
        state_file: File of the saved state.
        keep: Largest number of versions of a model to serve.

    Attributes:
        models: Folder of models.
        state_file: File of the saved state.
        folder_scan: Result of the last scan of the folder that raised no error.
        saved_state: Content of the state file at the last read that raised no error.
        read_errors: Reasons why the folder or the state file could not be read at the last
            attempt, by the name of the folder or file.
    """

    def __init__(self, models: Path, state_file: StateFile, keep: int) -> None:
        self.models, self.state_file = models, state_file
        self.folder_scan, self.saved_state = FolderScan(), SavedState()
        self.read_errors: dict[str, str] = {}
        self._keep = keep

    def scan_folder(self) -> None:
        """Read the folder of models; keep the last scan if it cannot be read."""
        try:
            self.folder_scan = run_in_thread(lambda: FolderScan.read(self.models))
        except OSError as error:
            reason = explain_missing_models(self.models, error)
            self._log_error_once(
                self.models.name, f"expected a folder of models, NAME/VERSION; got one {reason}"
            )
        else:
            self.read_errors.pop(self.models.name, None)

    def reload_saved_state(self) -> set[str]:
        """Read the state file; keep the last state if it cannot be read.

        Returns:
            Names of the models whose pin or unload changed.
        """
        before = self.saved_state
        try:
            self.saved_state = run_in_thread(self.state_file.read)
        except StateNotKeptError as error:
            self._log_error_once(self.state_file.path.name, error.message)
        else:
            self.read_errors.pop(self.state_file.path.name, None)
        return self.saved_state.find_changed_models(before)

    def select_versions(self, name: str, state: SavedState, plan: RolloutPlan) -> ServedVersions:
        """Call the function `select_versions` in a thread, and return its result.

        Args:
            name: Name of the model.
            state: Saved state to follow, which may differ from the one on disk.
            plan: Served and refused versions.
        """
        return run_in_thread(
            lambda: select_versions(self.models, name, self.folder_scan, state, plan, self._keep)
        )

    def find_outdated_exclusions(self, plan: RolloutPlan, now: float) -> list[tuple[str, str]]:
        """Return the refused and held versions that are to be tried again.

        These are versions whose files were changed or removed, versions with a `retry_at` in the
        past, and held versions that have been pinned meanwhile, or are live on another server that
        shares the state file.

        Args:
            plan: Plan with the refused and held versions.
            now: Time on the rollout store's clock, in seconds.

        Returns:
            Pairs of `NAME/VERSION` and fingerprint.
        """
        outdated = []
        for key, exclusions in plan.exclusions.items():
            name, _, number = key.partition("/")
            version = int(number)
            current = {snapshot.fingerprint for snapshot in plan.served_versions.get(name, [])}
            requested = {self.saved_state.live.get(name), self.saved_state.pinned.get(name)}
            if version in self.folder_scan.versions.get(name, []):
                current.add(compute_fingerprint(self.models / key))
            outdated += [
                (key, fingerprint)
                for fingerprint, exclusion in exclusions.items()
                if fingerprint not in current
                or _is_retry_due(exclusion, now)
                or (version in requested and _is_released_on_request(exclusion, version))
            ]
        return outdated

    def _log_error_once(self, name: str, reason: str) -> None:
        """Log a read error unless it is the same as at the last attempt.

        Args:
            name: Name of the folder or file.
            reason: Error as a sentence.
        """
        if self.read_errors.get(name) != reason:
            log.error("%s: %s; the served versions stay as they are", self.models, reason)
            self.read_errors[name] = reason


def _is_retry_due(exclusion: Exclusion, now: float) -> bool:
    retry_at = exclusion.retry_at if isinstance(exclusion, Refusal) else None
    return retry_at is not None and now > retry_at


def _is_released_on_request(exclusion: Exclusion, version: int) -> bool:
    """Return whether a version is served if an administrator has requested its number."""
    # If a held version has the number of the live one, its files were replaced, and the request
    # meant the old files.
    return isinstance(exclusion, Hold) and version != exclusion.live_version


def select_versions(
    models: Path,
    name: str,
    folder_scan: FolderScan,
    state: SavedState,
    plan: RolloutPlan,
    keep: int,
) -> ServedVersions:
    """Return the versions of a model that should be served, the live one first.

    The live version is the pinned one or, if none is pinned, the highest. If that version is
    refused, the live version is the highest one below it that is not refused. A version above a
    pinned one is never live. The other versions follow, from the highest to the lowest.

    Args:
        models: Folder of models.
        name: Name of the model.
        folder_scan: Content of the folder of models.
        state: Saved state: pinned versions and unloaded models.
        plan: Served and refused versions.
        keep: Largest number of versions to return.
    """
    if name in state.unloaded:
        return []
    numbers = folder_scan.versions.get(name, [])[::-1]
    pinned = state.pinned.get(name)
    folder, served = models / name, plan.served_versions.get(name, [])
    candidates = (number for number in numbers if pinned is None or number <= pinned)
    live = next(_iterate_accepted(candidates, folder, served, plan), None)
    if live is None:
        return []
    others = (number for number in numbers if number != live.version)
    return list(chain([live], islice(_iterate_accepted(others, folder, served, plan), keep - 1)))


def _iterate_accepted(
    numbers: Iterable[int], folder: Path, served: ServedVersions, plan: RolloutPlan
) -> Iterator[VersionSnapshot]:
    """Yield a snapshot of each version that is not refused, of its files or its loaded content."""
    for number in numbers:
        fingerprint = compute_fingerprint(folder / str(number))
        on_disk = VersionSnapshot(version=number, fingerprint=fingerprint)
        in_memory = [snapshot for snapshot in served if snapshot.version == number]
        # If the files are unchanged, use the snapshot in memory, since it holds the variant
        # decision. Otherwise try the new files first; if they are refused, keep serving the
        # content in memory.
        unchanged = [snapshot for snapshot in in_memory if snapshot.has_same_content(on_disk)]
        for snapshot in unchanged or [on_disk, *in_memory]:
            if plan.get_exclusion_reason(folder.name, snapshot) is None:
                yield snapshot
                break
