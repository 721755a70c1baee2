"""Admission: whether a new version that passed its self-test is served automatically.

Clients send what the live version accepts. A version that does not accept the same is held: it is
not served until an administrator loads it, or a version is live that it is compatible with.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from serving.bundle import Bundle, BundleError, BundleLimits, Manifest, find_breaking_changes
from serving.event_loop import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import compute_fingerprint
from serving.repository.loaded_models import ServedModel
from serving.repository.rollout import Refusal, ServedVersions, VersionSnapshot

log = logging.getLogger(__name__)

TakeUpPolicy = Literal["compatible", "all"]
MAX_LISTED_DIFFERENCES = 5  # largest number of differences in one reason

LoadedVersions = list[tuple[VersionSnapshot, ServedModel]]


class Admission:
    """Compares new versions with those that are live.

    Args:
        outlook: Scan of the folder of models, and the state (pins, unloads, live versions).
        take_up: Setting of the same name; "all" holds no version.
        limits: Limits of size for a manifest that has to be read again.
    """

    def __init__(
        self, outlook: DesiredVersions, take_up: TakeUpPolicy, limits: BundleLimits
    ) -> None:
        self._outlook, self._take_up, self._limits = outlook, take_up, limits

    def find_incompatibility(
        self, name: str, new: LoadedVersions, line: ServedVersions, served: LoadedVersions
    ) -> Refusal | None:
        """Return the reason to hold a version; None if it may be served.

        A lower version than the live one may always be served: it takes over if the live one
        cannot answer. So may a version that an administrator pinned, or loaded on another server
        that shares the state file; but not other files that are put in its place while it answers.

        Args:
            name: Name of the model.
            new: New editions that passed their self-test; the first would become the live one.
            line: Editions that all workers serve now, the live one first.
            served: Editions that this worker serves now, with their models.
        """
        outlook = self._outlook
        if self._take_up == "all" or not new:
            return None
        edition, model = new[0]
        recorded, pinned = outlook.saved_state.live.get(name), outlook.saved_state.pinned.get(name)
        live = line[0].version if line else recorded
        if live is None or edition.version < live or (line and edition.has_same_content(line[0])):
            return None
        if edition.version in (recorded, pinned) and not (line and edition.version == live):
            return None
        before = self._read_live_manifest(name, live, line, served)
        if before is None:
            log.warning(
                "expected to compare %s/%s with version %d, which was live; its manifest cannot be "
                "read any more; %s/%s is served whether or not it accepts the same requests",
                *(name, edition.version, live, name, edition.version),
            )
            return None
        found = find_breaking_changes(before, model.manifest)
        if not found:
            return None
        reason = _format_hold_reason(name, edition.version, live, found)
        against = (
            line[0].fingerprint
            if line
            else run_in_thread(lambda: compute_fingerprint(self._folder(name, live)))
        )
        return Refusal(reason=reason, live_fingerprint=against, live_version=live)

    def _read_live_manifest(
        self, name: str, live: int, line: ServedVersions, served: LoadedVersions
    ) -> Manifest | None:
        """Return the manifest of the live version; None if it cannot be read any more."""
        if line and served and served[0][0].has_same_content(line[0]):
            return served[0][1].manifest
        folder = self._folder(name, live)

        def read() -> Manifest | None:
            if line and compute_fingerprint(folder) != line[0].fingerprint:
                return None
            try:
                return Bundle.open(folder, self._outlook.models, self._limits).manifest
            except BundleError:
                return None

        return run_in_thread(read)

    def _folder(self, name: str, version: int) -> Path:
        return self._outlook.models / name / str(version)


def _format_hold_reason(name: str, version: int, live: int, found: list[str]) -> str:
    more = len(found) - MAX_LISTED_DIFFERENCES
    told = "; ".join(found[:MAX_LISTED_DIFFERENCES]) + f"; and {more} more differences" * (more > 0)
    same = " as it was before" * (live == version)
    return (
        f"held: it does not accept all requests that version {live}{same}, which is live, "
        f"accepts: {told}; "
        f"POST /v2/repository/models/{name}/load serves it, and --take-up all holds none"
    )
