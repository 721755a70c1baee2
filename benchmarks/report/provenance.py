"""How the results came about: machine, versions, commit, rounds; and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report.markdown import section, table

TARGETS = {
    "train": "bench-train",
    "compress": "bench-compress",
    "serve": "bench-serve",
    "load": "bench-load",
}
HOW = """\
This page is made by `make bench-page` out of the JSON files in
[benchmarks/results](../benchmarks/results), and a test holds it to them: no figure on it is typed.
Each file comes from one command, which installs the peers in environments of their own, to the
version, and asks nothing else of the machine than Python, make and, for the servers, wrk.

Sides take turns, round after round, so that what slows the machine down for a while slows all of
them. An absolute figure means little, on another machine nothing; a ratio of two sides in the same
round means more. **A ratio is the median of the rounds' ratios, with the quartiles in brackets**:
where these lie on both sides of 1, no difference is shown, whatever the median says."""


def missing(name: str) -> str:
    """What stands in the place of a section without results."""
    return f"There are no results yet: `make {TARGETS[name]}` makes them."


def rounds(result: Mapping[str, Any]) -> str:
    """How many turns of what length a side had."""
    count = f"{result['rounds']} rounds"
    if "seconds_a_turn" in result:
        return f"{count}, turns of {result['seconds_a_turn']:g} s"
    if "seconds_a_probe" in result:
        return f"{count}, probes of {result['seconds_a_probe']:g} s"
    return f"{count} of {result['runs_a_round']} runs"


def _minutes(result: Mapping[str, Any]) -> str:
    return str(result["minutes"]) if "minutes" in result else "not recorded"


def _machine(machine: Mapping[str, Any]) -> str:
    said = f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"
    return f"{said}, load before {machine['load_before']}" if "load_before" in machine else said


def versions(result: Mapping[str, Any]) -> str:
    """Of libraries and peers, in one line."""
    found = dict(result["libraries"])
    for peer in result.get("peers", {}).values():
        package, version = next(iter(peer.items()))  # and then what it runs on
        found.setdefault(package, version)
    return ", ".join(f"{name} {version}" for name, version in found.items())


def remarks(result: Mapping[str, Any]) -> list[str]:
    """What is to be known of a result beside its figures, as the result says it."""
    return list(result.get("remarks", []))


def client(result: Mapping[str, Any]) -> str:
    """What asks, in words; nothing where nothing is asked."""
    found = result.get("client")
    if found is None or isinstance(found, str):
        return found or ""
    return (
        f"{found['name']}, which sends up to {found['most_per_second']:,.0f} requests/s, "
        f"priority {found['priority']}"
    )


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The section on how to read the page."""
    rows = [
        [
            f"`make {TARGETS[name]}`",
            r["when"],
            _minutes(r),
            f"`{r['commit']}`",
            _machine(r["machine"]),
            rounds(r),
        ]
        for name, r in results.items()
    ]
    headings = ("command", "begun", "minutes", "commit", "machine", "turns")
    said = [
        f"- **{name}**: {versions(r)}" + (f"; client: {said}" if (said := client(r)) else "")
        for name, r in results.items()
    ]
    absent = [f"- **{name}**: {missing(name)}" for name in TARGETS if name not in results]
    return section("How to read it", HOW, table(headings, rows), "\n".join([*said, *absent]))
