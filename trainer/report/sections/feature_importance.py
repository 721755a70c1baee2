"""The section on feature importance: a bar plot and a table of permutation importances."""

from __future__ import annotations

import numpy as np

from trainer.report.blocks import Figure, FigureRow, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, format_decimal, format_metric, shorten_all
from trainer.report.permutation_importance import (
    REPEATS,
    PermutationImportance,
    PermutationImportances,
)
from trainer.report.plots import ACCENT, INK, MUTED, WIDE_WIDTH, open_canvas, show_grid

MAX_BARS = 20


def build_importance_section(
    importances: PermutationImportances, positive: int | str | None
) -> Section:
    """Return a bar plot of the most important columns and a table of all columns.

    Args:
        importances: Drop of the metric by shuffling each column.
        positive: Positive class of a binary model; else None.
    """
    metric = format_metric(importances.metric, positive)
    columns = importances.columns
    note = ""
    if len(columns) > MAX_BARS:
        note = f" Shown are the {MAX_BARS} most important of {len(columns)} columns."
    text = (
        f"The values of each column were shuffled among "
        f"{format_count(importances.rows, 'test row')}, {REPEATS} times, and the rows were "
        f"predicted again (permutation importance). Without shuffling, {metric} is "
        f"{format_decimal(importances.base)}."
    )
    caption = (
        f"The longer a bar, the more the model depends on the column. The thin lines are standard "
        f"deviations over the {REPEATS} times. Correlated columns share their importance, so each "
        f"of them may look unimportant.{note}"
    )
    figure = _plot_bars(columns[:MAX_BARS], metric, caption)
    names = shorten_all([c.column for c in columns])
    rows = [
        [name, format_decimal(c.drop), format_decimal(c.spread)]
        for name, c in zip(names, columns, strict=True)
    ]
    table = TableBlock(
        "Importance of all columns: one column per line",
        ["column", f"drop of {metric}", "standard deviation"],
        rows,
        folded="All columns as a table",
    )
    return Section("importance", [Paragraph(text), FigureRow([figure]), table])


def _plot_bars(columns: list[PermutationImportance], metric: str, caption: str) -> Figure:
    """Plot one bar per column with an error bar."""
    names = shorten_all([column.column for column in columns], 28)
    with open_canvas(width=WIDE_WIDTH, height=0.9 + 0.25 * len(columns)) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        axes.grid(visible=False, axis="y")
        axes.barh(
            range(len(columns)),
            [c.drop for c in columns],
            xerr=[c.spread for c in columns],
            height=0.66,
            color=ACCENT,
            error_kw={"ecolor": INK, "elinewidth": 1.2},
        )
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.set_yticks(range(len(columns)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"drop of {metric}")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    return Figure(f"Drop of {metric} when a column is shuffled", canvas.svg, caption)


def make_rng(fingerprint: str) -> np.random.Generator:
    """Return a random generator seeded by the data, so that equal inputs give an equal report.

    Args:
        fingerprint: Fingerprint of the data, `sha256:` and hexadecimal digits.
    """
    return np.random.default_rng(int(fingerprint.removeprefix("sha256:")[:8], 16))
