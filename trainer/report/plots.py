"""Plots as inline SVG in the colours and the font of the page.

Matplotlib draws with the colours below. Each is then replaced by a CSS variable of the page, so
that a plot follows the light, dark or print style. Text stays text and is escaped; nothing is
linked.
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
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

PAPER, INK, MUTED, RULE = "#fefefe", "#1c2024", "#6a7079", "#dfe2e6"
ACCENT, SECONDARY = "#2563a8", "#c8691c"
VARIABLES = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    ACCENT: "accent",
    SECONDARY: "secondary",
}
# Colours of lines, with a contrast of 3:1 or more on white and on the dark page.
PALETTE = (
    ACCENT,
    SECONDARY,
    "#00916a",
    "#b65a94",
    "#8a8a00",
    "#96604f",
    "#3f94cc",
    "#7c6cbd",
    "#d4483b",
    "#5f8a8b",
)
# Dash patterns, so that lines can be told apart without their colours. Lines with the same pattern
# have colours that also differ for readers who are colour blind.
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.4, 1.2)),
    (0, (6, 1.4, 1.4, 1.4)),
    (0, (9, 1.4, 1.4, 1.4, 1.4, 1.4)),
)
LINE_STYLES = tuple(zip(PALETTE, DASHES * 2, strict=True))  # colour and dash pattern of each line
THIN_DASHES = (0, (3, 3))  # of lines for comparison, such as a random guess
WIDTH, HEIGHT = 4.6, 3.2  # inches, default size of a plot
WIDE_WIDTH = 5.0  # inches, of a plot that stands alone in its row
# Width of the SVG on the page, in rem per inch of the plot. With a maximum, text has the same size
# in all plots; with a minimum, it stays readable on small screens, where the plot then scrolls.
MAX_REM_PER_INCH, MIN_REM_PER_INCH = 6.6, 4.4
LABEL_SIZE = 9.5  # typographic points, font size of labels at data points
LETTER_WIDTH, LINE_HEIGHT, MARKER_RADIUS = 5.6, 13.0, 4.0  # typographic points
MAX_VECTOR_POINTS = 2000  # data points; more are drawn as an image, which keeps the page small

STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.fontsize": 9.3,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text in the font of the page instead of glyph outlines
    "svg.hashsalt": "forwardpass",  # equal inputs give an equal page
    "text.color": INK,
    "text.parse_math": False,  # names may contain dollar signs
    "xtick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.color": MUTED,
    "ytick.labelsize": 9.5,
}

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points

_NAMESPACE = re.compile(r"\{[^}]*\}")


class Canvas:
    """A plot: its axes and, after the `with` block of `open_canvas`, its SVG.

    Attributes:
        figure: Figure of matplotlib.
        axes: Axes from top to bottom.
        svg: SVG element as HTML; empty inside the `with` block.
    """

    def __init__(self, figure: Figure, axes: list[Axes]) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = Markup("")

    @property
    def main_axes(self) -> Axes:
        """The top axes."""
        return self.axes[0]


@contextmanager
def open_canvas(width: float = WIDTH, height: float = HEIGHT, *, rows: int = 1) -> Iterator[Canvas]:
    """Open a plot to draw on; when the `with` block ends, its `svg` is set.

    Args:
        width: Width in inches.
        height: Height in inches.
        rows: Number of axes below each other with a common x scale; the first is three times as
            high as the others.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        ratios = [3] + [1] * (rows - 1)
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)
        drawing = Canvas(figure, list(axes[:, 0]))
        yield drawing
        file = io.StringIO()
        with warnings.catch_warnings():
            # Matplotlib's font is only used to measure text; the reader's font may have the glyph.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(file, format="svg", transparent=True, dpi=120, metadata={"Date": None})
        drawing.svg = _make_inline_svg(file.getvalue(), width)


def set_log_scale(axes: Axes, *, is_x: bool = False) -> None:
    """Set a logarithmic scale with plain numbers as tick labels.

    Args:
        axes: Axes to change.
        is_x: Whether to change the x scale instead of the y scale.
    """
    axis = axes.xaxis if is_x else axes.yaxis
    (axes.set_xscale if is_x else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def use_integer_ticks(axes: Axes) -> None:
    """Use integer ticks on the y axis, for numbers of rows."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))


def show_grid(axes: Axes) -> None:
    """Show grid lines behind the data."""
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def add_legend(axes: Axes, handles: Sequence[Artist] | None = None, *, ncols: int = 1) -> None:
    """Add a legend above the axes, where it hides no data.

    Args:
        axes: Axes whose labelled artists the legend lists.
        handles: Artists that the legend lists instead; None for all that have a label.
        ncols: Number of columns.
    """
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    axes.figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=ncols,
        handlelength=2.6,  # long enough to show the dash pattern
        labelspacing=0.25,
        columnspacing=1.4,
    )


def label_points(
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
    obstacles: Sequence[tuple[float, float]] = (),
) -> None:
    """Write names above or below their points, at distances at which they do not overlap.

    Args:
        axes: Axes whose scales and limits are already set.
        points: Name, x and y of each point, in data coordinates.
        obstacles: x and y of other points that no name may cover.
    """
    axes.autoscale_view()
    if (figure := axes.get_figure(root=True)) is not None:
        figure.draw_without_rendering()  # moves the axes to where the layout leaves them
    scale = 72 / axes.figure.dpi  # typographic points per pixel
    boxes = [
        (x - MARKER_RADIUS, y - MARKER_RADIUS, x + MARKER_RADIUS, y + MARKER_RADIUS)
        for x, y in (
            axes.transData.transform(at) * scale for at in (*(p[1:] for p in points), *obstacles)
        )
    ]
    for name, x, y in sorted(points, key=lambda point: point[1]):
        center, height = axes.transData.transform((x, y)) * scale
        half = LETTER_WIDTH * len(name) / 2
        for step in range(2 * (len(points) + len(obstacles))):
            offset = (step // 2 + 1) * LINE_HEIGHT * (1 if step % 2 == 0 else -1)
            box = (
                center - half,
                height + offset - LINE_HEIGHT / 2,
                center + half,
                height + offset + LINE_HEIGHT / 2,
            )
            if not any(_has_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        axes.annotate(
            name,
            (x, y),
            (0, offset),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=LABEL_SIZE,
            color=INK,
            zorder=4,
            arrowprops={
                "arrowstyle": "-",
                "color": MUTED,
                "linewidth": 0.6,
                "shrinkB": MARKER_RADIUS,
            },
        )


def _has_overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _make_inline_svg(text: str, width: float) -> Markup:
    """Return an SVG file as an element for HTML: without URLs, and with ids unique on the page.

    Args:
        text: Content of the SVG file.
        width: Width of the plot, in inches.
    """
    root = ET.fromstring(text)  # noqa: S314 - written by matplotlib just now
    prefix = f"d{zlib.crc32(text.encode()):08x}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if _strip_namespace(child.tag) == "metadata":
                parent.remove(child)
    for element in root.iter():
        element.tag = _strip_namespace(element.tag)
        element.attrib = {
            _strip_namespace(name): _rewrite_attribute(_strip_namespace(name), value, prefix)
            for name, value in element.attrib.items()
        }
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("aria-hidden", "true")
    root.set(
        "style",
        f"min-width: {width * MIN_REM_PER_INCH:.1f}rem; "
        f"max-width: {width * MAX_REM_PER_INCH:.1f}rem",
    )
    # Safe, because the serialiser escapes text and attributes.
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704


def _strip_namespace(name: str) -> str:
    """Return the name of a tag or attribute without its XML namespace."""
    return _NAMESPACE.sub("", name)


def _rewrite_attribute(name: str, value: str, prefix: str) -> str:
    """Return the value of an attribute with prefixed ids and CSS variables for colours."""
    if name == "id":
        return prefix + value
    if name == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if name in ("clip-path", "style", "fill", "stroke"):
        value = value.replace("url(#", f"url(#{prefix}")
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, f"var(--{variable})")
    return value
