"""Plots: bars by side and lines by rate, as SVG files that are the same for the same results."""

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
# Told apart by all eyes, as in the trainer's reports (after Okabe and Ito 2008, and Tol 2021).
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
)
WIDTH = 9.0  # inches
FILLED = 0.8  # of the place of a group of bars


@contextmanager
def canvas(path: Path, *, height: float) -> Iterator[Axes]:
    """Axes to draw on inside the block; afterwards the file is there.

    Args:
        path: of the SVG file.
        height: in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure.subplots()
        path.parent.mkdir(parents=True, exist_ok=True)
        # White below: dark letters on a dark page would not be read.
        figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


def bars(
    path: Path,
    groups: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    *,
    label: str,
    line: float | None = None,
) -> None:
    """Groups of bars, one for each side, upwards in powers.

    Args:
        path: of the SVG file.
        groups: names below the groups.
        values: of each side, one value for each group; None or 0 draws nothing.
        label: what the values are.
        line: a value to draw a line at.
    """
    width = FILLED / len(values)
    with canvas(path, height=3.6) as axes:
        for place, (side, found) in enumerate(values.items()):
            offset = (place - (len(values) - 1) / 2) * width
            drawn = [(g + offset, value) for g, value in enumerate(found) if value]
            if drawn:
                places, heights = zip(*drawn, strict=True)
                axes.bar(
                    places, heights, width, label=_plain(side), color=COLOURS[place % len(COLOURS)]
                )
        if line is not None:
            axes.axhline(line, color="black", linewidth=0.8)
        axes.set_xticks(range(len(groups)), groups)
        _logarithmic(axes, label)
        axes.figure.legend(loc="outside right upper")


def lines(
    path: Path,
    values: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    label: str,
    levels: Sequence[float],
) -> None:
    """Points of each side in order, joined; both scales in powers.

    Args:
        path: of the SVG file.
        values: of each side, points across and upwards.
        across: what the first of each point is.
        label: what the second is.
        levels: to draw lines at.
    """
    with canvas(path, height=4.2) as axes:
        for place, (side, points) in enumerate(values.items()):
            if points:
                axes.plot(
                    *zip(*sorted(points), strict=True),
                    marker=".",
                    label=_plain(side),
                    color=COLOURS[place % len(COLOURS)],
                )
        for level in levels:
            axes.axhline(level, color="#b0b0b0", linewidth=0.8, zorder=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.set_xlabel(across)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _logarithmic(axes, label)
        axes.figure.legend(loc="outside right upper")


def _logarithmic(axes: Axes, label: str) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain(name: str) -> str:
    return name.replace("`", "")
