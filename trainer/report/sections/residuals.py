"""Values: what was predicted against what was true."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section, TableBlock
from trainer.report.formatting import format_number, format_percent, shorten
from trainer.report.inputs import EvaluatedRows
from trainer.report.plots import ACCENT, MAX_VECTOR_POINTS, MUTED, open_canvas, use_integer_ticks, show_grid

MOST_TARGETS = 6


def build_residuals_section(judged: EvaluatedRows) -> Section:
    """Of each target its points, its residuals and their spread."""
    blocks: list[Block] = []
    if len(judged.targets) > 1:
        blocks.append(_targets(judged))
    for place, name in enumerate(judged.targets[:MOST_TARGETS]):
        truth = judged.truth[:, place]
        predicted = judged.answers["value"][:, place].astype(np.float64)
        blocks.append(
            FigureRow(
                [
                    _against(name, truth, predicted),
                    _residuals(name, truth, predicted),
                    _spread(name, truth, predicted),
                ]
            )
        )
    if len(judged.targets) > MOST_TARGETS:
        blocks.append(
            Paragraph(
                f"The first {MOST_TARGETS} of {len(judged.targets)} targets are drawn.", "quiet"
            )
        )
    return Section("values", blocks)


def _targets(judged: EvaluatedRows) -> TableBlock:
    rows = []
    for place, name in enumerate(judged.targets):
        truth, predicted = judged.truth[:, place], judged.answers["value"][:, place]
        rows.append(
            [
                shorten(name),
                format_number(metrics.r2_score(truth, predicted)),
                format_number(metrics.mean_absolute_error(truth, predicted)),
                format_number(metrics.root_mean_squared_error(truth, predicted)),
            ]
        )
    return TableBlock(
        ["target", "R²", "mean absolute error", "root mean squared error"],
        rows,
        "Each target by itself, on the test rows.",
    )


def _scatter(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Points; where they are many an image of them, which stays small."""
    n = len(x)
    size, alpha = (14, 0.65) if n < 300 else (7, 0.4) if n < MAX_VECTOR_POINTS else (7, 0.15)
    axes.scatter(
        x, y, s=size, alpha=alpha, color=ACCENT, linewidths=0, zorder=2, rasterized=n > MAX_VECTOR_POINTS
    )


def _against(name: str, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    with open_canvas(height=3.6) as drawing:
        axes = drawing.axes_0
        show_grid(axes)
        ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
        _scatter(axes, truth, predicted)
        axes.plot(ends, ends, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)), zorder=3)
        axes.set(xlabel=f"true {shorten(name, 30)}", ylabel="predicted")
    return Figure(
        drawing.svg,
        "On the dashed line, the prediction is the truth. Points that lie "
        "flatter than it are drawn to the mean.",
    )


def _residuals(name: str, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    with open_canvas(height=3.6) as drawing:
        axes = drawing.axes_0
        show_grid(axes)
        _scatter(axes, predicted, truth - predicted)
        axes.axhline(0, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)), zorder=3)
        axes.set(xlabel=f"predicted {shorten(name, 30)}", ylabel="true less predicted")
    return Figure(
        drawing.svg,
        "What is left over: a bend says that something is not learned, a "
        "funnel that errors grow with the value.",
    )


def _spread(name: str, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    left = truth - predicted
    with open_canvas(height=3.0) as drawing:
        axes = drawing.axes_0
        show_grid(axes)
        axes.hist(left, bins=min(40, max(8, int(np.sqrt(len(left))))), color=ACCENT, rwidth=0.94)
        axes.axvline(0, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
        axes.set(xlabel=f"true less predicted {shorten(name, 24)}", ylabel="test rows")
        use_integer_ticks(axes)
    low, middle, high = np.quantile(left, [0.05, 0.5, 0.95])
    return Figure(
        drawing.svg,
        f"Nine in ten errors lie between {format_number(low)} and {format_number(high)}, half below "
        f"{format_number(middle)}; {format_percent(float(np.mean(left > 0)))} of the rows are predicted too low.",
    )
