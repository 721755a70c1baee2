"""Decide whether a new version that passed its self-test is served automatically.

Clients send requests that the live version accepts. A version that does not accept all of them is
held: it is not served until an administrator loads it, or until it is compatible with the live
version.
"""

from __future__ import annotations

import logging
from pathlib import Path

from serving.bundle import Bundle, BundleError, BundleLimits, Manifest, find_breaking_changes
from serving.event_loop import run_in_thread
from serving.repository.desired_versions import DesiredVersions
from serving.repository.folder_scan import compute_fingerprint
from serving.repository.loaded_models import LoadedVersions
from serving.repository.repository_options import TakeUpPolicy
from serving.repository.rollout import Hold, ServedVersions

log = logging.getLogger(__name__)

MAX_LISTED_DIFFERENCES = 5  # largest number of differences that a reason lists


class Admission:
    """Compares new versions with the live ones.

    Args:
        desired_versions: Reader of the folder of models and the saved state.
        take_up: Value of --take-up. With "all", no version is held.
        limits: Limits of size for a manifest that has to be read again.
    """

    def __init__(
        self, desired_versions: DesiredVersions, take_up: TakeUpPolicy, limits: BundleLimits
    ) -> None:
        self._desired, self._take_up, self._limits = desired_versions, take_up, limits

    def find_incompatibility(
        self, name: str, new: LoadedVersions, current: ServedVersions, served: LoadedVersions
    ) -> Hold | None:
        """Return the hold of a version; None if it may be served.

        A version below the live one may always be served, since it replaces a live version that
        cannot be served any more. A version that an administrator has pinned, or has loaded on
        another server that shares the state file, may be served, too, unless it has the number of
        the live version: then its files were replaced after that request.

        Args:
            name: Name of the model.
            new: Loaded versions to be served; the first would become the live one.
            current: Versions that all workers serve now, the live one first.
            served: Versions that this worker serves now, with their models.
        """
        if self._take_up == "all" or not new:
            return None
        snapshot, model = new[0]
        saved_state = self._desired.saved_state
        recorded, pinned = saved_state.live.get(name), saved_state.pinned.get(name)
        live = current[0].version if current else recorded
        if live is None or snapshot.version < live:
            return None
        is_unchanged = current and snapshot.has_same_content(current[0])
        is_requested = snapshot.version in (recorded, pinned)
        if is_unchanged or (is_requested and not (current and snapshot.version == live)):
            return None
        live_manifest = self._read_live_manifest(name, live, current, served)
        if live_manifest is None:
            log.warning(
                "expected to compare %s/%s with version %d, which was live; got no readable "
                "manifest of it; %s/%s is served although it may not accept the same requests",
                *(name, snapshot.version, live, name, snapshot.version),
            )
            return None
        differences = find_breaking_changes(live_manifest, model.manifest)
        if not differences:
            return None
        if current:
            live_fingerprint = current[0].fingerprint
        else:
            folder = self._get_folder(name, live)
            live_fingerprint = run_in_thread(lambda: compute_fingerprint(folder))
        return Hold(
            reason=_format_hold_reason(name, snapshot.version, live, differences),
            live_fingerprint=live_fingerprint,
            live_version=live,
        )

    def _read_live_manifest(
        self, name: str, live: int, current: ServedVersions, served: LoadedVersions
    ) -> Manifest | None:
        """Return the manifest of the live version; None if it cannot be read any more."""
        if current and served and served[0][0].has_same_content(current[0]):
            return served[0][1].manifest
        folder = self._get_folder(name, live)

        def read() -> Manifest | None:
            if current and compute_fingerprint(folder) != current[0].fingerprint:
                return None
            try:
                return Bundle.open(folder, self._desired.models, self._limits).manifest
            except BundleError:
                return None

        return run_in_thread(read)

    def _get_folder(self, name: str, version: int) -> Path:
        return self._desired.models / name / str(version)


def _format_hold_reason(name: str, version: int, live: int, differences: list[str]) -> str:
    listed = "; ".join(differences[:MAX_LISTED_DIFFERENCES])
    more = len(differences) - MAX_LISTED_DIFFERENCES
    if more > 0:
        listed += f"; and {more} more differences"
    before = " as it was before" if live == version else ""
    return (
        f"held: it does not accept all requests that version {live}{before}, which is live, "
        f"accepts: {listed}; "
        f"POST /v2/repository/models/{name}/load serves it, and --take-up all holds no version"
    )
