"""The states: what has become of every version in the folder, as the index tells it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Literal, TypedDict

from serving.event_loop import run_in_thread
from serving.repository.folder_scan import find_ignored_folders
from serving.repository.loaded_models import ServedModel
from serving.repository.reconciler import Reconciler
from serving.repository.rollout import RolloutPlan

MAX_IGNORED_FOLDERS = 100  # entries of the index for folders that are no versions


class IndexEntry(TypedDict):
    """A version, in the words of the Open Inference Protocol's repository extension."""

    name: str
    # Empty for what is no version, as a folder that cannot be read; the name of what is ignored.
    version: str
    state: Literal["UNAVAILABLE", "LOADING", "READY", "UNLOADING"]
    reason: str


def build_index(keeper: Reconciler) -> list[IndexEntry]:
    """An entry for each version that lies in the folder, is served, or was until a moment ago.

    Behind them is one for each folder that could have been meant as a version and is ignored.
    """
    catalogue, plan = keeper.loaded_models, keeper.rollout_store.read_plan()
    draining = [model for link in keeper.draining if (model := link()) is not None]
    gone = {(model.manifest.name, model.manifest.version) for model in draining}
    entries = []
    for name in sorted(
        {
            *keeper.desired_versions.folder_scan.versions,
            *catalogue.live_models,
            *(name for name, _ in gone),
        }
    ):
        served = catalogue.get_versions(name)
        versions = {*keeper.desired_versions.folder_scan.versions.get(name, []), *served}
        versions |= {version for model, version in gone if model == name}
        for version in sorted(versions):
            if version in served:
                entries.append(
                    _build_ready_entry(
                        {**catalogue.refusal_reasons, **catalogue.hold_reasons}, served[version]
                    )
                )
            elif (name, version) in gone:
                reason = "requests that hold it are being answered"
                entries.append(_build_entry(name, version, "UNLOADING", reason))
            else:
                entries.append(_build_absent_entry(keeper, plan, name, version))
    entries += list_ignored_folders(keeper.desired_versions.models)
    of_no_version = {key: why for key, why in catalogue.refusal_reasons.items() if "/" not in key}
    return entries + [
        _build_entry(name, None, "UNAVAILABLE", why) for name, why in of_no_version.items()
    ]


def list_ignored_folders(models: Path) -> list[IndexEntry]:
    """Return an entry for each of some folders that lie like a version and are none."""
    found = run_in_thread(
        lambda: list(islice(find_ignored_folders(models), MAX_IGNORED_FOLDERS + 1))
    )
    entries = [
        IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=reason)
        for name, version, reason in found[:MAX_IGNORED_FOLDERS]
    ]
    if len(found) > MAX_IGNORED_FOLDERS:
        reason = f"ignored: there are more than {MAX_IGNORED_FOLDERS} folders that are no versions"
        entries.append(_build_entry(models.name, None, "UNAVAILABLE", reason))
    return entries


def _build_ready_entry(refused: dict[str, str], model: ServedModel) -> IndexEntry:
    name, version = model.manifest.name, model.manifest.version
    faults = [why for key, why in refused.items() if key.startswith(f"{name}/{version}/")]
    # An edition that was put in its place while it is served may be refused or held as well.
    faults += [why for key, why in refused.items() if key == f"{name}/{version}"]
    return _build_entry(name, version, "READY", "; ".join(faults))


def _build_absent_entry(
    keeper: Reconciler, plan: RolloutPlan, name: str, version: int
) -> IndexEntry:
    refused = keeper.loaded_models.refusal_reasons.get(f"{name}/{version}")
    rollout, state = plan.rollouts.get(name), keeper.desired_versions.saved_state
    if rollout and any(edition.version == version for edition in rollout.versions or []):
        return _build_entry(name, version, "LOADING", "not every worker has proved it yet")
    if refused is not None:
        return _build_entry(name, version, "UNAVAILABLE", refused)
    if (held := keeper.loaded_models.hold_reasons.get(f"{name}/{version}")) is not None:
        return _build_entry(name, version, "UNAVAILABLE", held)
    if name in state.unloaded:
        reason = "the model was unloaded; load it to have it served"
    elif name in state.pinned:
        reason = f"version {state.pinned[name]} is pinned; load the model to end that"
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
