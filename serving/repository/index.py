"""The repository index: the state of every version, and why it is not served."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Literal

from typing_extensions import TypedDict

from serving.event_loop import run_in_thread
from serving.repository.folder_scan import find_ignored_folders
from serving.repository.loaded_models import ServedModel
from serving.repository.reconciler import Reconciler
from serving.repository.rollout import RolloutPlan

MAX_IGNORED_FOLDERS = 100  # entries of the index for folders that are not versions


class IndexEntry(TypedDict):
    """A version, as the Open Inference Protocol's repository extension describes it.

    Attributes:
        name: Name of the model.
        version: Number of the version, or name of an ignored folder; empty if the entry is not
            about a version, for instance for a folder that cannot be read.
        state: "READY" if the version is served, "LOADING" while the workers load it, "UNLOADING"
            while requests still use it after it was replaced, else "UNAVAILABLE".
        reason: Reason for the state as a sentence; may be empty.
    """

    name: str
    version: str
    state: Literal["UNAVAILABLE", "LOADING", "READY", "UNLOADING"]
    reason: str


def build_index(reconciler: Reconciler) -> list[IndexEntry]:
    """Return an entry for each version in the folder or in memory.

    Entries for ignored folders that may have been meant as versions follow.

    Args:
        reconciler: Reconciler of this worker.
    """
    loaded_models, plan = reconciler.loaded_models, reconciler.rollout_store.read_plan()
    in_folder = reconciler.desired_versions.folder_scan.versions
    references = (reference() for reference in reconciler.draining)
    draining = {
        (model.manifest.name, model.manifest.version) for model in references if model is not None
    }
    entries = []
    names = {*in_folder, *loaded_models.live_models, *(name for name, _ in draining)}
    for name in sorted(names):
        served = loaded_models.get_versions(name)
        versions = {*in_folder.get(name, []), *served}
        versions |= {version for model_name, version in draining if model_name == name}
        for version in sorted(versions):
            if version in served:
                reasons = {**loaded_models.refusal_reasons, **loaded_models.hold_reasons}
                entries.append(_build_ready_entry(reasons, served[version]))
            elif (name, version) in draining:
                reason = "requests that began before it was replaced are still being answered"
                entries.append(_build_entry(name, version, "UNLOADING", reason))
            else:
                entries.append(_build_absent_entry(reconciler, plan, name, version))
    entries += list_ignored_folders(reconciler.desired_versions.models)
    return entries + [
        _build_entry(key, None, "UNAVAILABLE", reason)
        for key, reason in loaded_models.refusal_reasons.items()
        if "/" not in key  # It is about a folder or the state file, not a version.
    ]


def list_ignored_folders(models: Path) -> list[IndexEntry]:
    """Return an entry for each folder that may have been meant as a version but is not one.

    Args:
        models: Folder of models.
    """
    ignored = run_in_thread(
        lambda: list(islice(find_ignored_folders(models), MAX_IGNORED_FOLDERS + 1))
    )
    entries = [
        IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=reason)
        for name, version, reason in ignored[:MAX_IGNORED_FOLDERS]
    ]
    if len(ignored) > MAX_IGNORED_FOLDERS:
        reason = f"ignored: there are more than {MAX_IGNORED_FOLDERS} folders that are not versions"
        entries.append(_build_entry(models.name, None, "UNAVAILABLE", reason))
    return entries


def _build_ready_entry(reasons: dict[str, str], model: ServedModel) -> IndexEntry:
    name, version = model.manifest.name, model.manifest.version
    own_reasons = [why for key, why in reasons.items() if key.startswith(f"{name}/{version}/")]
    # Files that replaced those of a served version may be refused or held as well.
    own_reasons += [why for key, why in reasons.items() if key == f"{name}/{version}"]
    return _build_entry(name, version, "READY", "; ".join(own_reasons))


def _build_absent_entry(
    reconciler: Reconciler, plan: RolloutPlan, name: str, version: int
) -> IndexEntry:
    """Return the entry of a version that is in the folder but not served here."""
    key, rollout = f"{name}/{version}", plan.rollouts.get(name)
    saved_state = reconciler.desired_versions.saved_state
    if rollout and any(snapshot.version == version for snapshot in rollout.versions or []):
        return _build_entry(name, version, "LOADING", "not every worker has loaded it yet")
    if (reason := reconciler.loaded_models.refusal_reasons.get(key)) is not None:
        return _build_entry(name, version, "UNAVAILABLE", reason)
    if (reason := reconciler.loaded_models.hold_reasons.get(key)) is not None:
        return _build_entry(name, version, "UNAVAILABLE", reason)
    if name in saved_state.unloaded:
        reason = "the model was unloaded; load it to have it served"
    elif name in saved_state.pinned:
        reason = f"version {saved_state.pinned[name]} is pinned; load the model to end that"
    else:
        reason = (
            "it is not among the versions to be served; see --keep and --poll, or roll back to it"
        )
    return _build_entry(name, version, "UNAVAILABLE", reason)


def _build_entry(
    name: str,
    version: int | None,
    state: Literal["UNAVAILABLE", "LOADING", "READY", "UNLOADING"],
    reason: str,
) -> IndexEntry:
    return IndexEntry(
        name=name, version="" if version is None else str(version), state=state, reason=reason
    )
