"""Plots as SVG files, which are identical for identical results: bars, lines and mean ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "forwardpass",
}
# Distinguishable with any colour vision, as in the trainer's reports (after Okabe and Ito 2008, and
# Tol 2021).
COLOURS = (
    "#2563a8",
    "#c8691c",
    "#009e73",
    "#b65a94",
    "#8a8a00",
    "#4aa3d8",
    "#8c564b",
    "#7667b5",
    "#d4483b",
    "#5f8a8b",
    "#444444",
    "#b0b0b0",
    "#1c5d4e",
    "#e3b505",
)
WIDTH_INCHES = 9.0
GROUP_WIDTH = 0.8  # of the distance between two groups of bars


@contextmanager
def open_axes(path: Path, *, height: float) -> Iterator[Axes]:
    """Yield axes to draw on; after the block, the file is written.

    Args:
        path: Path of the SVG file.
        height: Height in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        yield figure.subplots()
        path.parent.mkdir(parents=True, exist_ok=True)
        # A white background, because dark text would be unreadable on a dark page.
        figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


def draw_bars(
    path: Path,
    groups: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    *,
    label: str,
    line: float | None = None,
) -> None:
    """Draw groups of bars, one bar per contender, on a logarithmic scale.

    Args:
        path: Path of the SVG file.
        groups: Names of the groups.
        values: Value of each contender in each group; None or 0 for no bar.
        label: Label of the values.
        line: Value at which a line is drawn.
    """
    width = GROUP_WIDTH / len(values)
    with open_axes(path, height=3.6) as axes:
        for index, (name, group_values) in enumerate(values.items()):
            offset = (index - (len(values) - 1) / 2) * width
            bars = [(group + offset, value) for group, value in enumerate(group_values) if value]
            if bars:
                colour = COLOURS[index % len(COLOURS)]
                places, heights = zip(*bars, strict=True)
                axes.bar(places, heights, width, label=_strip_code(name), color=colour)
        if line is not None:
            axes.axhline(line, color="black", linewidth=0.8)
        axes.set_xticks(range(len(groups)), groups)
        _use_logarithmic_scale(axes, label)
        axes.figure.legend(loc="outside right upper")


def draw_lines(
    path: Path,
    values: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    levels: Sequence[float],
) -> None:
    """Draw the points of each contender, joined in order of x, on logarithmic scales.

    Args:
        path: Path of the SVG file.
        values: Points (x, y) of each contender.
        x_label: Label of x.
        y_label: Label of y.
        levels: Values of y at which lines are drawn.
    """
    with open_axes(path, height=4.2) as axes:
        for index, (name, points) in enumerate(values.items()):
            if points:
                axes.plot(
                    *zip(*sorted(points), strict=True),
                    marker=".",
                    label=_strip_code(name),
                    color=COLOURS[index % len(COLOURS)],
                )
        for level in levels:
            axes.axhline(level, color="#b0b0b0", linewidth=0.8, zorder=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _use_logarithmic_scale(axes, y_label)
        axes.figure.legend(loc="outside right upper")


def draw_mean_ranks(
    path: Path,
    ranks: Mapping[str, float],
    *,
    groups: Sequence[Sequence[str]],
    critical_difference: float,
) -> None:
    """Draw mean ranks on an axis, with bars over contenders that do not differ (Demšar 2006).

    Args:
        path: Path of the SVG file.
        ranks: Mean rank of each contender.
        groups: Contenders that do not differ from each other.
        critical_difference: Difference from which two mean ranks differ.
    """
    names = sorted(ranks, key=ranks.__getitem__)
    n_left = (len(names) + 1) // 2
    first_line = 0.6 + 0.3 * len(groups)  # below the axis, whose y is 0, and the bars
    with open_axes(path, height=1.6 + 0.25 * len(groups) + 0.25 * n_left) as axes:
        for place, name in enumerate(names):
            is_left = place < n_left
            edge = 0.7 if is_left else len(names) + 0.3
            level = -first_line - 0.5 * (place if is_left else len(names) - 1 - place)
            axes.plot([ranks[name]] * 2 + [edge], [0, level, level], color="black", linewidth=0.8)
            axes.annotate(
                f"{_strip_code(name)} ({ranks[name]:.2f})",
                (edge, level),
                xytext=(-4 if is_left else 4, 0),
                textcoords="offset points",
                ha="right" if is_left else "left",
                va="center",
            )
        for place, group in enumerate(groups):
            ends = [ranks[group[0]] - 0.04, ranks[group[-1]] + 0.04]
            axes.plot(ends, [-0.3 * (place + 1)] * 2, color=COLOURS[0], linewidth=3)
        axes.plot([1, 1 + critical_difference], [0.8, 0.8], color="black", marker="|")
        axes.annotate(f"critical difference {critical_difference:.2f}", (1, 1.0), va="bottom")
        axes.plot([1, len(names)], [0, 0], color="black", linewidth=1)
        for rank in range(1, len(names) + 1):
            axes.plot([rank, rank], [0, 0.12], color="black", linewidth=1)
            axes.annotate(str(rank), (rank, 0.2), ha="center", va="bottom")
        axes.set_xlim(-1.5, len(names) + 2.5)
        axes.set_ylim(-first_line - 0.5 * n_left, 1.8)
        axes.set_axis_off()


def _use_logarithmic_scale(axes: Axes, label: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _strip_code(name: str) -> str:
    """Return a name without the backquotes of Markdown."""
    return name.replace("`", "")
