"""Serving, closed loop: clients that ask again as soon as they are answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.comparison import Comparison, of_ratio
from benchmarks.report.contender_names import in_order, is_ours, is_rival, named, pair
from benchmarks.report.markdown import image, number, section, spread, table
from benchmarks.report.plots import bars
from benchmarks.report.provenance import missing, remarks

TITLE = "Serving, closed loop"
MEASURES = {
    "requests_per_second": ("requests/s", True),
    "p50_ms": ("p50", False),
    "p99_ms": ("p99", False),
    "memory_mb": ("memory", False),
}
WHAT = """\
Every client asks again as soon as it is answered, over a connection that stays open. All serve the
same ONNX files with ONNX Runtime, with two workers or replicas and the settings that their
documentation recommends, one after the other, on the same cores as the client. *light* is
784-128-64-10, *heavy* 784-2048-2048-10. Before it is timed, each has to answer as ONNX Runtime
does. Medians of the rounds, memory too: of a round the most that was seen, in MB of PSS, under the
loads of *light*. The constant runs no model: it is what HTTP costs under our worker."""
RATIOS = "Requests a second of forwardpass with JSON bodies, as a multiple of each other side's:"
TAILS = "Its 99th percentile of the latency, as a multiple of theirs; below 1, ours is the shorter:"


def _loads(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those under which sides are compared."""
    return [r for r in result["results"] if len(r["sides"]) > 1]


def _sides(result: Mapping[str, Any]) -> list[str]:
    return in_order({side for r in _loads(result) for side in r["sides"]})


def load_name(r: Mapping[str, Any]) -> str:
    """In words."""
    heavy = "heavy, " if r["network"] == "heavy" else ""
    rows, clients = r["rows"], r["connections"]
    return (
        f"{heavy}{rows} row{'s' if rows > 1 else ''}, {clients} client{'s' if clients > 1 else ''}"
    )


def _memory(result: Mapping[str, Any], side: str) -> str:
    seen = [
        r["sides"][side]["memory_mb"]
        for r in _loads(result)
        if r["network"] == "light" and side in r["sides"]
    ]
    return number(max(seen)) if seen else ""


def short(result: Mapping[str, Any] | None) -> str:
    """The table of the README."""
    if result is None:
        return missing("serve")
    rows = []
    for side in _sides(result):
        found = [r["sides"].get(side) for r in _loads(result)]
        cells = [f"{s['requests_per_second']:,.0f} ({s['p99_ms']:.1f})" if s else "" for s in found]
        name = f"**{named(side)}**" if side == "ours" else named(side)
        rows.append([name, *cells, _memory(result, side)])
    found = table(["requests/s (p99 in ms)", *map(load_name, _loads(result)), "MB"], rows)
    return "\n\n".join([found, *remarks(result)])


def _ratios(result: Mapping[str, Any], measure: str) -> str:
    rows = []
    for side in _sides(result):
        found = [r["ratios"].get(f"ours / {side}") for r in _loads(result)]
        if any(found):
            rows.append([named(side), *(spread(f[measure]) if f else "" for f in found)])
    return table(["ours / theirs", *map(load_name, _loads(result))], rows)


def _errors(result: Mapping[str, Any]) -> str:
    found = [
        f"{named(side)} under {load_name(r)}: {s['errors']:,}"
        for r in result["results"]
        for side, s in r["sides"].items()
        if s["errors"]
    ]
    return f"Requests that were refused or broke: {'; '.join(found) if found else 'none'}."


def _added(result: Mapping[str, Any]) -> str:
    said = [
        f"A lone request to *{r['network']}*, beside ONNX Runtime in a loop without a server "
        f"({number(r['onnxruntime_us'])} µs): {spread(r['added_us'])} µs more at the median."
        for r in result["results"]
        if r.get("added_us")
    ]
    return "\n".join(said)


def render(result: Mapping[str, Any] | None) -> str:
    """The section."""
    if result is None:
        return section(TITLE, missing("serve"))
    drawn = image("requests a second of each side under each load", "serve")
    return section(
        TITLE,
        WHAT,
        drawn,
        short(result),
        _errors(result),
        _added(result),
        RATIOS,
        _ratios(result, "requests_per_second"),
        TAILS,
        _ratios(result, "p99_ms"),
    )


def sentence(result: Mapping[str, Any]) -> str:
    """The ratios of the README: of each rival the range over the loads, and where it is ahead."""
    found: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for r in _loads(result):
        for key, ratios in r["ratios"].items():
            mine, rival = pair(key)
            if mine == "ours" and is_rival(rival):
                rates = ratios["requests_per_second"]
                found.setdefault(rival, []).append((load_name(r), rates))
    ranges, behind = [], []
    for rival in in_order(set(found)):
        medians = [rates["median"] for _, rates in found[rival]]
        ranges.append(f"{number(min(medians))}–{number(max(medians))} × {named(rival)}")
        behind += [
            f"{named(rival)}, {load}, {spread(rates)} ×"
            for load, rates in found[rival]
            if rates["median"] < 1
        ]
    said = f"Requests with JSON answered, from load to load: {'; '.join(ranges)}."
    return f"{said} Below 1: {'; '.join(behind)}." if behind else said


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """Requests a second, as bars."""
    loads = _loads(result)
    values = {
        named(side): [r["sides"].get(side, {}).get("requests_per_second") for r in loads]
        for side in _sides(result)
    }
    names = [load_name(r).replace(", ", "\n") for r in loads]
    bars(folder / "serve.svg", names, values, label="requests/s")


def comparisons(result: Mapping[str, Any]) -> Iterator[Comparison]:
    """Of each load: requests a second, latency and memory."""
    for r in _loads(result):
        for key, ratios in r["ratios"].items():
            mine, rival = pair(key)
            if not (is_ours(mine) and is_rival(rival)):
                continue
            for measure, (name, more_is_better) in MEASURES.items():
                yield of_ratio(
                    ratios[measure],
                    more_is_better=more_is_better,
                    measure=name,
                    mine=mine,
                    benchmark="serving, closed loop",
                    where=load_name(r),
                    rival=rival,
                )
