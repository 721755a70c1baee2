"""The section with ROC curves, precision-recall curves and the effect of the threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_percent, shorten
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import (
    ACCENT,
    INK,
    MUTED,
    PALETTE,
    RULE,
    SECONDARY,
    WIDE_WIDTH,
    open_canvas,
    show_grid,
)

MAX_CURVES = 10
MAX_POINTS = 400  # points of a curve; more would not be visible


def build_curves_section(inputs: ReportInputs, test_rows: EvaluatedRows) -> Section:
    """Return ROC and precision-recall curves; for two classes also metrics by threshold."""
    classes = test_rows.class_labels
    candidates = [test_rows.positive_index] if len(classes) == 2 else list(range(len(classes)))
    n = len(test_rows)
    present = [k for k in candidates if 0 < np.count_nonzero(test_rows.truth == classes[k]) < n]
    if not present:
        text = "No curves: they need test rows of at least two classes."
        return Section("curves", [Paragraph(text, "muted")])
    areas = {k: _compute_roc_auc(test_rows, k) for k in present}
    plotted = sorted(present, key=lambda k: areas[k])[:MAX_CURVES]
    note = ""
    if len(plotted) < len(present):
        note = f" Shown are the {len(plotted)} of {len(present)} classes with the lowest ROC AUC."
    figures = [
        _plot_roc(test_rows, plotted, areas, note),
        _plot_precision_recall(test_rows, plotted, note),
    ]
    blocks: list[Block] = [FigureRow(figures)]
    if len(classes) == 2 and inputs.manifest.threshold is not None:
        blocks.append(FigureRow([_plot_thresholds(test_rows, inputs.manifest.threshold)]))
    return Section("curves", blocks)


def _get_truth_and_probability(
    test_rows: EvaluatedRows, k: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether each row is of class k, and its probability of class k, both `(n,)`."""
    truth: NDArray[np.bool_] = test_rows.truth == test_rows.class_labels[k]
    return truth, test_rows.probabilities[:, k]


def _compute_roc_auc(test_rows: EvaluatedRows, k: int) -> float:
    return float(metrics.roc_auc_score(*_get_truth_and_probability(test_rows, k)))


def _thin_out(*curve: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return at most `MAX_POINTS` evenly spaced points of a curve, with both ends."""
    n = len(curve[0])
    indices = np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(np.int64))
    return [coordinate[indices] for coordinate in curve]


def _set_unit_square(axes: Axes, x_label: str, y_label: str) -> None:
    show_grid(axes)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))


def _plot_curves(
    axes: Axes,
    test_rows: EvaluatedRows,
    plotted: list[int],
    compute_curve: Callable[[int], list[NDArray[np.float64]]],
    compute_area: Callable[[int], float],
    drawstyle: str,
) -> None:
    """Plot the curves of several classes with a legend.

    Args:
        axes: Axes to plot on.
        test_rows: Rows with the names of the classes.
        plotted: Indices of the classes.
        compute_curve: Function from a class index to the x and y of its curve.
        compute_area: Function from a class index to the area under its curve.
        drawstyle: Style of matplotlib lines: `default` or `steps-pre`.
    """
    for colour, k in zip(PALETTE, plotted, strict=False):
        name = shorten(str(test_rows.class_labels[k]), 16)
        axes.plot(
            *compute_curve(k),
            color=colour,
            linewidth=1.6,
            drawstyle=drawstyle,
            label=f"{name}  {compute_area(k):.3f}",
        )
    axes.legend(
        loc="lower right" if drawstyle == "default" else "lower left",
        title="area under curve",
        title_fontsize=8,
        handlelength=1.2,
        labelspacing=0.25,
    )


def _plot_roc(
    test_rows: EvaluatedRows, plotted: list[int], areas: dict[int, float], note: str
) -> Figure:
    def compute_curve(k: int) -> list[NDArray[np.float64]]:
        false, true, _ = metrics.roc_curve(*_get_truth_and_probability(test_rows, k))
        return _thin_out(false, true)

    with open_canvas(height=3.5) as canvas:
        axes = canvas.main_axes
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        _set_unit_square(axes, "false positive rate", "true positive rate (recall)")
        _plot_curves(axes, test_rows, plotted, compute_curve, areas.__getitem__, "default")
    return Figure(
        canvas.svg,
        f"ROC curve: the closer to the upper left corner, the better. The dashed line is a random "
        f"guess.{note}",
    )


def _plot_precision_recall(test_rows: EvaluatedRows, plotted: list[int], note: str) -> Figure:
    def compute_curve(k: int) -> list[NDArray[np.float64]]:
        truth, probability = _get_truth_and_probability(test_rows, k)
        precision, recall, _ = metrics.precision_recall_curve(truth, probability)
        return _thin_out(recall, precision)

    def compute_area(k: int) -> float:
        return float(metrics.average_precision_score(*_get_truth_and_probability(test_rows, k)))

    with open_canvas(height=3.5) as canvas:
        axes = canvas.main_axes
        for colour, k in zip(PALETTE, plotted, strict=False):
            axes.axhline(
                float(np.mean(_get_truth_and_probability(test_rows, k)[0])),
                color=colour if len(plotted) == 1 else RULE,
                linewidth=1,
                linestyle=(0, (3, 3)),
            )
        _set_unit_square(axes, "recall", "precision")
        _plot_curves(axes, test_rows, plotted, compute_curve, compute_area, "steps-pre")
    return Figure(
        canvas.svg,
        f"Precision-recall curve: the closer to the upper right corner, the better. A dashed line "
        f"is a random guess.{note}",
    )


def _plot_thresholds(test_rows: EvaluatedRows, threshold: float) -> Figure:
    """Plot precision, recall and F1 of the positive class by threshold."""
    positive = test_rows.class_labels[test_rows.positive_index]
    truth, probability = _get_truth_and_probability(test_rows, test_rows.positive_index)
    precision, recall, thresholds = metrics.precision_recall_curve(truth, probability)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    name = shorten(str(positive), 24)
    with open_canvas(width=WIDE_WIDTH, height=3.0) as canvas:
        axes = canvas.main_axes
        _set_unit_square(axes, f"threshold on the probability of “{name}”", "on the test rows")
        for values, colour, label in (
            (precision, ACCENT, "precision"),
            (recall, SECONDARY, "recall"),
            (f1, INK, "F1"),
        ):
            axes.plot(*_thin_out(thresholds, values), color=colour, label=label, linewidth=1.6)
        axes.axvline(threshold, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
        axes.annotate(
            f"threshold: {threshold:.4g}",
            (threshold, 1.03),
            (0, 3),
            fontsize=8.5,
            ha="center",
            textcoords="offset points",
            color=MUTED,
        )
        axes.legend(loc="lower center", ncols=3)
    is_predicted = test_rows.answers["label"] == positive
    share_found = format_percent(float(np.mean(is_predicted[truth]))) if truth.any() else "–"
    share_right = format_percent(float(np.mean(truth[is_predicted]))) if is_predicted.any() else "–"
    return Figure(
        canvas.svg,
        f"A higher threshold predicts “{name}” for fewer rows, usually with higher precision. At "
        f"the threshold of the model, recall is {share_found} and precision {share_right}.",
    )
