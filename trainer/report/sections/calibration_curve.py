"""Calibration: whether what is said to be likely is, as often as is said."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.evaluate.metric_names import list_biased_logits
from trainer.evaluate.metrics import CALIBRATION_BINS
from trainer.report.blocks import Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import join_words, format_number, shorten
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import ACCENT, MUTED, WIDE_WIDTH, open_canvas, use_integer_ticks, show_grid

MOST_BIASES = 10  # that are written out


def build_calibration_section(evidence: ReportInputs, judged: EvaluatedRows) -> Section:
    """The curve over a histogram: of two classes of the positive one, else of the answer."""
    if len(judged.class_labels) == 2:
        positive = judged.class_labels[judged.positive_index]
        said, hit = judged.probabilities[:, judged.positive_index], judged.truth == positive
        name = shorten(str(positive), 24)
        axis, what = f"said probability of “{name}”", f"rows that are “{name}”"
    else:
        places = judged.probabilities.argmax(axis=1)
        said = judged.probabilities[np.arange(len(judged)), places]
        hit = judged.class_labels[places] == judged.truth
        axis, what = "said probability of the answer", "answers that are right"
    return Section(
        "calibration",
        [Paragraph(_sentence(evidence)), FigureRow([_curve(said, hit, axis, what)])],
    )


def _sentence(evidence: ReportInputs) -> str:
    manifest = evidence.manifest
    error = manifest.metrics["test"].get("calibration_error")
    bias = list_biased_logits(manifest.classes or [], manifest.logit_bias or [])
    if manifest.training.config.get("calibrate"):
        cooled = f"The logits are divided by a temperature of {format_number(manifest.temperature)}"
        if bias:
            shown = [f"{format_number(b, 3)} for {name}" for name, b in bias[:MOST_BIASES]]
            cooled += f" and moved by {join_words(shown)}"
            cooled += f" and {len(bias) - MOST_BIASES} more" * (len(bias) > MOST_BIASES)
        cooled += ", fitted on the validation rows."
    elif manifest.training.config.get("class_weight"):
        cooled = (
            "It learned from weighted classes, so its probabilities are of another mix of classes "
            "than there is; the option calibrate of fit corrects them."
        )
    else:
        cooled = "Its probabilities were not calibrated; the option calibrate of fit does so."
    off = ""
    if error is not None:
        off = (
            f"What it says of the class it finds likeliest is off by {format_number(error, 3)} on average "
            f"(expected calibration error, {CALIBRATION_BINS} bins)"
        )
        by_class = manifest.metrics["test"].get("classwise_calibration_error")
        off += ". " if by_class is None else f"; of each class, by {format_number(by_class, 3)}. "
    return off + cooled


def _curve(said: NDArray[np.float64], hit: NDArray[np.bool_], axis: str, what: str) -> Figure:
    """Bins of equal width, as of the calibration error."""
    place = np.minimum((said * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    rows = np.bincount(place, minlength=CALIBRATION_BINS)
    there = rows > 0
    x = np.bincount(place, said, minlength=CALIBRATION_BINS)[there] / rows[there]
    y = np.bincount(place, hit, minlength=CALIBRATION_BINS)[there] / rows[there]
    # Of a share, by the normal approximation: bins of few rows stray.
    half = 1.96 * np.sqrt(np.maximum(y * (1 - y), 0.25 / rows[there]) / rows[there])
    with open_canvas(width=WIDE_WIDTH, height=4.2, rows=2) as drawing:
        axes, below = drawing.axes
        show_grid(axes)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.vlines(
            x,
            np.maximum(y - half, 0),
            np.minimum(y + half, 1),
            color=ACCENT,
            alpha=0.45,
            linewidth=1.4,
        )
        axes.plot(x, y, "o-", color=ACCENT, markersize=5, linewidth=1.2)
        axes.set(ylabel=f"share of {what}", xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))
        show_grid(below)
        below.bar(
            (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS,
            rows,
            width=0.92 / CALIBRATION_BINS,
            color=MUTED,
            alpha=0.6,
        )
        below.set(xlabel=axis, ylabel="rows")
        use_integer_ticks(below)
    return Figure(
        drawing.svg,
        "On the dashed line, probabilities mean what they say; above it the model is too modest, "
        "below it too sure. The lines are 95 % intervals; the bars say how many rows each rests "
        "on.",
    )
