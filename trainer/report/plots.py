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
from markupsafe import Markup
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
    SECONDARY: "second",
}
# Told apart by all eyes, on white and on black (after Okabe and Ito 2008, and Tol 2021).
PALETTE = (
    ACCENT,
    SECONDARY,
    "#009e73",
    "#b65a94",
    "#8a8a00",
    "#4aa3d8",
    "#8c564b",
    "#7667b5",
    "#d4483b",
    "#5f8a8b",
)
WIDTH, HEIGHT = 4.6, 3.2  # inches of a drawing that stands beside another
WIDE_WIDTH = 6.0  # of one that stands alone
# Of the page to an inch, so that letters are as large in every drawing, and on a small screen can
# be read, if need be by moving the drawing.
MAX_REM_PER_INCH, MIN_REM_PER_INCH = 6.4, 3.7
LETTER_WIDTH, LINE_HEIGHT, MARKER_RADIUS = 5.0, 13.0, 4.0  # points wide and high, of a letter and half a mark
MAX_VECTOR_POINTS = 2000  # points; more are drawn as an image

STYLE: dict[Any, Any] = {
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
    "legend.fontsize": 8.5,
    "legend.edgecolor": "none",
    "legend.facecolor": PAPER,
    "legend.framealpha": 0.85,  # curves may pass behind it
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # letters of the page
    "svg.hashsalt": "forwardpass",  # the same page for the same evidence
    "text.color": INK,
    "text.parse_math": False,  # a name with dollar signs is a name
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
}

Box = tuple[float, float, float, float]  # left, lower, right, upper

_SPACE = re.compile(r"\{[^}]*\}")


class Canvas:
    """A drawing under way: its axes and, once it is done, its SVG."""

    def __init__(self, figure: Figure, axes: list[Axes]) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = Markup("")

    @property
    def axes_0(self) -> Axes:
        """The axes of a drawing that has one."""
        return self.axes[0]


@contextmanager
def open_canvas(width: float = WIDTH, height: float = HEIGHT, *, rows: int = 1) -> Iterator[Canvas]:
    """Draw inside the block; afterwards its `svg` is there.

    Args:
        width: in inches.
        height: in inches.
        rows: axes, one above the other, with one horizontal scale; the first is the highest.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        ratios = [3] + [1] * (rows - 1)
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios)
        drawing = Canvas(figure, list(axes[:, 0]))
        yield drawing
        file = io.StringIO()
        with warnings.catch_warnings():
            # It measures by its own letters; those shown are the reader's, who may have more.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            figure.savefig(file, format="svg", transparent=True, dpi=120, metadata={"Date": None})
        drawing.svg = _make_inline_svg(file.getvalue(), width)


def set_log_scale(axes: Axes, *, across: bool = False) -> None:
    """Powers upwards, or across, the ticks written as numbers: formulas are not set here."""
    scaled = axes.xaxis if across else axes.yaxis
    (axes.set_xscale if across else axes.set_yscale)("log")
    scaled.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scaled.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    scaled.set_minor_formatter(NullFormatter())


def use_integer_ticks(axes: Axes) -> None:
    """Whole numbers upwards: of rows there are no halves."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))


def show_grid(axes: Axes) -> None:
    """Lines behind the data to read values by."""
    axes.grid(visible=True)
    axes.set_axisbelow(True)


def label_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Names above or below their points, so far off that none covers another.

    Args:
        axes: with their scales and limits.
        points: of each the name and its place, in the units of the data.
    """
    axes.autoscale_view()
    scale = 72 / axes.figure.dpi  # points of a letter to a pixel
    taken = [
        (x - MARKER_RADIUS, y - MARKER_RADIUS, x + MARKER_RADIUS, y + MARKER_RADIUS)
        for x, y in (axes.transData.transform(p[1:]) * scale for p in points)
    ]
    for name, x, y in sorted(points, key=lambda point: point[1]):
        middle, height = axes.transData.transform((x, y)) * scale
        half = LETTER_WIDTH * len(name) / 2
        for step in range(2 * len(points)):
            away = (step // 2 + 1) * LINE_HEIGHT * (1 if step % 2 == 0 else -1)
            box = (middle - half, height + away - LINE_HEIGHT / 2, middle + half, height + away + LINE_HEIGHT / 2)
            if not any(_has_overlap(box, other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            name,
            (x, y),
            (0, away),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            color=INK,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": MARKER_RADIUS},
        )


def _has_overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _make_inline_svg(text: str, width: float) -> Markup:
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
            _strip_namespace(name): _rewrite_attribute(_strip_namespace(name), held, prefix)
            for name, held in element.attrib.items()
        }
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("aria-hidden", "true")
    root.set("style", f"min-width: {width * MIN_REM_PER_INCH:.1f}rem; max-width: {width * MAX_REM_PER_INCH:.1f}rem")
    # Safe: the serialiser escapes text and attributes.
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704


def _strip_namespace(name: str) -> str:
    return _SPACE.sub("", name)


def _rewrite_attribute(name: str, held: str, prefix: str) -> str:
    if name == "id":
        return prefix + held
    if name == "href" and held.startswith("#"):
        return f"#{prefix}{held[1:]}"
    if name in ("clip-path", "style", "fill", "stroke"):
        held = held.replace("url(#", f"url(#{prefix}")
        for colour, variable in VARIABLES.items():
            held = held.replace(colour, f"var(--{variable})")
    return held
