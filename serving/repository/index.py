"""The states: what has become of every version in the folder, as the index tells it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Literal, TypedDict

from serving.event_loop_threads import aside
from serving.repository.folder_scan import ignored
from serving.repository.reconciler import Keeper
from serving.repository.rollout import Plan
from serving.repository.served import ServedModel

MOST_IGNORED = 100  # entries of the index for folders that are no versions


class Entry(TypedDict):
    """A version, in the words of the Open Inference Protocol's repository extension."""

    name: str
    # Empty for what is no version, as a folder that cannot be read; the name of what is ignored.
    version: str
    state: Literal["UNAVAILABLE", "LOADING", "READY", "UNLOADING"]
    reason: str


def states(keeper: Keeper) -> list[Entry]:
    """An entry for each version that lies in the folder, is served, or was until a moment ago.

    Behind them is one for each folder that could have been meant as a version and is ignored.
    """
    catalogue, plan = keeper.catalogue, keeper.agenda.read()
    draining = [model for link in keeper.draining if (model := link()) is not None]
    gone = {(model.manifest.name, model.manifest.version) for model in draining}
    entries = []
    for name in sorted(
        {*keeper.outlook.shelf.versions, *catalogue.served, *(name for name, _ in gone)}
    ):
        served = catalogue.versions(name)
        versions = {*keeper.outlook.shelf.versions.get(name, []), *served}
        versions |= {version for model, version in gone if model == name}
        for version in sorted(versions):
            if version in served:
                entries.append(_ready({**catalogue.refused, **catalogue.held}, served[version]))
            elif (name, version) in gone:
                reason = "requests that hold it are being answered"
                entries.append(_entry(name, version, "UNLOADING", reason))
            else:
                entries.append(_absent(keeper, plan, name, version))
    entries += ignored_entries(keeper.outlook.models)
    of_no_version = {key: why for key, why in catalogue.refused.items() if "/" not in key}
    return entries + [_entry(name, None, "UNAVAILABLE", why) for name, why in of_no_version.items()]


def ignored_entries(models: Path) -> list[Entry]:
    """Return an entry for each of some folders that lie like a version and are none."""
    found = aside(lambda: list(islice(ignored(models), MOST_IGNORED + 1)))
    entries = [
        Entry(name=name, version=version, state="UNAVAILABLE", reason=reason)
        for name, version, reason in found[:MOST_IGNORED]
    ]
    if len(found) > MOST_IGNORED:
        reason = f"ignored: there are more than {MOST_IGNORED} folders that are no versions"
        entries.append(_entry(models.name, None, "UNAVAILABLE", reason))
    return entries


def _ready(refused: dict[str, str], model: ServedModel) -> Entry:
    name, version = model.manifest.name, model.manifest.version
    faults = [why for key, why in refused.items() if key.startswith(f"{name}/{version}/")]
    # An edition that was put in its place while it is served may be refused or held as well.
    faults += [why for key, why in refused.items() if key == f"{name}/{version}"]
    return _entry(name, version, "READY", "; ".join(faults))


def _absent(keeper: Keeper, plan: Plan, name: str, version: int) -> Entry:
    refused = keeper.catalogue.refused.get(f"{name}/{version}")
    rollout, state = plan.rollouts.get(name), keeper.outlook.wished
    if rollout and any(edition.version == version for edition in rollout.line or []):
        return _entry(name, version, "LOADING", "not every worker has proved it yet")
    if refused is not None:
        return _entry(name, version, "UNAVAILABLE", refused)
    if (held := keeper.catalogue.held.get(f"{name}/{version}")) is not None:
        return _entry(name, version, "UNAVAILABLE", held)
    if name in state.unloaded:
        reason = "the model was unloaded; load it to have it served"
    elif name in state.pinned:
        reason = f"version {state.pinned[name]} is pinned; load the model to end that"
    else:
        reason = (
            "it is not among the versions to be served; see --keep and --poll, or roll back to it"
        )
    return _entry(name, version, "UNAVAILABLE", reason)


def _entry(
    name: str,
    version: int | None,
    state: Literal["UNAVAILABLE", "LOADING", "READY", "UNLOADING"],
    reason: str,
) -> Entry:
    return Entry(
        name=name, version="" if version is None else str(version), state=state, reason=reason
    )
