"""The section on regression: predicted against true values, residuals and their distribution."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section, TableBlock
from trainer.report.formatting import format_number, format_percent, shorten
from trainer.report.inputs import EvaluatedRows
from trainer.report.plots import (
    ACCENT,
    INK,
    MAX_VECTOR_POINTS,
    THIN_DASHES,
    open_canvas,
    show_grid,
    use_integer_ticks,
)

MAX_TARGETS = 6

Values = NDArray[np.float64]


def build_residuals_section(test_rows: EvaluatedRows) -> Section:
    """Return three plots for each target and, for several targets, a table of metrics."""
    blocks: list[Block] = []
    if len(test_rows.targets) > 1:
        blocks.append(_tabulate_targets(test_rows))
    for index, name in enumerate(test_rows.targets[:MAX_TARGETS]):
        truth = test_rows.truth[:, index]
        predicted = test_rows.answers["value"][:, index].astype(np.float64)
        figures = [
            _plot_predictions(name, truth, predicted),
            _plot_residuals(name, truth, predicted),
            _plot_histogram(name, truth, predicted),
        ]
        blocks.append(FigureRow(figures))
    if len(test_rows.targets) > MAX_TARGETS:
        text = f"Shown are the first {MAX_TARGETS} of {len(test_rows.targets)} targets."
        blocks.append(Paragraph(text, "muted"))
    return Section("residuals", blocks)


def _tabulate_targets(test_rows: EvaluatedRows) -> TableBlock:
    """Return the metrics of each target as a table."""
    rows = []
    for index, name in enumerate(test_rows.targets):
        truth, predicted = test_rows.truth[:, index], test_rows.answers["value"][:, index]
        rows.append(
            [
                shorten(name),
                format_number(metrics.r2_score(truth, predicted)),
                format_number(metrics.mean_absolute_error(truth, predicted)),
                format_number(metrics.root_mean_squared_error(truth, predicted)),
            ]
        )
    return TableBlock(
        "Metrics of each target on the test rows: one target per line",
        ["target", "R²", "mean absolute error", "root mean squared error"],
        rows,
        "R²: 1 is perfect, and 0 is no better than predicting the mean. Both errors are in the "
        "unit of the target; lower is better.",
    )


def _scatter(axes: Axes, x: Values, y: Values) -> None:
    """Draw points; as an image if there are many, which keeps the page small."""
    n = len(x)
    size, alpha = (18, 0.8) if n < 300 else (8, 0.5) if n < MAX_VECTOR_POINTS else (7, 0.15)
    axes.scatter(
        x,
        y,
        s=size,
        alpha=alpha,
        color=ACCENT,
        linewidths=0,
        zorder=2,
        rasterized=n > MAX_VECTOR_POINTS,
    )


def _plot_predictions(name: str, truth: Values, predicted: Values) -> Figure:
    with open_canvas(height=3.6) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
        _scatter(axes, truth, predicted)
        axes.plot(ends, ends, color=INK, linewidth=1.2, linestyle=THIN_DASHES, zorder=3)
        axes.set(xlabel=f"true {shorten(name, 30)}", ylabel=f"predicted {shorten(name, 30)}")
    return Figure(
        f"Predicted and true {shorten(name)}: one point per test row",
        canvas.svg,
        "Points on the dashed line are predicted exactly. A point cloud that is flatter than the "
        "line means that predictions are biased towards the mean.",
    )


def _plot_residuals(name: str, truth: Values, predicted: Values) -> Figure:
    with open_canvas(height=3.6) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        _scatter(axes, predicted, truth - predicted)
        axes.axhline(0, color=INK, linewidth=1.2, linestyle=THIN_DASHES, zorder=3)
        axes.set(xlabel=f"predicted {shorten(name, 30)}", ylabel="residual: true − predicted")
    return Figure(
        f"Residuals of {shorten(name)}: one point per test row",
        canvas.svg,
        "A residual is the true minus the predicted value, so that points above 0 were predicted "
        "too low. A curved cloud means that the model misses a nonlinear effect; a funnel means "
        "that errors grow with the value.",
    )


def _plot_histogram(name: str, truth: Values, predicted: Values) -> Figure:
    residuals = truth - predicted
    n_bins = min(40, max(8, int(np.sqrt(len(residuals)))))
    with open_canvas(height=3.0) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        axes.hist(residuals, bins=n_bins, color=ACCENT, rwidth=0.9)
        axes.axvline(0, color=INK, linewidth=1.2, linestyle=THIN_DASHES)
        axes.set(xlabel=f"true − predicted {shorten(name, 24)}", ylabel="number of test rows")
        use_integer_ticks(axes)
    low, median, high = np.quantile(residuals, [0.05, 0.5, 0.95])
    return Figure(
        f"Distribution of the residuals of {shorten(name)}",
        canvas.svg,
        f"The height of a bar is the number of test rows in its range. 90 % of the residuals are "
        f"between {format_number(low)} and {format_number(high)}, the median is "
        f"{format_number(median)}. "
        f"{format_percent(float(np.mean(residuals > 0)))} of the predictions are too low.",
    )
