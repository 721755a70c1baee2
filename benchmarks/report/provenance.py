"""How the results were measured: command, time, commit, machine, rounds, versions and client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.report.contender_names import get_display_name
from benchmarks.report.formatting import NO_VALUE, format_table

# Target of make by benchmark, in the order of the pages.
TARGETS = {
    "train": "bench-train",
    "tables": "bench-tables",
    "defaults": "bench-defaults",
    "compress": "bench-compress",
    "serve": "bench-serve",
    "load": "bench-load",
    "guarantees": "bench-guarantees",
    "soak": "soak",
}
HEADINGS = ("command", "started", "minutes", "commit", "machine", "rounds")


# Results by name of the benchmark; None for those that are missing.
AllResults = Mapping[str, Mapping[str, Any] | None]


def describe_missing(target: str) -> str:
    """Return the sentence for a section without results."""
    return f"There are no results yet; `make {target}` writes them."


def make_provenance_table(results: AllResults, names: Iterable[str] = TARGETS) -> str:
    """Return a table with a row for each benchmark that has results.

    Args:
        results: All results.
        names: Names of the benchmarks to show, default all.
    """
    return format_table(
        HEADINGS,
        [
            [
                f"`make {TARGETS[name]}`",
                str(result.get("when", NO_VALUE)),
                f"{result['minutes']:g}" if "minutes" in result else NO_VALUE,
                f"`{result['commit']}`",
                _describe_machine(result["machine"]),
                _describe_rounds(result),
            ]
            for name in names
            if (result := results[name]) is not None
        ],
    )


def _describe_machine(machine: Mapping[str, Any]) -> str:
    text = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    return f"{text}, load before {machine['load_before']}" if "load_before" in machine else text


def _describe_rounds(result: Mapping[str, Any]) -> str:
    if "rounds" not in result:
        return NO_VALUE
    if "seeds" in result:
        return f"{result['rounds']} seeds"
    rounds = f"{result['rounds']} rounds"
    if "seconds_a_turn" in result:
        return f"{rounds}, {result['seconds_a_turn']:g} s each"
    if "seconds_a_probe" in result:
        return f"{rounds}, probes of {result['seconds_a_probe']:g} s"
    return f"{rounds} of {result['runs_a_round']} runs"


def make_version_table(result: Mapping[str, Any]) -> str:
    """Return the table of the versions of libraries, contenders and client."""
    versions = dict(result["libraries"])
    for pins in result.get("peers", {}).values():
        # The first pin is the contender's own package; what it runs on follows.
        package, version = next(iter(pins.items()))
        versions.setdefault(package, version)
    client = result.get("client")
    if isinstance(client, str):
        name, _, version = client.partition(" ")
        versions[name] = version
    return format_table(["package", "version"], [list(pair) for pair in versions.items()])


def describe_separate_runs(result: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each contender that was measured in a run of its own."""
    return [
        f"{get_display_name(run['contender'])} was measured in a separate run beside forwardpass "
        f"({run['rounds']} rounds, {run['when'].partition('T')[0]}), because {run['why']}. Its "
        "ratios come from that run; its absolute figures cannot be compared with those of the "
        "other rows."
        for run in result.get("separate_runs", [])
    ]
