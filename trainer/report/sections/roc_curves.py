"""The section with ROC curves, precision-recall curves and the effect of the threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_percent, shorten, shorten_all
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import (
    LABEL_SIZE,
    LINE_STYLES,
    MUTED,
    THIN_DASHES,
    WIDE_WIDTH,
    add_legend,
    open_canvas,
    show_grid,
)

MAX_CURVES = 10
MAX_POINTS = 400  # points of a curve; more would not be visible
MAX_NAME_LENGTH = 28  # characters of a class in a legend
MAX_NAME_LENGTH_IN_COLUMNS = 9  # characters of a class in a legend of two columns
LEGEND_ROW_HEIGHT = 0.17  # inches


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
    """Plot the curves of several classes, with a legend of their names and areas above them.

    Args:
        axes: Axes to plot on.
        test_rows: Rows with the names of the classes.
        plotted: Indices of the classes.
        compute_curve: Function from a class index to the x and y of its curve.
        compute_area: Function from a class index to the area under its curve.
        drawstyle: Style of matplotlib lines: `default` or `steps-pre`.
    """
    names = _shorten_classes(test_rows)
    for (colour, dashes), k in zip(LINE_STYLES, plotted, strict=False):
        axes.plot(
            *compute_curve(k),
            color=colour,
            linestyle=dashes,
            linewidth=1.6,
            drawstyle=drawstyle,
            label=f"“{names[k]}”: area {compute_area(k):.3f}",
        )
    add_legend(axes, ncols=_count_legend_columns(test_rows, plotted))


def _shorten_classes(test_rows: EvaluatedRows) -> list[str]:
    return shorten_all([str(c) for c in test_rows.class_labels.tolist()], MAX_NAME_LENGTH)


def _count_legend_columns(test_rows: EvaluatedRows, plotted: list[int]) -> int:
    """Return the number of columns of a legend, which must not be wider than the plot."""
    names = _shorten_classes(test_rows)
    is_short = max(len(names[k]) for k in plotted) <= MAX_NAME_LENGTH_IN_COLUMNS
    return 2 if is_short and len(plotted) > 2 else 1


def _compute_height(test_rows: EvaluatedRows, plotted: list[int]) -> float:
    """Return the height of a plot in inches, with room for its legend above the axes."""
    n_rows = -(-len(plotted) // _count_legend_columns(test_rows, plotted))
    return 3.5 + LEGEND_ROW_HEIGHT * n_rows


def _plot_roc(
    test_rows: EvaluatedRows, plotted: list[int], areas: dict[int, float], note: str
) -> Figure:
    def compute_curve(k: int) -> list[NDArray[np.float64]]:
        false, true, _ = metrics.roc_curve(*_get_truth_and_probability(test_rows, k))
        return _thin_out(false, true)

    with open_canvas(height=_compute_height(test_rows, plotted)) as canvas:
        axes = canvas.main_axes
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=THIN_DASHES)
        _set_unit_square(
            axes, "false positive rate: share of the other rows", "true positive rate: recall"
        )
        _plot_curves(axes, test_rows, plotted, compute_curve, areas.__getitem__, "default")
    return Figure(
        f"ROC curve{_name_single_class(test_rows, plotted)}",
        canvas.svg,
        f"Each point is a threshold: the share of the rows of the class that it finds, and the "
        f"share of the other rows that it takes for the class. The closer a curve is to the upper "
        f"left corner, the better: area 1 is perfect, and the thin grey diagonal (area 0.5) is a "
        f"random guess.{note}",
    )


def _name_single_class(test_rows: EvaluatedRows, plotted: list[int]) -> str:
    """Return the end of a title: the class that is plotted, or that there is one line per class."""
    if len(plotted) > 1:
        return ", one line per class"
    return f" of “{shorten(str(test_rows.class_labels[plotted[0]]), 24)}”"


def _plot_precision_recall(test_rows: EvaluatedRows, plotted: list[int], note: str) -> Figure:
    def compute_curve(k: int) -> list[NDArray[np.float64]]:
        truth, probability = _get_truth_and_probability(test_rows, k)
        precision, recall, _ = metrics.precision_recall_curve(truth, probability)
        return _thin_out(recall, precision)

    def compute_area(k: int) -> float:
        return float(metrics.average_precision_score(*_get_truth_and_probability(test_rows, k)))

    shares = [float(np.mean(_get_truth_and_probability(test_rows, k)[0])) for k in plotted]
    with open_canvas(height=_compute_height(test_rows, plotted)) as canvas:
        axes = canvas.main_axes
        if len(plotted) == 1:
            axes.axhline(shares[0], color=MUTED, linewidth=1, linestyle=THIN_DASHES)
        _set_unit_square(axes, "recall: share of the class that is found", "precision")
        _plot_curves(axes, test_rows, plotted, compute_curve, compute_area, "steps-pre")
    if len(plotted) == 1:
        guess = (
            f"The thin grey line is a random guess: its precision is the share of the class, "
            f"{format_percent(shares[0])}."
        )
    else:
        guess = (
            f"A random guess would have the share of the class as its precision, here "
            f"{format_percent(min(shares))} to {format_percent(max(shares))}."
        )
    return Figure(
        f"Precision-recall curve{_name_single_class(test_rows, plotted)}",
        canvas.svg,
        f"Precision is the share of the rows predicted as the class that belong to it. The closer "
        f"a curve is to the upper right corner, the better; area 1 is perfect. {guess}{note}",
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
    with open_canvas(width=WIDE_WIDTH, height=3.4) as canvas:
        axes = canvas.main_axes
        _set_unit_square(
            axes, f"threshold on the probability of “{name}”", "precision, recall or F1"
        )
        for values, (colour, dashes), label in zip(
            (precision, recall, f1), LINE_STYLES, ("precision", "recall", "F1"), strict=False
        ):
            axes.plot(
                *_thin_out(thresholds, values),
                color=colour,
                linestyle=dashes,
                label=label,
                linewidth=1.6,
                drawstyle="steps-pre",
            )
        axes.axvline(threshold, color=MUTED, linewidth=1.2, linestyle=THIN_DASHES)
        axes.annotate(
            f"threshold of this model: {threshold:.4g}",
            (threshold, 1.03),
            (0, 3),
            fontsize=LABEL_SIZE,
            # Near an edge the text is on the inner side of the line, so that it is not cut.
            ha="left" if threshold < 0.3 else "right" if threshold > 0.7 else "center",
            textcoords="offset points",
            color=MUTED,
        )
        add_legend(axes, ncols=3)
    is_predicted = test_rows.answers["label"] == positive
    share_found = format_percent(float(np.mean(is_predicted[truth]))) if truth.any() else "–"
    share_right = format_percent(float(np.mean(truth[is_predicted]))) if is_predicted.any() else "–"
    return Figure(
        f"Precision, recall and F1 of “{name}” by threshold, on the test rows",
        canvas.svg,
        f"The model predicts “{name}” if its probability is at least the threshold. A higher "
        f"threshold predicts “{name}” for fewer rows, usually with higher precision and lower "
        f"recall. At the threshold of this model, recall is {share_found} and precision "
        f"{share_right}; fit chooses another with --aim.",
    )
