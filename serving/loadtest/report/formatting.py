"""Format numbers for people, and escape foreign text for a terminal."""

from __future__ import annotations

import math

from serving.loadtest.server_metrics import PercentileBounds
from serving.loadtest.statistics import TimeDistribution

NO_VALUE = "–"
MAX_TEXT_CHARACTERS = 300  # longer texts, which the server may have written, are cut


def format_milliseconds(seconds: float) -> str:
    """Return milliseconds with three significant digits and no unit: `0.421`, `42.1`, `1,250`."""
    if not math.isfinite(seconds):
        return NO_VALUE
    value = 1000 * seconds
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(decimals, 3)}f}"


def format_percentile(times: TimeDistribution, name: str) -> str:
    """Return a percentile in milliseconds, with a star if it is uncertain."""
    text = format_milliseconds(times.percentiles[name])
    is_marked = text != NO_VALUE and name in times.uncertain_percentiles
    return f"{text}*" if is_marked else text


def format_duration(seconds: float) -> str:
    """Return a duration in a suitable unit: `421 µs`, `42.1 ms`, `1.25 s`."""
    if not math.isfinite(seconds):
        return NO_VALUE
    if seconds < 0.9995e-3:
        return f"{1e6 * seconds:.0f} µs"
    return f"{format_milliseconds(seconds)} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def format_rate(value: float | None) -> str:
    """Return a rate per second, with one decimal below 100: `1,234`, `12.3`."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    return f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.1f}"


def format_percent(share: float) -> str:
    """Return a share in percent; a share above 0 never looks like 0."""
    if not share:
        return "0 %"
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.3g} %"


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun in singular or plural: `1 row`, `2,000 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_bounds(bounds: PercentileBounds | None) -> str:
    """Return the bounds of a percentile in milliseconds: `0.25–0.5`, `> 10,000`."""
    if bounds is None:
        return NO_VALUE
    low = f"{1000 * bounds.low:,g}"
    return f"{low}–{1000 * bounds.high:,g}" if math.isfinite(bounds.high) else f"> {low}"


def escape_text(text: str) -> str:
    """Return foreign text in one line, without characters that a terminal would interpret."""
    is_short = len(text) <= MAX_TEXT_CHARACTERS
    short = text if is_short else f"{text[: MAX_TEXT_CHARACTERS - 1]}…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)
