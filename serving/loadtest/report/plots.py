"""The plots of the report, drawn by Matplotlib and converted to SVG inside an HTML page.

Each colour below becomes a CSS variable of the page, so that the plots follow its dark and print
styles. Text stays text in the fonts of the page, and nothing refers to another server.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
ACCENT, SECOND, BAD = "#2563a8", "#b85c12", "#b93a32"
CSS_VARIABLES = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    ACCENT: "accent",
    SECOND: "second",
    BAD: "bad",
}
# Distinguishable with colour blindness, on white and on black (after Okabe and Ito 2008).
SERIES_COLOURS = (ACCENT, SECOND, "#00875f", "#b65a94", "#7d7d00", "#2b86bd")
# Each series also has a line style and a marker of its own, so that colour is not needed.
SERIES_STYLES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"), ("-", "v"), ("--", "P"))
WIDTH, HEIGHT = 7.2, 3.5  # inches
# Widths of a plot on the page, in rem per inch: the same for all, so that their text is as large.
REM_PER_INCH, MIN_REM_PER_INCH = 6.4, 4.9
DASHES = (0, (3, 3))
USUAL_PERCENTILES = (50.0, 90.0, 99.0)  # in a capacity plot, in addition to the objectives'

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
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text, in the font of the page
    "svg.hashsalt": "forwardpass",  # the same identifiers in each run
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
}

_NAMESPACE_PATTERN = re.compile(r"\{[^}]*\}")


class PlotCanvas:
    """A plot.

    Attributes:
        axes: Axes to draw on, from top to bottom.
        svg: The finished plot; empty while it is drawn.
    """

    def __init__(self, axes: list[Axes]) -> None:
        self.axes = axes
        self.svg = Markup("")


def plot_percentiles(statistics: RunStatistics, objectives: Sequence[Objective] = ()) -> Markup:
    """Plot latency and service time against the percentile, on HdrHistogram's scale.

    Args:
        statistics: Statistics of the run.
        objectives: Objectives; those for the latency are drawn as lines.

    Returns:
        SVG; without curves if there are no times.
    """
    with _open_canvas(1, HEIGHT) as canvas:
        axes = canvas.axes[0]
        _add_percentile_curve(
            axes, statistics.service_time, "service time: from sent to answered", SECOND, "--"
        )
        _add_percentile_curve(
            axes, statistics.latency, "latency: from due to answered", ACCENT, "-"
        )
        _scale_percentile_axis(axes, max(statistics.latency.count, 100))
        _scale_time_axis(axes, "time, milliseconds")
        for objective in _select_latency(objectives):
            x, y = 1 / (1 - objective.percentile / 100), 1000 * objective.bound
            axes.axhline(y, color=BAD, linewidth=1, linestyle=DASHES)
            axes.plot([x], [y], "o", color=BAD, markersize=4)
            _annotate(axes, str(objective), (x, y), is_left=x > 10)
        _add_legend(axes)
    return canvas.svg


def plot_seconds(statistics: RunStatistics) -> Markup:
    """Plot latency and throughput over time.

    Args:
        statistics: Statistics of the run.

    Returns:
        SVG; seconds with errors are marked at the bottom.
    """
    seconds = statistics.by_second
    middles = [second.second + 0.5 for second in seconds]
    with _open_canvas(2, 4.2) as canvas:
        upper, lower = canvas.axes
        for label, times, colour, (line, marker) in (
            ("latency, p99", [1000 * s.p99 for s in seconds], SECOND, SERIES_STYLES[1]),
            ("latency, p50", [1000 * s.p50 for s in seconds], ACCENT, SERIES_STYLES[0]),
        ):
            upper.plot(
                middles,
                times,
                color=colour,
                label=label,
                linestyle=line,
                marker=marker,
                markersize=3.5,
            )
        _scale_time_axis(upper, "latency, milliseconds")
        lower.plot(
            middles,
            [second.throughput for second in seconds],
            color=ACCENT,
            drawstyle="steps-mid",
            label="correct answers",
        )
        if statistics.offered_rate is not None:
            lower.axhline(
                statistics.offered_rate,
                color=MUTED,
                linewidth=1,
                linestyle=DASHES,
                label="requests due",
            )
        failed = [x for x, second in zip(middles, seconds, strict=True) if second.errors]
        if failed:
            lower.plot(
                failed,
                np.zeros(len(failed)),
                "x",
                color=BAD,
                markersize=5,
                clip_on=False,
                label="second with errors",
            )
        lower.set(
            xlabel="time since the start of the load, seconds",
            ylabel="number per second",
            xlim=(0, max(1.0, statistics.load_seconds)),
        )
        lower.set_ylim(bottom=0)
        _add_grid(lower)
        _add_legend(upper)
        _add_legend(lower)
    return canvas.svg


def plot_capacity(
    probes: Sequence[RateProbe],
    objectives: Sequence[Objective] = (),
    capacity: float | None = None,
) -> Markup:
    """Plot latency against the offered rate.

    Args:
        probes: Rates that were probed, in any order.
        objectives: Objectives; those for the latency are drawn as lines.
        capacity: Highest sustained rate, in requests per second; None if there is none.

    Returns:
        SVG.
    """
    by_rate: dict[float, list[RateProbe]] = {}
    for probe in sorted(probes, key=lambda probe: probe.rate):
        by_rate.setdefault(probe.rate, []).append(probe)
    latency_objectives = _select_latency(objectives)
    percentiles = sorted({*USUAL_PERCENTILES, *(o.percentile for o in latency_objectives)})
    with _open_canvas(1, HEIGHT) as canvas:
        axes = canvas.axes[0]
        for percentile, colour, style in zip(
            percentiles, SERIES_COLOURS, SERIES_STYLES, strict=False
        ):
            _add_probe_series(axes, by_rate, percentile, colour, style)
        _scale_time_axis(axes, "latency, milliseconds")
        axes.set(xlabel="requests offered per second")
        for objective in latency_objectives:
            axes.axhline(1000 * objective.bound, color=BAD, linewidth=1, linestyle=DASHES)
            _annotate(axes, str(objective), (axes.get_xlim()[0], 1000 * objective.bound))
        if capacity is not None:
            label = f"sustained: {capacity:,.0f}/s"
            axes.axvline(capacity, color=INK, linewidth=1, linestyle=DASHES, label=label)
        _add_legend(axes)
    return canvas.svg


def _add_probe_series(
    axes: Axes,
    by_rate: Mapping[float, Sequence[RateProbe]],
    percentile: float,
    colour: str,
    style: tuple[str, str],
) -> None:
    """Draw a point for each probe, hollow if it was not sustained, and a line of the medians."""
    line, marker = style
    points = [
        (probe.rate, 1000 * probe.statistics.latency.compute_percentile(percentile), probe)
        for group in by_rate.values()
        for probe in group
    ]
    medians = [
        np.median([time for rate, time, _ in points if rate == group_rate])
        for group_rate in by_rate
    ]
    axes.plot(
        list(by_rate),
        medians,
        color=colour,
        linestyle=line,
        marker=marker,
        markersize=0,
        label=format_percentile_name(percentile),
    )
    for is_sustained in (True, False):
        chosen = [(x, y) for x, y, probe in points if probe.is_sustained == is_sustained]
        axes.plot(
            [x for x, _ in chosen],
            [y for _, y in chosen],
            linestyle="none",
            marker=marker,
            markersize=5,
            markeredgecolor=colour,
            markerfacecolor=colour if is_sustained else PAPER,
        )


@contextmanager
def _open_canvas(rows: int, height: float) -> Iterator[PlotCanvas]:
    """Yield a canvas to draw on; after the block its `svg` is set.

    Args:
        rows: Number of axes, one above the other, with a common horizontal axis.
        height: Height in inches.
    """
    with mpl.rc_context(MATPLOTLIB_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
        canvas = PlotCanvas(list(axes[:, 0]))
        yield canvas
        file = io.StringIO()
        with warnings.catch_warnings():
            # Matplotlib measures text in its own font. The browser shows it in another one, which
            # may have the glyphs that Matplotlib misses.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        canvas.svg = _convert_to_inline_svg(file.getvalue())


def _add_percentile_curve(
    axes: Axes, times: TimeDistribution, label: str, colour: str, line: str
) -> None:
    curve = times.compute_curve()
    # A logarithmic axis cannot show 0.
    milliseconds = np.maximum(1000 * curve[:, 1], 1e-3)
    axes.plot(
        curve[:, 0],
        milliseconds,
        color=colour,
        label=label,
        linestyle=line,
        drawstyle="steps-pre",
    )


def _scale_percentile_axis(axes: Axes, request_count: int) -> None:
    """Show 1 / (1 - q) on a logarithmic axis, labelled with percentiles."""
    powers = [10.0**k for k in range(1, int(np.ceil(np.log10(request_count))) + 1)]
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([1.0, 2.0, *powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * (1 - 1 / x):.10g} %"))
    axes.set(xlabel="share of the requests that took no longer", xlim=(1, powers[-1]))


def _scale_time_axis(axes: Axes, label: str) -> None:
    """Show times on a logarithmic axis, labelled with plain numbers instead of powers of ten."""
    axes.set_yscale("log")
    if not np.isfinite(axes.dataLim.minposy):  # no data to choose the limits by
        axes.set_ylim(1, 1000)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(label)
    _add_grid(axes)


def _add_grid(axes: Axes) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def _add_legend(axes: Axes) -> None:
    """Put a legend above the axes, where it hides nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=len(axes.get_legend_handles_labels()[0]) or 1,
        handlelength=3.2,
        columnspacing=1.4,
        borderaxespad=0.2,
        borderpad=0.2,
    )


def _annotate(axes: Axes, text: str, point: tuple[float, float], *, is_left: bool = False) -> None:
    """Write a text above a point, to its left or right."""
    axes.annotate(
        text,
        point,
        (-4 if is_left else 4, 3),
        textcoords="offset points",
        color=BAD,
        fontsize=8.5,
        ha="right" if is_left else "left",
    )


def _select_latency(objectives: Sequence[Objective]) -> list[Objective]:
    return [objective for objective in objectives if objective.kind == "latency"]


def _convert_to_inline_svg(text: str) -> Markup:
    """Convert an SVG file to an element of an HTML page.

    The metadata and the namespaces are removed, as they hold URLs. Identifiers get a prefix, so
    that those of several plots on a page differ.
    """
    root = ET.fromstring(text)  # noqa: S314 - Matplotlib wrote it
    prefix = f"d{zlib.crc32(text.encode()):08x}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if _strip_namespace(child.tag) == "metadata":
                parent.remove(child)
    for element in root.iter():
        element.tag = _strip_namespace(element.tag)
        element.attrib = {
            _strip_namespace(name): _convert_attribute(_strip_namespace(name), value, prefix)
            for name, value in element.attrib.items()
        }
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")
    root.set(
        "style",
        f"min-width: {WIDTH * MIN_REM_PER_INCH:.1f}rem; max-width: {WIDTH * REM_PER_INCH:.1f}rem",
    )
    # This is safe, because the serializer escapes text and attributes.
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704


def _strip_namespace(name: str) -> str:
    return _NAMESPACE_PATTERN.sub("", name)


def _convert_attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if name in ("clip-path", "style", "fill", "stroke"):
        value = value.replace("url(#", f"url(#{prefix}")
        for colour, variable in CSS_VARIABLES.items():
            value = value.replace(colour, f"var(--{variable})")
    return value
