"""The plots of the compression section: the drop of the metric by file size and by time."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from serving.bundle import CompressionSummary
from trainer.report.blocks import Figure, FigureRow
from trainer.report.plots import (
    ACCENT,
    LABEL_SIZE,
    MUTED,
    PALETTE,
    PAPER,
    SECONDARY,
    THIN_DASHES,
    add_legend,
    label_points,
    open_canvas,
    set_log_scale,
    show_grid,
)

BATCH = "64"  # batch size by which variants are compared in speed, a key of `latency_us`
MAX_PLOTTED_BUDGETS = 4  # largest drop in a plot, in multiples of the budget
MIN_BUDGET = 0.002  # the budget that this limit uses if the budget is 0
# Colour and marker of a point, by the bits of a weight.
STYLES = {32: (ACCENT, "o"), 8: (SECONDARY, "s"), 7: (SECONDARY, "s"), 4: (PALETTE[2], "D")}


def plot_trade_offs(summary: CompressionSummary, metric: str) -> FigureRow:
    """Return plots of the drop by file size and, if all were timed, by time."""
    sizes = [candidate.size_bytes / 1000 for candidate in summary.tried]
    times = [candidate.latency_us.get(BATCH, 0) for candidate in summary.tried]
    caption = (
        "One point per candidate; lower and further left is better. Filled points were kept. Below "
        "the dashed line the drop is within the budget; a triangle at the top edge is a larger "
        "drop than the plot shows."
    )
    title = f"Drop of {metric} by file size"
    figures = [_plot_drops(summary, metric, sizes, "file size, kB", title, caption)]
    if min(times) > 0:
        title = f"Drop of {metric} by time"
        x_label = f"median time of one run at batch size {BATCH}, µs"
        figures.append(_plot_drops(summary, metric, times, x_label, title, caption))
    return FigureRow(figures)


def _plot_drops(
    summary: CompressionSummary,
    metric: str,
    costs: list[float],
    x_label: str,
    title: str,
    caption: str,
) -> Figure:
    """Plot the drop of each candidate by its cost, on a logarithmic x scale."""
    max_drop, drops = summary.max_drop, [candidate.drop for candidate in summary.tried]
    top = max(max_drop, min(max(drops), MAX_PLOTTED_BUDGETS * (max_drop or MIN_BUDGET)))
    with open_canvas(height=3.6) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        set_log_scale(axes, is_x=True)
        for candidate, cost in zip(summary.tried, costs, strict=True):
            colour, marker = STYLES[candidate.bits]
            axes.plot(
                [cost],
                [min(candidate.drop, top)],
                "^" if candidate.drop > top else marker,
                color=colour,
                markerfacecolor=colour if candidate.kept else PAPER,
                markersize=7 if candidate.kept else 5,
                markeredgewidth=1.2,
                zorder=3 if candidate.kept else 2,
            )
        axes.axhline(max_drop, color=MUTED, linewidth=1.2, linestyle=THIN_DASHES)
        axes.set(xlabel=x_label, ylabel=f"drop of {metric}")
        axes.margins(x=0.12, y=0.16)
        axes.annotate(
            f"allowed: {max_drop:g}",
            (1, max_drop),
            (-2, 3),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=LABEL_SIZE,
        )
        points = [
            (candidate, cost, min(candidate.drop, top))
            for candidate, cost in zip(summary.tried, costs, strict=True)
        ]
        _add_legend(axes, summary)
        label_points(
            axes,
            [(candidate.name, x, y) for candidate, x, y in points if candidate.kept],
            [(x, y) for candidate, x, y in points if not candidate.kept],
        )
    return Figure(title, canvas.svg, caption)


def _add_legend(axes: Axes, summary: CompressionSummary) -> None:
    """Add a legend of the colours and markers, which stand for bits per weight."""
    bits = sorted({candidate.bits for candidate in summary.tried}, reverse=True)
    handles = []
    for b in bits:
        colour, marker = STYLES[b]
        handles.append(Line2D([], [], marker=marker, linestyle="", color=colour, label=f"{b} bits"))
    add_legend(axes, handles, ncols=len(bits))
