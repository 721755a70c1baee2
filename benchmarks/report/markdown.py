"""Markdown: tables, sections, figures with their spread, and text between markers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

END = "<!-- end -->"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, the first column to the left and the others to the right.

    Args:
        headings: of the columns.
        rows: as many cells as there are headings, each.
    """
    lines = [headings, ["---", *["--:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def section(title: str, *parts: str) -> str:
    """A heading, and what stands under it; parts that are empty are left out."""
    return "\n\n".join([f"## {title}", *(part for part in parts if part)])


def image(alt: str, name: str) -> str:
    """A drawing of the page's folder."""
    return f"![{alt}](benchmarks/{name}.svg)"


def anchor(title: str) -> str:
    """Where a heading of the page is found, from the README."""
    return "docs/benchmarks.md#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def number(value: float) -> str:
    """Three digits that count, at least; thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percent(share: float, digits: int = 0) -> str:
    """A share, of a hundred."""
    return f"{100 * share:.{digits}f} %"


def spread(found: Mapping[str, float | None] | None) -> str:
    """A median and its quartiles; nothing where there is none."""
    if found is None or found["median"] is None:
        return "–"
    figures = [found[name] for name in ("median", "low", "high")]
    middle, low, high = ("–" if value is None else number(value) for value in figures)
    return f"{middle} ({low}–{high})"


def filled(text: str, name: str, content: str) -> str:
    """The text with other content between the markers of a name.

    Args:
        text: holds `<!-- benchmarks: NAME -->` and, after it, `<!-- end -->`.
        name: of the markers.
        content: what is to stand between them.

    Raises:
        ValueError: the markers are not there, once.
    """
    start = f"<!-- benchmarks: {name} -->"
    if text.count(start) != 1 or END not in text.split(start)[1]:
        raise ValueError(
            f"expected one {start} with {END} after it in the README, "
            f"got {text.count(start)}; put them around the place of the table"
        )
    before, rest = text.split(start)
    after = rest.split(END, 1)[1]
    return f"{before}{start}\n\n{content}\n\n{END}{after}"
