"""Tables of the robustness benchmark: start-up, memory, monitoring, overload, whose answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report.formatting import NO_VALUE, format_number, format_percent, format_table

# Phases of an overload, as they are shown.
PHASES = {
    "a_fifth": "a fifth of it",
    "four_fifths": "four fifths",
    "three_times": "three times as much",
    "a_second_after": "a fifth, one second later",
}

Result = Mapping[str, Any]


def describe_result(result: Result) -> str:
    """Return start-up, memory, the cost of monitoring and wrong answers, in three sentences."""
    startup = result["startup"]
    memory_mb = next(iter(startup["memory_mb"].values()))
    mixed_up = sum(entry["other"] for entry in result["tagged"].values())
    asked = sum(entry["asked"] for entry in result["tagged"].values())
    costs = " and ".join(format_percent(cost["slower_by"]) for cost in result["cost"].values())
    clients = " and ".join(name.removeprefix("c=") for name in result["cost"])
    return (
        f"First answer {startup['seconds_to_first_answer']['median']:.1f} s after the start, "
        f"{format_number(memory_mb)} MB at rest. Metrics, logs and keys slow it down by {costs} "
        f"with {clients} clients. {mixed_up} of {asked:,} answers were wrong or lost."
    )


def make_startup_table(result: Result) -> str:
    """Return the table of start-up time and memory."""
    startup = result["startup"]
    seconds = startup["seconds_to_first_answer"]
    rows = [
        ["first answer after the start, median", f"{seconds['median']:.2f} s"],
        ["the same, longest", f"{seconds['worst']:.2f} s"],
    ]
    rows += [
        [f"memory, {when}", f"{format_number(memory_mb)} MB"]
        for when, memory_mb in startup["memory_mb"].items()
    ]
    return format_table(["figure", "value"], rows)


def make_monitoring_table(result: Result) -> str:
    """Return the table of what metrics, logs and keys cost."""
    rows = []
    for name, cost in result["cost"].items():
        low, high = cost["quartiles"]
        quartiles = f"{format_percent(low, 1)} to {format_percent(high, 1)}"
        rows.append([name.removeprefix("c="), format_percent(cost["slower_by"], 1), quartiles])
    return format_table(["clients", "slower by, median", "quartiles"], rows)


def make_isolation_table(result: Result) -> str:
    """Return the table of correct answers and all others."""
    rows = [
        [name, *(f"{entry[key]:,}" for key in ("asked", "own", "other"))]
        for name, entry in result["tagged"].items()
    ]
    return format_table(["servers", "requests", "correct answers", "wrong or lost"], rows)


def make_overload_summary(result: Result) -> str:
    """Return the table of what is left under three times the highest rate."""
    rows = []
    for name, load in result["overload"].items():
        flood = load["three_times"]
        rows.append(
            [
                _describe_load(name),
                format_number(load["peak_per_s"]),
                f"{format_number(flood['answered_per_s'])} "
                f"({format_percent(load['throughput_of_peak'])})",
                format_number(load["a_fifth"]["answered"]["p99_ms"]),
                format_number(flood["answered"]["p99_ms"]),
            ]
        )
    headings = (
        "network, request",
        "highest rate, requests/s",
        "answered at three times that rate",
        "p99 at a fifth of it, ms",
        "p99 at three times, ms",
    )
    return format_table(headings, rows)


def make_overload_table(result: Result) -> str:
    """Return the table of all loads and phases."""
    rows = []
    for name, load in result["overload"].items():
        for phase, title in PHASES.items():
            entry = load[phase]
            rows.append(
                [
                    f"{_describe_load(name)}: {title}",
                    *(format_number(entry[f"{key}_per_s"]) for key in ("asked", "answered")),
                    _format_latency(entry["answered"]),
                    format_number(entry["refused_per_s"]),
                    _format_latency(entry["refused"]),
                    str(entry["other"]),
                ]
            )
    headings = (
        "load",
        "requests/s",
        "answered/s",
        "p50 / p99, ms",
        "refused/s",
        "p50 / p99, ms",
        "neither",
    )
    return format_table(headings, rows)


def _describe_load(name: str) -> str:
    return name.removesuffix(" 1 rows") + " 1 row" if name.endswith(" 1 rows") else name


def _format_latency(latency: Mapping[str, float | None]) -> str:
    p50, p99 = latency["p50_ms"], latency["p99_ms"]
    if p50 is None or p99 is None:
        return NO_VALUE
    return f"{format_number(p50)} / {format_number(p99)}"
