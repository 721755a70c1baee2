"""Tables and plot of the soak: memory, descriptors and latency over time, and counts of events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.formatting import format_number, format_table
from benchmarks.report.plots import COLOURS, open_axes

# Name of each measure as it is shown, and the unit of its growth.
MEASURES = {
    "memory_mb": ("memory of the workers, MB", " MB"),
    "pss_mb": ("the same, shared memory counted once, MB", " MB"),
    "arbiter_mb": ("memory of the arbiter, MB", " MB"),
    "descriptors": ("descriptors, without those of connections", ""),
    "threads": ("threads", ""),
    "p50_ms": ("latency p50, ms", " %"),
    "p99_ms": ("latency p99, ms", " %"),
}

Result = Mapping[str, Any]


def make_drift_table(result: Result) -> str:
    """Return the table of first and last values, and growth per hour with its interval."""
    rows = []
    for name, (title, unit) in MEASURES.items():
        drift = result["figures"][name]
        rows.append(
            [
                title,
                format_number(drift["first"]),
                format_number(drift["last"]),
                f"{format_number(drift['slope'])}{unit}",
                f"{format_number(drift['low'])} to {format_number(drift['high'])}",
            ]
        )
    return format_table(("", "first", "last", "growth per hour", "interval"), rows)


def make_count_table(result: Result) -> str:
    """Return the table of requests, faults and reloads."""
    figures = result["figures"]
    reloads = ", ".join(f"{count} × {kind}" for kind, count in figures["reloads"].items())
    unexpected = ", ".join(f"{count} × {code}" for code, count in figures["unexpected"].items())
    rows = [
        ["requests", f"{figures['requests']:,}"],
        ["faulty ones, refused with the expected status", f"{figures['refused']:,}"],
        ["wrong answers", str(figures["wrong"])],
        ["without an answer", str(figures["dropped"])],
        ["unexpected statuses", unexpected or "0"],
        ["reloads", reloads or "0"],
        ["failed reloads", str(len(figures["failed_reloads"]))],
        ["workers that ended", str(figures["workers_died"])],
        [
            "windows in which the load generator was late",
            f"{figures['windows_in_doubt']} of {figures['windows']}",
        ],
    ]
    return format_table(("event", "count"), rows)


def describe_result(result: Result) -> str:
    """Return the verdict with the growth of memory, in one sentence."""
    drift = result["figures"]["memory_mb"]
    return (
        f"After {result['minutes']:g} minutes: {result['verdict']}; the workers' memory went from "
        f"{format_number(drift['first'])} to {format_number(drift['last'])} MB."
    )


def draw(result: Result, folder: Path) -> None:
    """Draw the memory of the workers and the 99th percentile over time."""
    samples, windows = result["series"]["samples"], result["series"]["windows"]
    with open_axes(folder / "soak.svg", height=3.6) as axes:
        axes.plot(_to_minutes(samples), samples["rss_mb"], color=COLOURS[0], label="memory, MB")
        axes.set_xlabel("minutes")
        axes.set_ylabel("memory of the workers, MB")  # not from 0, where a leak would look flat
        right_axes = axes.twinx()
        right_axes.plot(_to_minutes(windows), windows["p99_ms"], color=COLOURS[1], label="p99, ms")
        right_axes.set_ylabel("latency p99, ms")
        right_axes.set_ylim(bottom=0)
        right_axes.spines["right"].set_visible(True)
        axes.figure.legend(loc="outside upper right", ncols=2)


def _to_minutes(series: Mapping[str, Any]) -> list[float]:
    return [seconds / 60 for seconds in series["at"]]
