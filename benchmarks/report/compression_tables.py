"""Compression: what each variant saves, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.report.comparison import Comparison, of_ratio
from benchmarks.report.markdown import percent, section, spread, table
from benchmarks.report.provenance import missing

TITLE = "Compression"
DENSE, INT8 = "fp32", "int8"
SIZES = ("1", "8", "64", "256")  # rows of a run
METRICS = {"accuracy": "accuracy", "roc_auc": "ROC AUC", "r2": "R²"}
WHAT = """\
The commands of the README's section "Smaller and faster", on one thread, all graphs of a network in
turns. Preprocessing is in the graph and in the times; layers are what goes into the first one and
the hidden units. Of each command, the graph as it was trained, `int8` and the smallest file:"""
ALL = """\
All variants that were kept. "Lost" is on the test rows, with its 95 % interval; a negative number
is a gain. Speeds are as a multiple of the dense graph's, with quartiles:"""
PARITY = """\
Every variant of fewer bits against its NumPy reference in whole numbers, row by row, and against
itself: each row alone, in sevens, in batches of 256, and beside batch-mates a thousand times as
large. "Moved" is the most that any answer moved with the batch."""


def runs(result: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Of each command that was measured: the network, what was asked for, what came of it."""
    found = []
    for title, r in result["results"].items():
        name, _, said = title.partition(": ")
        command = said.partition(" (")[0]  # the seconds follow
        asked = command.partition(f"models/{name}")[2].strip()
        found.append((name, asked, r))
    return found


def _name(variant: str, asked: str) -> str:
    options = asked.split()
    share = options[options.index("--prune") + 1] if "--prune" in options else ""
    return f"`{variant}`, {share}" if share and variant.startswith("pruned") else f"`{variant}`"


def _full(name: str, asked: str, variant: str) -> str:
    return f"{name} `{asked}`, `{variant}`" if asked else f"{name}, `{variant}`"


def _metric(result: Mapping[str, Any]) -> str:
    metric: str = result["metric"]
    return METRICS.get(metric, metric)


def _rows(size: str) -> str:
    return f"{size} row" if size == "1" else f"{size} rows"


def _lines(result: Mapping[str, Any], *, shortest: bool) -> Iterator[list[str]]:
    """Network, variant and figures; of graphs that several commands share, the first time."""
    seen = set()
    for name, asked, r in runs(result):
        variants = r.get("variants", {})
        smallest = min(variants, key=lambda v: variants[v]["bytes"], default=None)
        for variant, v in variants.items():
            if shortest and variant not in (DENSE, INT8, smallest):
                continue
            if (again := (name, variant, v["bytes"], v["test"])) in seen:
                continue
            seen.add(again)
            dense = variant == DENSE
            label = f"{name}, dense" if dense else _name(variant, asked)
            test = f"{v['test']:.4f}"
            smaller = "" if dense else f"{v['smaller']:.1f} ×"
            cells = [label, v["layers"], f"{v['bytes']:,} B", smaller]
            cells.append(f"{_metric(r)} {test}" if dense else test)
            speed = v["speed"]
            if shortest:
                faster = ", ".join(f"{speed[size]['faster']:.2f}" for size in ("1", "64"))
                yield [
                    *cells,
                    *(f"{speed[size]['us']:.0f}" for size in ("1", "64")),
                    "" if dense else faster,
                ]
            else:
                yield [*cells, _lost(v), *("" if dense else _times(speed[s]) for s in SIZES)]


def _ratio(speed: Mapping[str, float]) -> dict[str, float]:
    return {"median": speed["faster"], "low": speed["from"], "high": speed["to"]}


def _times(speed: Mapping[str, float]) -> str:
    return spread(_ratio(speed))


def _lost(variant: Mapping[str, Any]) -> str:
    lost = variant["lost"]
    if lost is None:
        return ""
    low, high = lost["interval"]
    return f"{lost['drop']:.4f} ({low:.4f} to {high:.4f})"


def short(result: Mapping[str, Any] | None) -> str:
    """The table of the README."""
    if result is None:
        return missing("compress")
    headings = [
        "",
        "layers",
        "file",
        "smaller",
        "metric on the test rows",
        "µs, 1 row",
        "64 rows",
        "times as fast",
    ]
    return table(headings, _lines(result, shortest=True))


def _parity(result: Mapping[str, Any]) -> str:
    rows = []
    for name, asked, r in runs(result):
        for variant, v in r.get("variants", {}).items():
            if (p := v["parity"]) is None:
                continue
            moved = max(p["by_batch"][key] for key in ("7", "256", "outliers"))
            alike = percent(p["labels_alike"], 2) if "labels_alike" in p else "–"
            cells = [f"{p['rows']:,}", alike, f"{p['of_spread']:.1e}", percent(p["exact_rows"], 2)]
            rows.append([_full(name, asked, variant), *cells, f"{moved:g}"])
    headings = ("", "rows", "labels alike", "max difference, of the spread", "exact rows", "moved")
    return table(headings, rows)


def render(result: Mapping[str, Any] | None) -> str:
    """The section."""
    if result is None:
        return section(TITLE, missing("compress"))
    headings = [
        "",
        "layers",
        "file",
        "smaller",
        "metric on the test rows",
        "lost",
        *(f"× dense, {_rows(size)}" for size in SIZES),
    ]
    return section(
        TITLE,
        WHAT,
        short(result),
        ALL,
        table(headings, _lines(result, shortest=False)),
        PARITY,
        _parity(result),
    )


def comparisons(result: Mapping[str, Any]) -> Iterator[Comparison]:
    """Of each variant beside the dense graph: speed, and what the test rows say."""
    for name, asked, r in runs(result):
        for variant, v in r.get("variants", {}).items():
            if variant == DENSE:
                continue
            mine = _full(name, asked, variant)
            for size, speed in v["speed"].items():
                yield of_ratio(
                    _ratio(speed),
                    more_is_better=True,
                    benchmark="compression",
                    where=_rows(size),
                    measure="speed",
                    mine=mine,
                    rival="the dense graph",
                )
            if (lost := v["lost"]) is not None:
                low, high = lost["interval"]
                yield Comparison(
                    "compression",
                    "test rows",
                    _metric(r),
                    mine,
                    "the dense graph",
                    f"lost {_lost(v)}",
                    behind=lost["drop"] > 0,
                    within=low <= 0 <= high,
                )
