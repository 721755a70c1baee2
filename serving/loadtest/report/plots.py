"""Plots: drawings as SVG inside the page, in the page's own colours and letters.

Matplotlib draws in the colours below; each becomes a variable of the page's style, so that a
drawing follows it into the dark and onto paper. Words stay words, escaped; nothing is linked to.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from serving.loadtest.capacity import RateProbe
from serving.loadtest.objectives import Objective
from serving.loadtest.statistics import RunStatistics, TimeDistribution, format_percentile_name

PAPER, INK, MUTED, RULE = "#fefefe", "#1c2024", "#6a7079", "#dfe2e6"
ACCENT, SECOND, BAD = "#2563a8", "#c8691c", "#b93a32"
CSS_VARIABLES = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    ACCENT: "accent",
    SECOND: "second",
    BAD: "bad",
}
# Told apart by all eyes, on white and on black (after Okabe and Ito 2008).
SERIES_COLOURS = (ACCENT, SECOND, "#009e73", "#b65a94", "#8a8a00", "#4aa3d8")
WIDTH, HEIGHT = 7.2, 3.5  # inches
REM_PER_INCH, MIN_REM_PER_INCH = (
    6.4,
    3.7,
)  # of the page to an inch: letters are as large in every drawing
DASHES = (0, (3, 3))
USUAL_PERCENTILES = (
    50.0,
    90.0,
    99.0,
)  # percentiles of the search's curves, besides those asked for

MATPLOTLIB_STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.edgecolor": "none",
    "legend.facecolor": PAPER,
    "legend.fontsize": 8.5,
    "legend.framealpha": 0.85,  # curves may pass behind it
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # letters of the page
    "svg.hashsalt": "forwardpass",  # the same page for the same figures
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
}

_NAMESPACE_PATTERN = re.compile(r"\{[^}]*\}")


class PlotCanvas:
    """A drawing under way: its axes and, once it is done, its SVG."""

    def __init__(self, figure: Figure, axes: list[Axes]) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = Markup("")


def plot_percentiles(figures: RunStatistics, objectives: Sequence[Objective] = ()) -> Markup:
    """Percentile against time, each nine as wide as the one before, as HdrHistogram draws it.

    Args:
        figures: their latency and, where it is not the same, their service time.
        objectives: of which those of the latency are lines.

    Returns:
        SVG; without a curve if nothing was timed.
    """
    with _open_canvas(1, HEIGHT) as drawing:
        axes = drawing.axes[0]
        _add_percentile_curve(axes, figures.service, "service: from leaving", MUTED)
        _add_percentile_curve(axes, figures.latency, "latency: from the due time", ACCENT)
        _scale_percentile_axis(axes, max(figures.latency.count, 100))
        _scale_time_axis(axes, "ms")
        for objective in _select_latency(objectives):
            beyond = 1 / (1 - objective.percentile / 100)
            axes.axhline(1000 * objective.bound, color=BAD, linewidth=1, linestyle=DASHES)
            axes.plot([beyond], [1000 * objective.bound], "o", color=BAD, markersize=4)
            _annotate(axes, str(objective), (beyond, 1000 * objective.bound), left=beyond > 10)
        _add_legend(axes)
    return drawing.svg


def plot_seconds(figures: RunStatistics) -> Markup:
    """Latency and right answers over time, by the second that requests were due in.

    Args:
        figures: of the run.

    Returns:
        SVG; seconds with errors are marked at its foot.
    """
    seconds = figures.by_second
    at = [second.second + 0.5 for second in seconds]
    with _open_canvas(2, 4.2) as drawing:
        above, below = drawing.axes
        above.plot(
            at,
            [1000 * s.p99 for s in seconds],
            color=SECOND,
            label="p99",
            marker="o",
            markersize=2.5,
        )
        above.plot(
            at,
            [1000 * s.p50 for s in seconds],
            color=ACCENT,
            label="p50",
            marker="o",
            markersize=2.5,
        )
        _scale_time_axis(above, "latency, ms")
        below.plot(
            at,
            [s.rate for s in seconds],
            color=ACCENT,
            drawstyle="steps-mid",
            label="right answers/s",
        )
        if figures.offered is not None:
            below.axhline(
                figures.offered, color=MUTED, linewidth=1, linestyle=DASHES, label="offered"
            )
        failed = [place for place, second in zip(at, seconds, strict=True) if second.errors]
        if failed:
            below.plot(
                failed,
                np.zeros(len(failed)),
                "x",
                color=BAD,
                markersize=5,
                clip_on=False,
                label="seconds with errors",
            )
        below.set(
            xlabel="second that requests were due in",
            ylabel="answers/s",
            xlim=(0, max(1.0, figures.seconds)),
        )
        below.set_ylim(bottom=0)
        _add_grid(below)
        _add_legend(above)
        _add_legend(below)
    return drawing.svg


def plot_capacity(
    probes: Sequence[RateProbe], objectives: Sequence[Objective] = (), held: float | None = None
) -> Markup:
    """Latency against the rate that was offered, with the highest rate that was held.

    Args:
        probes: of the search, in any order.
        objectives: of which those of the latency are lines.
        held: the highest rate that was held, if one was.

    Returns:
        SVG.
    """
    steps = sorted(probes, key=lambda probe: probe.rate)
    rates = [probe.rate for probe in steps]
    asked = _select_latency(objectives)
    percentiles = sorted({*USUAL_PERCENTILES, *(objective.percentile for objective in asked)})
    with _open_canvas(1, HEIGHT) as drawing:
        axes = drawing.axes[0]
        for percentile, colour in zip(percentiles, SERIES_COLOURS, strict=False):
            times = [1000 * probe.figures.latency.percentile(percentile) for probe in steps]
            axes.plot(
                rates,
                times,
                color=colour,
                marker="o",
                markersize=3,
                label=format_percentile_name(percentile),
            )
        _scale_time_axis(axes, "latency, ms")
        axes.set(xlabel="requests offered a second")
        axes.set_xlim(left=0)
        for objective in asked:
            axes.axhline(1000 * objective.bound, color=BAD, linewidth=1, linestyle=DASHES)
            _annotate(axes, str(objective), (0.0, 1000 * objective.bound))
        if held is not None:
            axes.axvline(
                held, color=INK, linewidth=1, linestyle=DASHES, label=f"held: {held:,.0f}/s"
            )
        _add_legend(axes)
    return drawing.svg


@contextmanager
def _open_canvas(rows: int, height: float) -> Iterator[PlotCanvas]:
    """Draw inside the block; afterwards its `svg` is there.

    Args:
        rows: axes, one above the other, with one horizontal scale.
        height: in inches.
    """
    with mpl.rc_context(MATPLOTLIB_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
        drawing = PlotCanvas(figure, list(axes[:, 0]))
        yield drawing
        file = io.StringIO()
        with warnings.catch_warnings():
            # It measures by its own letters; those shown are the reader's, who may have more.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        drawing.svg = _convert_to_inline_svg(file.getvalue())


def _add_percentile_curve(axes: Axes, times: TimeDistribution, label: str, colour: str) -> None:
    curve = times.percentile_curve()
    # A scale of powers has no place for 0.
    axes.plot(
        curve[:, 0],
        np.maximum(1000 * curve[:, 1], 1e-3),
        color=colour,
        label=label,
        drawstyle="steps-pre",
    )


def _scale_percentile_axis(axes: Axes, most: int) -> None:
    """The scale of 1 / (1 - q), told by percentiles, up to one of so many requests."""
    powers = [10.0**k for k in range(1, int(np.ceil(np.log10(most))) + 1)]
    ticks = [1.0, 2.0, *powers]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * (1 - 1 / x):.10g} %"))
    axes.set(xlabel="percentile", xlim=(1, powers[-1]))


def _scale_time_axis(axes: Axes, label: str) -> None:
    """Powers, the ticks written as numbers: formulas are not set here."""
    axes.set_yscale("log")
    if not np.isfinite(axes.dataLim.minposy):  # nothing to scale by
        axes.set_ylim(1, 1000)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label)
    _add_grid(axes)


def _add_grid(axes: Axes) -> None:
    """Lines behind the data to read values by."""
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def _add_legend(axes: Axes) -> None:
    axes.legend(loc="best", handlelength=1.4, labelspacing=0.25)


def _annotate(axes: Axes, text: str, place: tuple[float, float], *, left: bool = False) -> None:
    """Words above a place, on its right unless there may be no room."""
    axes.annotate(
        text,
        place,
        (-4 if left else 4, 3),
        textcoords="offset points",
        color=BAD,
        fontsize=8.5,
        ha="right" if left else "left",
    )


def _select_latency(objectives: Sequence[Objective]) -> list[Objective]:
    return [objective for objective in objectives if objective.kind == "latency"]


def _convert_to_inline_svg(text: str) -> Markup:
    """An SVG file as a part of an HTML page: no names of other places, ids of its own."""
    root = ET.fromstring(text)  # noqa: S314 - drawn here, not read
    prefix = f"d{zlib.crc32(text.encode()):08x}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if _strip_namespace(child.tag) == "metadata":
                parent.remove(child)
    for element in root.iter():
        element.tag = _strip_namespace(element.tag)
        element.attrib = {
            _strip_namespace(name): _convert_attribute(_strip_namespace(name), held, prefix)
            for name, held in element.attrib.items()
        }
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")
    root.set(
        "style",
        f"min-width: {WIDTH * MIN_REM_PER_INCH:.1f}rem; max-width: {WIDTH * REM_PER_INCH:.1f}rem",
    )
    # Safe: the serialiser escapes text and attributes.
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704


def _strip_namespace(name: str) -> str:
    return _NAMESPACE_PATTERN.sub("", name)


def _convert_attribute(name: str, held: str, prefix: str) -> str:
    if name == "id":
        return prefix + held
    if name == "href" and held.startswith("#"):
        return f"#{prefix}{held[1:]}"
    if name in ("clip-path", "style", "fill", "stroke"):
        held = held.replace("url(#", f"url(#{prefix}")
        for colour, variable in CSS_VARIABLES.items():
            held = held.replace(colour, f"var(--{variable})")
    return held
