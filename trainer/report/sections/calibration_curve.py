"""The section on calibration: predicted probabilities against observed frequencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Manifest
from trainer.evaluate.metric_names import list_biased_logits
from trainer.evaluate.metrics import CALIBRATION_BINS
from trainer.report.blocks import Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_number, join_words, shorten
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import (
    ACCENT,
    MUTED,
    PAPER,
    THIN_DASHES,
    WIDE_WIDTH,
    open_canvas,
    show_grid,
    use_integer_ticks,
)
from trainer.report.slices import compute_wilson_interval

MAX_BIASES = 10  # biases that the text lists
MIN_FILLED_ROWS = 10  # rows of a bin whose point is filled; the share of fewer is mostly chance


def build_calibration_section(inputs: ReportInputs, test_rows: EvaluatedRows) -> Section:
    """Return the calibration curve with a histogram.

    It shows the probability of the positive class of two classes, or that of the predicted class of
    more.
    """
    classes = test_rows.class_labels
    if len(classes) == 2:
        positive = classes[test_rows.positive_index]
        probability = test_rows.probabilities[:, test_rows.positive_index]
        is_hit = test_rows.truth == positive
        name = shorten(str(positive), 24)
        x_label, y_label = f"predicted probability of “{name}”", f"share of rows that are “{name}”"
    else:
        indices = test_rows.probabilities.argmax(axis=1)
        probability = test_rows.probabilities[np.arange(len(test_rows)), indices]
        is_hit = classes[indices] == test_rows.truth
        x_label, y_label = "probability of the predicted class", "share of correct predictions"
    figure = _plot_curve(probability, is_hit, x_label, y_label)
    text = f"{_describe_error(inputs.manifest)}{describe_calibration(inputs.manifest)}"
    return Section("calibration", [Paragraph(text), FigureRow([figure])])


def _describe_error(manifest: Manifest) -> str:
    """Return a sentence on the calibration error of the test rows; empty if it is not known."""
    error = manifest.metrics["test"].get("calibration_error")
    if error is None:
        return ""
    text = (
        f"On average, the probability of the predicted class differs from the share of correct "
        f"predictions by {format_number(error, 3)} (expected calibration error, "
        f"{CALIBRATION_BINS} bins; 0 is best)"
    )
    by_class = manifest.metrics["test"].get("classwise_calibration_error")
    if by_class is None:
        return f"{text}. "
    return (
        f"{text}. Averaged over the probabilities of all classes, the difference is "
        f"{format_number(by_class, 3)} (classwise calibration error). "
    )


def describe_calibration(manifest: Manifest) -> str:
    """Return a sentence on how the probabilities were calibrated."""
    config = manifest.training.config
    if config.get("calibrate"):
        text = f"The logits are divided by a temperature of {format_number(manifest.temperature)}"
        biases = list_biased_logits(manifest.classes or [], manifest.logit_bias or [])
        if biases:
            items = [f"{format_number(b, 3)} for {name}" for name, b in biases[:MAX_BIASES]]
            text += f" and shifted by a bias of {join_words(items)}"
            if len(biases) > MAX_BIASES:
                text += f" and {len(biases) - MAX_BIASES} more"
        return f"{text}, fitted on the validation rows."
    if config.get("class_weight"):
        return (
            "The model was trained with class weights, so its probabilities do not reflect the "
            "class frequencies of the data; train with --calibrate to correct them."
        )
    return "The probabilities were not calibrated; train with --calibrate to do so."


def _plot_curve(
    probability: NDArray[np.float64], is_hit: NDArray[np.bool_], x_label: str, y_label: str
) -> Figure:
    """Plot the share of hits by predicted probability, both `(n,)`, in bins of equal width."""
    bins = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    n = counts[filled]
    x = np.bincount(bins, probability, minlength=CALIBRATION_BINS)[filled] / n
    y = np.bincount(bins, is_hit, minlength=CALIBRATION_BINS)[filled] / n
    intervals = [
        compute_wilson_interval(float(share), int(rows)) for share, rows in zip(y, n, strict=True)
    ]
    is_large = n >= MIN_FILLED_ROWS
    with open_canvas(width=WIDE_WIDTH, height=4.2, rows=2) as canvas:
        axes, histogram = canvas.axes
        show_grid(axes)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=THIN_DASHES)
        axes.vlines(x, *zip(*intervals, strict=True), color=ACCENT, linewidth=1)
        axes.plot(x[is_large], y[is_large], "o-", color=ACCENT, markersize=5.5, linewidth=1.4)
        axes.plot(
            x[~is_large], y[~is_large], "o", color=ACCENT, markerfacecolor=PAPER, markersize=5.5
        )
        axes.set(ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))
        show_grid(histogram)
        histogram.bar(
            (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS,
            counts,
            width=0.86 / CALIBRATION_BINS,
            color=MUTED,
        )
        histogram.set(xlabel=x_label, ylabel="test rows")
        use_integer_ticks(histogram)
    return Figure(
        f"Calibration curve: {y_label}, by {x_label}",
        canvas.svg,
        f"Each point is a bin of test rows with similar probabilities. Above the dashed line the "
        f"probabilities are too low, below it too high. Vertical lines are 95 % intervals, hollow "
        f"points have fewer than {MIN_FILLED_ROWS} rows, and the bars count the rows of each bin.",
    )
