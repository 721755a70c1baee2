"""Columns: what the model goes by, the rows that are hardest for it, and where it is worst."""

from __future__ import annotations

import numpy as np

from trainer.report.blocks import Block, Cell, Figure, FigureRow, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, format_decimal, format_metric, format_number, format_percent, shorten
from trainer.report.permutation_importance import REPEATS, PermutationImportances
from trainer.report.inputs import EvaluatedRows
from trainer.report.plots import ACCENT, INK, MUTED, WIDE_WIDTH, open_canvas, show_grid
from trainer.report.slices import MIN_ROWS, Slice, find_slices, compute_interval, compute_row_scores
from trainer.report.worst_errors import MAX_ERRORS as MOST_CASES
from trainer.report.worst_errors import find_worst_errors, format_row

MOST_BARS = 20
MOST_COLUMNS = 10  # of a hard case
MOST_SLICES = 20


def build_importance_section(found: PermutationImportances, positive: int | str | None) -> Section:
    """Bars of the most important columns, and all in a table.

    Args:
        found: Drop of the metric by shuffling each column.
        positive: Positive class of a binary model; else None.
    """
    metric = format_metric(found.metric, positive)
    shown = found.columns[:MOST_BARS]
    names = [shorten(column.column, 28) for column in shown]
    with open_canvas(width=WIDE_WIDTH, height=0.9 + 0.25 * len(shown)) as drawing:
        axes = drawing.axes_0
        show_grid(axes)
        axes.grid(visible=False, axis="y")
        axes.barh(
            range(len(shown)),
            [c.drop for c in shown],
            xerr=[c.spread for c in shown],
            height=0.66,
            color=ACCENT,
            error_kw={"ecolor": INK, "elinewidth": 1.2},
        )
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(shown)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"{metric} lost when the column is shuffled")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    more = (
        f" The {len(shown)} highest of {len(found.columns)}."
        if (len(found.columns) > len(shown))
        else ""
    )
    said = (
        f"Each column in turn was shuffled among {format_count(found.rows, 'test row')}, {REPEATS} times, "
        f"and the graph asked again; {metric} is {format_decimal(found.base)} when "
        f"nothing is shuffled."
    )
    caption = (
        f"The longer the bar, the more the model goes by the column; whiskers are a standard "
        f"deviation. Columns that say the same share their importance, so each looks small.{more}"
    )
    rows = [[shorten(c.column), format_decimal(c.drop), format_decimal(c.spread)] for c in found.columns]
    table = TableBlock(
        ["column", f"{metric} lost", "standard deviation"], rows, folded="Every column as a table"
    )
    return Section("importance", [Paragraph(said), FigureRow([Figure(drawing.svg, caption)]), table])


def build_errors_section(judged: EvaluatedRows, found: PermutationImportances) -> Section:
    """The test rows it got most surely wrong."""
    worst = find_worst_errors(judged)
    if not worst:
        said = f"None of {format_count(len(judged), 'test row')} is answered wrongly."
        return Section("cases", [Paragraph(said, "good")])
    names = [c.column for c in found.columns[:MOST_COLUMNS]]
    kept = set(names)
    names = [name for name in judged.records.names if name in kept]  # in the order of a row
    remark = "probability" if judged.classes is not None else "off by"
    if judged.classes is None and len(judged.targets) > 1:
        remark = "off by, in standard deviations"
    rows = [
        [case.truth, case.answer, case.remark, *format_row(judged, case.row, names)]
        for case in worst
    ]
    which = (
        "wrong answers it was surest of"
        if judged.classes is not None
        else "predictions that are furthest off"
    )
    less = len(judged.records.columns) - len(names)
    more = f" Of their columns the {len(names)} most important." if less else ""
    blocks: list[Block] = [
        TableBlock(
            ["truth", "answer", remark, *(shorten(name, 24) for name in names)],
            rows,
            f"The {len(rows)} {which}, worst first: look for wrong labels, and for what the "
            f"columns do not say.{more}",
            words=_words(judged, names),
        )
    ]
    if judged.classes is not None and len(worst) < MOST_CASES:
        said = f"There are no more: of {format_count(len(judged), 'row')} no other is answered wrongly."
        blocks.append(Paragraph(said, "quiet"))
    return Section("cases", blocks)


def _words(judged: EvaluatedRows, names: list[str]) -> list[int]:
    """Places of the columns of a case that hold words."""
    texts = {column.name for column in judged.records.of_kind("category")}
    places = [3 + place for place, name in enumerate(names) if name in texts]
    return places if judged.classes is None else [0, 1, *places]


def build_slices_section(judged: EvaluatedRows) -> Section:
    """Parts of the rows, the worst first, beside all of them."""
    whole, low, high = compute_interval(judged, compute_row_scores(judged))
    found = find_slices(judged)
    if not found:
        said = (
            f"No column sets {MIN_ROWS} of the {format_count(len(judged), 'test row')} apart from the "
            f"others: fewer would tell little."
        )
        return Section("slices", [Paragraph(said, "quiet")])
    shown = found[:MOST_SLICES]
    show = format_percent if judged.classes is not None else format_number
    worse = [_surely_worse(judged, part, whole) for part in found]
    rows: list[list[str | Cell]] = []
    for part, surely in zip(shown, worse, strict=False):
        mean = show(part.score)
        rows.append(
            [
                shorten(part.column, 32),
                part.value,
                Cell(mean, 0.2, "bad") if surely else mean,
                f"{show(part.low)} to {show(part.high)}",
                f"{part.rows:,}",
            ]
        )
    figure = "accuracy" if judged.classes is not None else "mean absolute error"
    if judged.classes is None and len(judged.targets) > 1:
        figure += ", in standard deviations"
    more = f" The {len(shown)} worst of {len(found)}." if len(found) > len(shown) else ""
    verdict = (
        "No part is surely worse than the whole."
        if not any(worse)
        else f"{format_count(sum(worse), 'part')} {'is' if sum(worse) == 1 else 'are'} worse than the "
        f"whole beyond chance, each by itself; of many parts, one in forty would seem so."
    )
    said = f"Over all test rows: {figure} {show(whole)}, {show(low)} to {show(high)}. {verdict}"
    table = TableBlock(
        ["column", "rows in which it is", figure, "95 % interval", "rows"],
        rows,
        f"Every category, and every quarter of the numbers and dates, with at least {MIN_ROWS} "
        f"test rows; tinted where the whole lies outside the interval.{more}",
        words=range(2),
    )
    return Section("slices", [Paragraph(said), table])


def _surely_worse(judged: EvaluatedRows, part: Slice, whole: float) -> bool:
    return bool(part.high < whole if judged.classes is not None else part.low > whole)


def make_rng(fingerprint: str) -> np.random.Generator:
    """Of the shuffles: the same page for the same evidence."""
    return np.random.default_rng(int(fingerprint.removeprefix("sha256:")[:8], 16))
