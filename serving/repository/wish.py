"""The wish: which versions of a model should be served, by the folder, the state and the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from serving.repository.folder_scan import FolderScan
from serving.repository.overrides import SavedState
from serving.repository.rollout import RolloutPlan, ServedVersions, VersionSnapshot
from serving.repository.stamps import compute_fingerprint


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
    folder, served = models / name, plan.lines.get(name, [])
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
        lies = VersionSnapshot(version=version, stamp=compute_fingerprint(folder / str(version)))
        known = [edition for edition in served if edition.version == version]
        # As it is served, with the verdict on it; or as it was before someone began to change it.
        candidates = [edition for edition in known if edition.same(lies)] or [lies, *known]
        for edition in candidates:
            if plan.reason(folder.name, edition) is None:
                yield edition
                break
