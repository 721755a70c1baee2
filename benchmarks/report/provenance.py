"""How the results were measured: command, time, commit, machine, rounds, versions and client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report.formatting import format_table

# Target of make by benchmark, for those that measure contenders in turn.
TARGETS = {
    "train": "bench-train",
    "compress": "bench-compress",
    "serve": "bench-serve",
    "load": "bench-load",
    "defaults": "bench-defaults",
}
HEADINGS = ("command", "started", "minutes", "commit", "machine", "rounds")


# Results by name of the benchmark; None for those that are missing.
AllResults = Mapping[str, Mapping[str, Any] | None]


def describe_missing(target: str) -> str:
    """Return the sentence for a section without results."""
    return f"There are no results yet; `make {target}` writes them."


def make_provenance_table(results: AllResults) -> str:
    """Return a table with a row for each benchmark."""
    return format_table(
        HEADINGS,
        [
            [
                f"`make {TARGETS[name]}`",
                result["when"],
                str(result.get("minutes", "not recorded")),
                f"`{result['commit']}`",
                _describe_machine(result["machine"]),
                _describe_rounds(result),
            ]
            for name in TARGETS
            if (result := results[name]) is not None
        ],
    )


def _describe_machine(machine: Mapping[str, Any]) -> str:
    text = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    return f"{text}, load before {machine['load_before']}" if "load_before" in machine else text


def _describe_rounds(result: Mapping[str, Any]) -> str:
    if "seeds" in result:
        return f"{result['rounds']} seeds"
    rounds = f"{result['rounds']} rounds"
    if "seconds_a_turn" in result:
        return f"{rounds}, {result['seconds_a_turn']:g} s each"
    if "seconds_a_probe" in result:
        return f"{rounds}, probes of {result['seconds_a_probe']:g} s"
    return f"{rounds} of {result['runs_a_round']} runs"


def list_versions(results: AllResults) -> str:
    """Return a Markdown list of the versions and the client of each benchmark."""
    lines = []
    for name, target in TARGETS.items():
        result = results[name]
        if result is None:
            lines.append(f"- **{name}**: {describe_missing(target)}")
            continue
        client = _describe_client(result)
        suffix = f"; client: {client}" if client else ""
        lines.append(f"- **{name}**: {describe_versions(result)}{suffix}")
    return "\n".join(lines)


def describe_versions(result: Mapping[str, Any]) -> str:
    """Return the versions of libraries and contenders, in one line."""
    versions = dict(result["libraries"])
    for pins in result.get("peers", {}).values():
        # The first pin is the contender's own package; what it runs on follows.
        package, version = next(iter(pins.items()))
        versions.setdefault(package, version)
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _describe_client(result: Mapping[str, Any]) -> str:
    client = result.get("client")
    if client is None or isinstance(client, str):
        return client or ""
    return (
        f"{client['name']}, which sends up to {client['most_per_second']:,.0f} requests/s, "
        f"priority {client['priority']}"
    )
