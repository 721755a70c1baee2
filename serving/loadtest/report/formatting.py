"""Wording: numbers as people read them, and foreign text as a terminal may show it."""

from __future__ import annotations

import math

from serving.loadtest.server_metrics import PercentileBounds
from serving.loadtest.statistics import TimeDistribution

NO_VALUE = "–"
MAX_TEXT_CHARACTERS = 300  # characters of a sentence of which the server said a part


def format_milliseconds(seconds: float) -> str:
    """Three digits that count, without the unit: `0.421`, `42.1`, `1,250`."""
    if not math.isfinite(seconds):
        return NO_VALUE
    value = 1000 * seconds
    places = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{min(places, 3)}f}"


def format_percentile(times: TimeDistribution, name: str) -> str:
    """One of those that are always told, in milliseconds; with a star if it rests on few."""
    told = format_milliseconds(times.percentiles[name])
    return f"{told}*" if told != NO_VALUE and name in times.few else told


def format_duration(seconds: float) -> str:
    """With the unit that fits: `421 µs`, `42.1 ms`, `1.25 s`."""
    if not math.isfinite(seconds):
        return NO_VALUE
    if seconds < 0.9995e-3:
        return f"{1e6 * seconds:.0f} µs"
    return f"{format_milliseconds(seconds)} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def format_rate(value: float | None) -> str:
    """A second, with a decimal where that is more than noise: `1,234`, `12.3`."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    return f"{value:,.0f}" if value >= 100 or value.is_integer() else f"{value:.1f}"


def format_percent(share: float) -> str:
    """Of a hundred; what is not 0 is never shown as such."""
    if not share:
        return "0 %"
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.3g} %"


def format_count(n: int, what: str) -> str:
    """With its noun in the right number: `1 row`, `2,000 rows`."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def format_bounds(found: PercentileBounds | None) -> str:
    """Bounds in milliseconds: `0.25–0.5`, `> 10,000`."""
    if found is None:
        return NO_VALUE
    low = f"{1000 * found.low:,g}"
    return f"{low}–{1000 * found.high:,g}" if math.isfinite(found.high) else f"> {low}"


def escape_text(text: str) -> str:
    """Text of others in one line: nothing a terminal would take for more than text."""
    short = text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[: MAX_TEXT_CHARACTERS - 1]}…"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short)
