"""Blocks: what a section is made of. They hold plain text; the template escapes all of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

Tone = Literal["plain", "good", "bad", "quiet"]


@dataclass(frozen=True)
class Cell:
    """A table's cell that stands out.

    Attributes:
        text: what it says.
        shade: how strongly it is tinted, from 0 to 1.
        tone: of the tint: `good` where rows should lie, `bad` where they should not.
    """

    text: str
    shade: float = 0.0
    tone: Tone = "plain"


@dataclass(frozen=True)
class Paragraph:
    """A sentence or more.

    Attributes:
        text: what it says.
        tone: good news, bad news, or an aside.
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Figure:
    """A drawing, of which every word is escaped already.

    Attributes:
        svg: as `plots.svg` makes it.
        caption: what to see in it.
    """

    svg: Markup
    caption: str


@dataclass(frozen=True)
class FigureRow:
    """Drawings beside each other where there is room."""

    figures: Sequence[Figure]


@dataclass(frozen=True)
class TableBlock:
    """Rows under a head.

    Attributes:
        head: a name per column.
        rows: a cell per column.
        caption: what to see in it.
        words: places of the columns that hold words; the others hold numbers, which align right.
        folded: of a long one, what to click on to see it.
        narrow: as narrow as its content, where many cells are short.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    caption: str = ""
    words: Collection[int] = (0,)
    folded: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class FactList:
    """Names and what there is to say of each."""

    items: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class MetricTiles:
    """Figures to be read from across the room: name, figure, remark."""

    items: Sequence[tuple[str, str, str]]


Block = Paragraph | FigureRow | TableBlock | FactList | MetricTiles


# By the anchors of the sections.
TITLES = {
    "verdict": "Verdict",
    "data": "Data",
    "learning": "Learning",
    "confusion": "Which classes it confuses",
    "curves": "At other thresholds",
    "calibration": "Whether its probabilities can be taken at their word",
    "values": "Predicted against true",
    "importance": "What it goes by",
    "cases": "Hardest cases",
    "slices": "Where it is worst",
    "health": "The health of its layers",
    "parity": "Whether the graph answers as the network does",
    "variants": "Variants",
    "compression": "Compression",
    "origin": "How it was made",
}


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor, out of `TITLES`.
        blocks: in order.
    """

    key: str
    blocks: Sequence[Block]

    @property
    def title(self) -> str:
        """What stands above it."""
        return TITLES[self.key]
