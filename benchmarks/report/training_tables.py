"""Training: steps a second beside PyTorch and scikit-learn, and beside the products alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.comparison import Comparison, of_ratio
from benchmarks.report.contender_names import in_order, is_ours, is_rival, named, pair
from benchmarks.report.markdown import image, number, percent, section, spread, table
from benchmarks.report.plots import bars
from benchmarks.report.provenance import missing

TITLE = "Training"
WHAT = """\
The same networks, rows, batches, threads, float32 and Adam on every side, each a process of its own
that waits while another is timed. Shuffling and gathering the batches is in the times."""
FLOOR = """\
Beside them, the matrix products of a step and nothing else, by the BLAS that NumPy brings: the
share of our step that they take, and how often a step of nothing else goes into a rival's. Below 1,
no loop over NumPy's products can pass that rival."""
MEMORY = "Peak memory of each side's process, in MB:"


def cases(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Names of the networks with their batches, and what was measured of them."""
    return [(f"{r['name']}, batch {r['batch']}", r) for r in result["results"]]


def _sides(result: Mapping[str, Any]) -> list[str]:
    return in_order(set(result["results"][0]["steps_per_second"]))


def _speeds(result: Mapping[str, Any], mine: str) -> str:
    rivals = [side for side in _sides(result) if is_rival(side)]
    rows = [
        [
            name,
            number(r["steps_per_second"][mine]),
            *(spread(r["ratios"][f"{mine} / {rival}"]) for rival in rivals),
        ]
        for name, r in cases(result)
    ]
    headings = ["network", f"{named(mine)}, steps/s", *(f"× {named(rival)}" for rival in rivals)]
    return table(headings, rows)


def _floor(result: Mapping[str, Any]) -> str:
    mine = [side for side in _sides(result) if is_ours(side)]
    rivals = [side for side in _sides(result) if is_rival(side)]
    rows = [
        [
            name,
            *(percent(r["ratios"][f"{side} / products"]["median"]) for side in mine),
            *(spread(r["ratios"][f"products / {rival}"]) for rival in rivals),
        ]
        for name, r in cases(result)
    ]
    headings = [*(f"share of {named(side)}" for side in mine), *(f"× {named(r)}" for r in rivals)]
    return table(["network", *headings], rows)


def _memory(result: Mapping[str, Any]) -> str:
    sides = _sides(result)
    rows = [[name, *(str(r["peak_mb"][side]) for side in sides)] for name, r in cases(result)]
    return table(["network", *map(named, sides)], rows)


def render(result: Mapping[str, Any] | None) -> str:
    """The section."""
    if result is None:
        return section(TITLE, missing("train"))
    speeds = [_speeds(result, side) for side in _sides(result) if is_ours(side)]
    drawn = image("steps a second as a multiple of each rival's", "train")
    return section(TITLE, WHAT, drawn, *speeds, FLOOR, _floor(result), MEMORY, _memory(result))


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """The ratios of our side, as bars."""
    values = {
        named(rival): [r["ratios"][f"ours / {rival}"]["median"] for _, r in cases(result)]
        for rival in _sides(result)
        if is_rival(rival)
    }
    names = [name.replace(", ", "\n") for name, _ in cases(result)]
    bars(folder / "train.svg", names, values, label="our steps/s ÷ theirs", line=1)


def comparisons(result: Mapping[str, Any]) -> Iterator[Comparison]:
    """Of each network: steps a second, and peak memory."""
    for name, r in cases(result):
        for key, found in r["ratios"].items():
            mine, rival = pair(key)
            if is_ours(mine) and is_rival(rival):
                yield of_ratio(
                    found,
                    more_is_better=True,
                    benchmark="training",
                    where=name,
                    measure="steps/s",
                    mine=mine,
                    rival=rival,
                )
                ours, theirs = r["peak_mb"][mine], r["peak_mb"][rival]
                yield Comparison(
                    "training",
                    name,
                    "peak memory",
                    mine,
                    rival,
                    f"{number(ours / theirs)} ×",
                    ours > theirs,
                    None,
                )
