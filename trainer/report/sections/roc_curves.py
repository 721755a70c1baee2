"""Curves: what other thresholds would give up, and what they would gain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn import metrics

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_percent, shorten
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import ACCENT, INK, PALETTE, MUTED, RULE, SECONDARY, WIDE_WIDTH, open_canvas, show_grid

MOST_CURVES = 10
MOST_POINTS = 400  # of a curve; no eye sees more


def build_curves_section(evidence: ReportInputs, judged: EvaluatedRows) -> Section:
    """ROC and PR curves, and of two classes what each threshold does."""
    classes = judged.class_labels
    shown = [judged.positive_index] if len(classes) == 2 else list(range(len(classes)))
    present = [k for k in shown if 0 < np.count_nonzero(judged.truth == classes[k]) < len(judged)]
    if not present:
        said = "A curve needs test rows of a class and of another; there are none."
        return Section("curves", [Paragraph(said, "quiet")])
    areas = {k: _roc_area(judged, k) for k in present}
    drawn = sorted(present, key=lambda k: areas[k])[:MOST_CURVES]
    left_out = len(present) - len(drawn)
    more = f" The {len(drawn)} hardest to tell of {len(present)} classes." if left_out else ""
    blocks: list[Block] = [FigureRow([_roc(judged, drawn, areas, more), _pr(judged, drawn, more)])]
    if len(classes) == 2 and evidence.manifest.threshold is not None:
        blocks.append(FigureRow([_thresholds(judged, evidence.manifest.threshold)]))
    return Section("curves", blocks)


def _is(judged: EvaluatedRows, k: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth: NDArray[np.bool_] = judged.truth == judged.class_labels[k]
    return truth, judged.probabilities[:, k]


def _roc_area(judged: EvaluatedRows, k: int) -> float:
    return float(metrics.roc_auc_score(*_is(judged, k)))


def _few(*curve: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A curve's points, or so many of them, evenly spaced with both ends."""
    n = len(curve[0])
    places = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(np.int64))
    return [part[places] for part in curve]


def _square(axes: Axes, x: str, y: str) -> None:
    show_grid(axes)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))


def _lines(
    axes: Axes,
    judged: EvaluatedRows,
    drawn: list[int],
    curve: Callable[[int], list[NDArray[np.float64]]],
    area: Callable[[int], float],
    style: str,
) -> None:
    for colour, k in zip(PALETTE, drawn, strict=False):
        name = shorten(str(judged.class_labels[k]), 16)
        axes.plot(
            *curve(k), color=colour, linewidth=1.6, drawstyle=style, label=f"{name}  {area(k):.3f}"
        )
    axes.legend(
        loc="lower right" if style == "default" else "lower left",
        title="area under it",
        title_fontsize=8,
        handlelength=1.2,
        labelspacing=0.25,
    )


def _roc(judged: EvaluatedRows, drawn: list[int], areas: dict[int, float], more: str) -> Figure:
    def curve(k: int) -> list[NDArray[np.float64]]:
        false, true, _ = metrics.roc_curve(*_is(judged, k))
        return _few(false, true)

    with open_canvas(height=3.5) as drawing:
        axes = drawing.axes_0
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        _square(axes, "of the others, share taken for it", "of its rows, share found")
        _lines(axes, judged, drawn, curve, areas.__getitem__, "default")
    return Figure(
        drawing.svg,
        f"ROC curve: the nearer to the upper left corner the better; "
        f"guessing gives the dashed line.{more}",
    )


def _pr(judged: EvaluatedRows, drawn: list[int], more: str) -> Figure:
    def curve(k: int) -> list[NDArray[np.float64]]:
        precision, recall, _ = metrics.precision_recall_curve(*_is(judged, k))
        return _few(recall, precision)

    def area(k: int) -> float:
        return float(metrics.average_precision_score(*_is(judged, k)))

    with open_canvas(height=3.5) as drawing:
        axes = drawing.axes_0
        for colour, k in zip(PALETTE, drawn, strict=False):
            axes.axhline(
                float(np.mean(_is(judged, k)[0])),
                color=colour if len(drawn) == 1 else RULE,
                linewidth=1,
                linestyle=(0, (3, 3)),
            )
        _square(axes, "recall: of its rows, share found", "precision: of its answers, share right")
        _lines(axes, judged, drawn, curve, area, "steps-pre")
    return Figure(
        drawing.svg,
        f"Precision and recall: the nearer to the upper right corner the "
        f"better; guessing gives the dashed line.{more}",
    )


def _thresholds(judged: EvaluatedRows, chosen: float) -> Figure:
    """Precision, recall and F1 of the positive class, as the threshold moves."""
    truth, p = _is(judged, judged.positive_index)
    precision, recall, at = metrics.precision_recall_curve(truth, p)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    name = shorten(str(judged.class_labels[judged.positive_index]), 24)
    with open_canvas(width=WIDE_WIDTH, height=3.0) as drawing:
        axes = drawing.axes_0
        _square(axes, f"threshold on the probability of “{name}”", "on the test rows")
        for values, colour, label in (
            (precision, ACCENT, "precision"),
            (recall, SECONDARY, "recall"),
            (f1, INK, "F1"),
        ):
            axes.plot(*_few(at, values), color=colour, label=label, linewidth=1.6)
        axes.axvline(chosen, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
        axes.annotate(
            f"chosen: {chosen:.4g}",
            (chosen, 1.03),
            (0, 3),
            fontsize=8.5,
            ha="center",
            textcoords="offset points",
            color=MUTED,
        )
        axes.legend(loc="lower center", ncols=3)
    label = judged.answers["label"] == judged.class_labels[judged.positive_index]
    found = format_percent(float(np.mean(label[truth]))) if truth.any() else "–"
    right = format_percent(float(np.mean(truth[label]))) if label.any() else "–"
    return Figure(
        drawing.svg,
        f"As the threshold rises, fewer rows are answered “{name}” and more of those are. At the "
        f"one chosen, {found} of its rows are found and {right} of such answers are right.",
    )
