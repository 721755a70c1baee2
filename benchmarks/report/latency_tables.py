"""Serving, open loop: the highest rate at which the 99th percentile stays below a bound."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.comparison import Comparison, of_ratio
from benchmarks.report.contender_names import in_order, is_ours, is_rival, named, pair
from benchmarks.report.markdown import image, number, percent, section, spread, table
from benchmarks.report.plots import bars, lines
from benchmarks.report.provenance import missing, remarks

TITLE = "Serving, open loop"
PUBLISHED = Path(__file__).parents[1] / "latency" / "published.json"
WHAT = """\
Requests leave at the times of a schedule, whether the ones before are answered or not, and latency
is counted from when a request should have left: a server that falls behind cannot slow its clients
down and look better for it. Shown is the highest rate, in requests a second, at which 99 of 100 are
answered within a bound, rightly but for one in a thousand, and those who come late wait no longer
than those who come early; of three tries two decide. 0 says that the lowest rate worth a try did
not hold the bound, ≥ that above this rate the client had no room left or was late itself. Median of
the rounds, with quartiles where there are several: those that held less than a fifth of the best
have one, and so have bounds other than 20 ms; MB is memory."""
HOW = """\
The client is `serving loadtest`, on the same two cores, {connections} connections, priority
{priority}: it comes before the servers, or it could not be in time. A rate is tried for {probe:g}
s, or until enough requests came to tell the percentile; the lowest is {lowest:g}/s. A request is
given up after {timeout:g} s."""
RATIOS = "Rates of ours as a multiple of theirs, round by round; – where theirs is 0:"
AGREEMENT = """\
Does the client see what wrk sees? Both drive one worker, closed loops, turn and turn about. With 32
rows the worker is what there is too little of; with one, a client's own time is part of a turn."""
BESIDE = """\
Beside it, what KServe publishes of itself. Model, machine and client are others: it says what is
thought worth publishing, and not which server is faster."""


def _bounds(result: Mapping[str, Any]) -> list[str]:
    return [f"{bound:g}" for bound in result["bounds_ms"]]


def _title(r: Mapping[str, Any]) -> str:
    return f"{r['load']}, {r['network']}"


def _held(result: Mapping[str, Any], r: Mapping[str, Any]) -> str:
    rows = [
        [
            f"**{named(side)}**" if side == "ours" else named(side),
            *(_rate(r["sides"][side]["held"].get(bound)) for bound in _bounds(result)),
            number(r["sides"][side]["memory_mb"]),
        ]
        for side in in_order(set(r["sides"]))
    ]
    headings = [_title(r), *(f"p99 ≤ {bound} ms" for bound in _bounds(result)), "MB"]
    return table(headings, rows)


def _rate(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if not found["high"]:
        return "0"
    said = f"{'≥ ' if found['limited'] else ''}{found['median']:,.0f}"
    several = len(found["rounds"]) > 1
    return f"{said} ({found['low']:,.0f}–{found['high']:,.0f})" if several else said


def _ratios(result: Mapping[str, Any], r: Mapping[str, Any]) -> str:
    rows = []
    for key, found in r["ratios"].items():
        mine, other = pair(key)
        rows.append(
            [
                f"{named(mine)} / {named(other)}",
                *(spread(found.get(bound)) for bound in _bounds(result)),
            ]
        )
    return table([_title(r), *(f"p99 ≤ {bound} ms" for bound in _bounds(result))], rows)


def short(result: Mapping[str, Any] | None) -> str:
    """The table of the README: the first load's."""
    if result is None:
        return missing("load")
    return "\n\n".join([_held(result, result["results"][0]), *remarks(result)])


def published() -> dict[str, Any]:
    """What others say of themselves."""
    found: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    return found


def _beside(result: Mapping[str, Any]) -> str:
    theirs, machine = published(), result["machine"]
    ours = next((r for r in result["results"] if "ours" in r["sides"]), None)
    rates = list(theirs["at"])
    named_machine = f"{machine['cpu']}, {machine['cores']} cores, shared with the client"
    held = ours["sides"]["ours"]["held"] if ours else {}
    rows = [
        [
            "**forwardpass**",
            f"{ours['network']}, {ours['load']}" if ours else "",
            named_machine,
            *(_latency(result["at"].get(rate)) for rate in rates),
            *(_rate(held.get(bound)) for bound in _bounds(result)),
        ],
        [
            f"[{theirs['name']}]({theirs['source']}): {theirs['path']}",
            theirs["model"],
            f"{theirs['machine']}; {theirs['client']}",
            *(_latency(theirs["at"][rate]) for rate in rates),
            *("not published" for _ in _bounds(result)),
        ],
    ]
    headings = [
        "",
        "model",
        "machine",
        *(f"p50 / p99 at {rate}/s, ms" for rate in rates),
        *(f"highest rate, p99 ≤ {bound} ms" for bound in _bounds(result)),
    ]
    return table(headings, rows)


def _latency(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "–"
    said = f"{found['p50_ms']:,.6g} / {found['p99_ms']:,.6g}"
    return (
        f"{said}; {percent(found['success'], 2)} answered" if found.get("success", 1) < 1 else said
    )


def render(result: Mapping[str, Any] | None) -> str:
    """The section."""
    if result is None:
        return section(TITLE, missing("load"))
    numbers = range(len(result["results"]))
    drawn = [
        image(f"{what}: {_title(result['results'][i])}", f"{name}-{i + 1}")
        for i in numbers
        for what, name in (("highest rate held", "load-held"), ("p99 by rate", "load-p99"))
    ]
    ratios = [_ratios(result, r) for r in result["results"] if r["ratios"]]
    held = [_held(result, r) for r in result["results"][1:]]
    return section(
        TITLE,
        WHAT,
        _how(result),
        short(result),
        *held,
        *drawn,
        AGREEMENT,
        _agreement(result),
        RATIOS if ratios else "",
        *ratios,
        BESIDE,
        _beside(result),
    )


def _how(result: Mapping[str, Any]) -> str:
    how = HOW.format(
        connections=result["connections"],
        priority=result["client"]["priority"],
        timeout=result["timeout_seconds"],
        lowest=result["lowest_rate"],
        probe=result["seconds_a_probe"],
    )
    failed = [f"{named(side)}: {'; '.join(said)}" for side, said in result["failed"].items()]
    return f"{how} It failed: {' '.join(failed)}" if failed else how


def _agreement(result: Mapping[str, Any]) -> str:
    """The client beside wrk."""
    rows = []
    for found in result["agreement"]:
        ours, wrk, ratio = found["loadtest"], found["wrk"], found["ratio"]
        load = f"{found['rows']} row{'s' if found['rows'] > 1 else ''}, {found['users']} users"
        rows.append(
            [
                load,
                *(
                    f"{number(side['requests_per_second'])} ({side['p50_ms']:.2f})"
                    for side in (ours, wrk)
                ),
                spread(ratio["requests_per_second"]),
                spread(ratio["p50_ms"]),
            ]
        )
    return table(
        ["requests/s (p50 in ms)", "`serving loadtest`", "wrk", "requests/s, ×", "p50, ×"], rows
    )


def sentence(result: Mapping[str, Any]) -> str:
    """The ratios of the README: of each rival the range over the bounds, under the first load."""
    r = result["results"][0]
    ranges, behind = [], []
    for key, found in r["ratios"].items():
        mine, rival = pair(key)
        medians = [ratio["median"] for ratio in found.values() if ratio["median"] is not None]
        if mine == "ours" and is_rival(rival) and medians:
            ranges.append(f"{number(min(medians))}–{number(max(medians))} × {named(rival)}")
            behind += [
                f"{named(rival)}, p99 ≤ {bound} ms, {spread(ratio)} ×"
                for bound, ratio in found.items()
                if ratio["median"] is not None and ratio["median"] < 1
            ]
    if not ranges:
        return ""
    said = f"The rate held ({_title(r)}), from bound to bound: {'; '.join(ranges)}."
    return f"{said} Below 1: {'; '.join(behind)}." if behind else said


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """Of each load: rates held as bars, and the 99th percentile by rate."""
    bounds = _bounds(result)
    for i, r in enumerate(result["results"]):
        sides = in_order(set(r["sides"]))
        held = {
            named(side): [r["sides"][side]["held"].get(b, {}).get("median") for b in bounds]
            for side in sides
        }
        names = [f"p99 ≤ {bound} ms" for bound in bounds]
        bars(folder / f"load-held-{i + 1}.svg", names, held, label="requests/s held")
        probes = {
            named(side): [
                (p["rate"], p["p99_ms"])
                for p in r["sides"][side]["probes"]
                if p["p99_ms"] is not None and p["p99_ms"] > 0
            ]
            for side in sides
        }
        lines(
            folder / f"load-p99-{i + 1}.svg",
            probes,
            across="requests/s asked for",
            label="p99, ms",
            levels=result["bounds_ms"],
        )


def comparisons(result: Mapping[str, Any]) -> Iterator[Comparison]:
    """Of each load and bound: the rate held; and the latency beside what others publish."""
    for r in result["results"]:
        for key, found in r["ratios"].items():
            mine, rival = pair(key)
            if not (is_ours(mine) and is_rival(rival)):
                continue
            for bound, ratio in found.items():
                if None not in (ratio["median"], ratio["low"], ratio["high"]):
                    yield of_ratio(
                        ratio,
                        more_is_better=True,
                        benchmark="serving, open loop",
                        where=f"{_title(r)}, p99 ≤ {bound} ms",
                        measure="rate held",
                        mine=mine,
                        rival=rival,
                    )
    theirs = published()
    for rate, found in theirs["at"].items():
        if (ours := result["at"].get(rate)) is not None:
            for measure in ("p50_ms", "p99_ms"):
                a, b = ours[measure], found[measure]
                yield Comparison(
                    "serving, open loop",
                    f"{rate} requests/s, another machine and model",
                    measure.removesuffix("_ms"),
                    "ours",
                    theirs["name"],
                    f"{number(a)} ms against {number(b)} ms",
                    a > b,
                    None,
                )
