"""Numbers, ratios and tables in Markdown, and text between the markers of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

END_MARKER = "<!-- end -->"
NO_VALUE = "–"


def format_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with its first column aligned left and the others right.

    Args:
        headings: Heading of each column.
        rows: Cells of each row, as many as there are headings.
    """
    lines = [headings, ["---", *["--:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def format_number(value: float) -> str:
    """Return a number with at least three significant digits and a thousands separator."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def format_percent(share: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def format_count(count: int, noun: str) -> str:
    """Return a number with a noun in singular or plural, such as `32 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_quartiles(quartiles: Mapping[str, float | None] | None) -> str:
    """Return a median with its quartiles in brackets; a dash if there is none."""
    if quartiles is None or quartiles["median"] is None:
        return NO_VALUE
    values = [quartiles[name] for name in ("median", "low", "high")]
    median, low, high = (NO_VALUE if value is None else format_number(value) for value in values)
    return f"{median} ({low}–{high})"


def fill_marker(text: str, name: str, content: str) -> str:
    """Return the text with new content between the markers of a name.

    Args:
        text: Text that contains `<!-- benchmarks: NAME -->` once, and `<!-- end -->` after it.
        name: Name in the marker.
        content: New content.

    Raises:
        ValueError: If the markers do not occur exactly once.
    """
    start = f"<!-- benchmarks: {name} -->"
    if text.count(start) != 1 or END_MARKER not in text.split(start)[1]:
        raise ValueError(
            f"expected one {start} with {END_MARKER} after it; "
            f"got {text.count(start)}; put them around the place of the table"
        )
    before, rest = text.split(start)
    after = rest.split(END_MARKER, 1)[1]
    return f"{before}{start}\n\n{content}\n\n{END_MARKER}{after}"
