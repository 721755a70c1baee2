"""The blocks of a report section: paragraphs, figures, tables, fact lists and metric tiles.

They contain plain text; the template escapes all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

Tone = Literal["plain", "good", "bad", "muted"]


@dataclass(frozen=True)
class Cell:
    """A table cell with a background colour.

    Attributes:
        text: Text of the cell.
        shade: Intensity of the colour, from 0 to 1.
        tone: Colour: `good` is green, `bad` is red, `plain` is none.
    """

    text: str
    shade: float = 0.0
    tone: Tone = "plain"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text.

    Attributes:
        text: One or more sentences.
        tone: Style: `good` or `bad` news, a `muted` remark, or `plain`.
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Figure:
    """A plot with its title and caption.

    Attributes:
        title: Subject of the plot, above it; screen readers announce the plot by it.
        svg: SVG element, with all text escaped (see `plots.Canvas.svg`).
        caption: How to read the plot, in one or two sentences.
    """

    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class FigureRow:
    """Figures next to each other, as far as the width of the page allows."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class TableBlock:
    """A table with a title and a header row.

    Attributes:
        title: Subject of the table and of each of its rows, above it.
        head: Column names.
        rows: Cells of each row, one per column.
        caption: Explanation below the table.
        words: Indices of the columns with words, aligned left; columns of numbers align right.
        folded: Label of the control that unfolds the table; empty for a table that is always shown.
        narrow: Whether the table is as narrow as its content instead of as wide as the page.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    words: Collection[int] = (0,)
    folded: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class FactList:
    """Names with their values, under an optional title."""

    items: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class MetricTiles:
    """The main metrics in large type: name, value, remark."""

    items: Sequence[tuple[str, str, str]]


Block = Paragraph | FigureRow | TableBlock | FactList | MetricTiles


# Titles of the sections by their anchors.
TITLES = {
    "summary": "Summary",
    "data": "Data",
    "training": "Training",
    "confusion": "Confusion matrix",
    "curves": "ROC and precision-recall curves",
    "calibration": "Calibration",
    "residuals": "Predictions and residuals",
    "importance": "Feature importance",
    "errors": "Worst errors",
    "slices": "Subgroups, worst first",
    "layers": "Layer diagnostics",
    "parity": "Self-test and export",
    "variants": "Variants: size, speed, metrics",
    "compression": "Compression",
    "provenance": "Options, versions, checksums",
}


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        key: Anchor of the section, a key of `TITLES`.
        blocks: Blocks in order.
    """

    key: str
    blocks: Sequence[Block]

    @property
    def title(self) -> str:
        """Heading of the section."""
        return TITLES[self.key]
