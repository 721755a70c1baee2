"""The soak: what a server holds, how it answers over time, and whether it stayed as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.comparison import Comparison
from benchmarks.report.markdown import image, number, section, table
from benchmarks.report.plots import COLOURS, canvas
from benchmarks.report.provenance import versions

TITLE = "Soak"
WHAT = """\
Two workers under a steady open loop of mixed requests, a tenth of them bad, while versions appear,
are rolled back and loaded again, a second model goes and comes back, and rude clients break off or
say nothing. A tenth of the time, two minutes at most, is a warm-up, in which reloads come twenty
times as often, so that allocators have what they need; the first table leaves it out. Growth is the
slope of Theil and Sen with its interval of 95 %; first and last are medians of the first and the
last quarter."""
MISSING = "There are no results yet: `make soak` makes them."
HEADINGS = ("", "first", "last", "growth an hour", "interval")
MEASURES = {
    "memory_mb": ("memory of the workers, MB", " MB"),
    "pss_mb": ("of what is shared each its part, MB", " MB"),
    "arbiter_mb": ("memory of the arbiter, MB", " MB"),
    "descriptors": ("descriptors, without those of connections", ""),
    "threads": ("threads", ""),
    "p50_ms": ("latency p50, ms", " %"),
    "p99_ms": ("latency p99, ms", " %"),
}
SERVERS = {"ours": "", "leaking": "The server was one that **leaks on purpose**. "}


def _drift(found: Mapping[str, Any]) -> str:
    rows = []
    for name, (title, unit) in MEASURES.items():
        d = found[name]
        rows.append(
            [
                title,
                number(d["first"]),
                number(d["last"]),
                f"{number(d['slope'])}{unit}",
                f"{number(d['low'])} to {number(d['high'])}",
            ]
        )
    return table(HEADINGS, rows)


def _counts(result: Mapping[str, Any]) -> str:
    found = result["figures"]
    reloads = ", ".join(f"{count} × {kind}" for kind, count in found["reloads"].items())
    unexpected = ", ".join(f"{count} × {said}" for said, count in found["unexpected"].items())
    rows = [
        ["requests", f"{found['requests']:,}"],
        ["bad ones, refused as they must be", f"{found['refused']:,}"],
        ["wrong answers", str(found["wrong"])],
        ["without an answer", str(found["dropped"])],
        ["unexpected statuses", unexpected or "0"],
        ["reloads", reloads or "0"],
        ["reloads that failed", str(len(found["failed_reloads"]))],
        ["workers that died", str(found["workers_died"])],
        [
            "pieces of the load in which the client was late",
            f"{found['windows_in_doubt']} of {found['windows']}",
        ],
    ]
    return table(("what happened", "count"), rows)


def _origin(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"`make soak`, begun {result['when']}, commit `{result['commit']}`, on {machine['cpu']}, "
        f"{machine['cores']} cores, shared with the client, Python {machine['python']}: "
        f"{result['minutes']:g} minutes of {result['rate']:g} requests/s over "
        f"{result['connections']} connections. {versions(result)}."
    )


def render(result: Mapping[str, Any] | None) -> str:
    """The section."""
    if result is None:
        return section(TITLE, MISSING)
    said = f"{SERVERS[result['server']]}Verdict: **{result['verdict']}**."
    return section(
        TITLE,
        WHAT,
        said,
        _drift(result["figures"]),
        _counts(result),
        image("memory of the workers and p99 over time", "soak"),
        _origin(result),
    )


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """Memory of the workers to the left, and p99 to the right, over the minutes."""
    samples, windows = result["series"]["samples"], result["series"]["windows"]
    with canvas(folder / "soak.svg", height=3.6) as axes:
        axes.plot(_minutes(samples), samples["rss_mb"], color=COLOURS[0], label="memory, MB")
        axes.set_xlabel("minutes")
        axes.set_ylabel("memory of the workers, MB")  # not from 0: a leak would look flat
        other = axes.twinx()
        other.plot(_minutes(windows), windows["p99_ms"], color=COLOURS[1], label="p99, ms")
        other.set_ylabel("latency p99, ms")
        other.set_ylim(bottom=0)
        other.spines["right"].set_visible(True)
        axes.figure.legend(loc="outside upper right", ncols=2)


def _minutes(series: Mapping[str, Any]) -> list[float]:
    return [at / 60 for at in series["at"]]


def comparisons(_: Mapping[str, Any]) -> Iterator[Comparison]:
    """None: it stands beside itself, some minutes ago."""
    return iter(())
