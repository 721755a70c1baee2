"""Find the format of a column of dates, written as texts or as numbers, and read those numbers.

A number can be a date in a unit, such as `1679097600000` in milliseconds since 1970, or as days
such as `20230318`. For texts, `propose_date_formats` tries the common formats. `cell_parsing` reads
the cells once the format is known. A column of texts is a column of dates if all of its texts are
ISO 8601 dates, or match exactly one of these formats; `column_kinds.decide_kind` decides that.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.bundle import (
    BASIC_DATE,
    DATE_UNITS,
    MAX_DATE_CHARACTERS,
    parse_date_numbers,
    parse_date_text,
)

NUMERIC_FORMATS = (BASIC_DATE, *DATE_UNITS)

# Numbers of other years are not taken for dates, unless a format says that they are.
MIN_PLAUSIBLE_SECONDS, MAX_PLAUSIBLE_SECONDS = 631_152_000.0, 4_102_444_800.0  # 1990 to 2100
MIN_PLAUSIBLE_DAY, MAX_PLAUSIBLE_DAY = 19_000_101.0, 21_001_231.0  # as the basic form writes them

# Formats of days whose years have four digits. The same texts can match several of them, such as
# those with day and month in either order.
DAY_FORMATS = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%d %m %Y",
    "%Y/%m/%d",
    "%Y-%m-%d",
    "%Y.%m.%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d/%b/%Y",
    "%d. %b %Y",
    "%d%b%Y",
    "%b %d %Y",
    "%b %d, %Y",
    "%Y-%b-%d",
    "%d-%B-%Y",
    "%d %B %Y",
    "%d. %B %Y",
    "%B %d %Y",
    "%B %d, %Y",
    "%a %d %b %Y",
    "%a, %d %b %Y",
    "%A %d %B %Y",
    "%A, %d %B %Y",
    "%A, %B %d, %Y",
)
# The century is uncertain, and whether the texts are dates at all, so these are only proposed.
SHORT_YEAR_FORMATS = (
    "%d/%m/%y",
    "%m/%d/%y",
    "%y/%m/%d",
    "%d-%m-%y",
    "%m-%d-%y",
    "%y-%m-%d",
    "%d.%m.%y",
    "%d-%b-%y",
    "%d %b %y",
)
TIME_FORMATS = (
    "",
    " %H:%M",
    " %H:%M:%S",
    " %H:%M:%S.%f",
    " %I:%M %p",
    " %I:%M:%S %p",
    " %I:%M:%S.%f %p",
    "T%H:%M",
    "T%H:%M:%S",
    "T%H:%M:%S.%f",
    ", %H:%M",
    ", %H:%M:%S",
    " %H:%M%z",
    " %H:%M:%S%z",
    " %H:%M:%S %z",
)
TIME_OF_DAY = re.compile(r"(?:,? |T)\d{1,2}:\d{2}.*", re.ASCII)
MAX_TRIED_TEXTS = 20  # texts of a column that all formats are tried on
MIN_DATE_SHARE = 0.9  # share of a column's texts that must match, the others being mistakes


def convert_numbers_to_dates(array: pa.Array, format: str) -> NDArray[np.float64] | None:  # noqa: A002
    """Convert numbers, or texts of numbers, to dates.

    Args:
        array: Integers, floats, or texts without white space around them, `(n,)`; null is a gap.
        format: Unit, such as "milliseconds", or `%Y%m%d`.

    Returns:
        Seconds since 1970-01-01 UTC, float64 `(n,)`, NaN for a gap; None if a value is not a date
        in this format.
    """
    numbers = _try_cast_int64(array)
    if numbers is None:
        try:
            numbers = array.cast(pa.float64(), safe=False)
        except pa.ArrowException:
            return None
    is_value = numbers.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(numbers.type):
        is_value &= ~np.isnan(numbers.to_numpy(zero_copy_only=False))
    seconds = parse_date_numbers(numbers.fill_null(0).to_numpy(zero_copy_only=False), format)
    seconds = np.where(is_value, seconds, np.nan)
    return None if np.isnan(seconds[is_value]).any() else seconds


def are_basic_dates(values: NDArray[np.float64]) -> bool:
    """Return whether all numbers are days of the years 1900 to 2100, such as `20230318`.

    Args:
        values: Numbers, float64 `(n,)`; NaN is ignored.
    """
    numbers = values[~np.isnan(values)]
    if not ((numbers >= MIN_PLAUSIBLE_DAY) & (numbers <= MAX_PLAUSIBLE_DAY)).all():
        return False
    return not np.isnan(parse_date_numbers(numbers, BASIC_DATE)).any()


def find_numeric_format(low: float, high: float, *, are_days: bool) -> str | None:
    """Return the format in which the numbers of a column are dates of the years 1990 to 2099.

    Args:
        low: Lowest number.
        high: Highest number.
        are_days: Whether all numbers are days; see `are_basic_dates`.

    Returns:
        `%Y%m%d` for days, else the only unit that fits all numbers; None if there is none.
    """
    if are_days:
        return BASIC_DATE
    for unit, ticks in DATE_UNITS.items():
        if MIN_PLAUSIBLE_SECONDS * ticks <= low and high < MAX_PLAUSIBLE_SECONDS * ticks:
            return unit
    return None


@dataclass(frozen=True)
class DateProposal:
    """The formats in which a column of texts seems to write dates.

    Attributes:
        formats: Date formats that match the most texts, all of them equally many.
        example: Text that matches.
        others: Texts that do not match.
    """

    formats: tuple[str, ...]
    example: str
    others: tuple[str, ...]

    @property
    def is_certain(self) -> bool:
        """Whether all texts match a single format, whose years have four digits."""
        return not self.others and len(self.formats) == 1 and "%y" not in self.formats[0]

    def suggest_options(self, column: str) -> str:
        """Return the options by which a column is read as dates, for a message."""
        date = f"--date {shlex.quote(column)}"
        options = [
            f"{_describe_order(f) if len(self.formats) > 1 else ''}{date} --date-format "
            f"{shlex.quote(f'{column}={f}')}"
            for f in self.formats
        ]
        advice = f"{self.example!r}, {', or '.join(options)}"
        if self.others:
            examples = ", ".join(map(repr, self.others[:3]))
            more = f" and {len(self.others) - 3} more" if len(self.others) > 3 else ""
            advice += f", once the cells {examples}{more} are corrected or empty"
        return advice


def propose_date_formats(texts: Sequence[str]) -> DateProposal | None:
    """Return the formats in which most texts of a column are dates; None if there is none.

    Args:
        texts: Distinct texts of a column, trimmed, without gaps.
    """
    step = max(1, len(texts) // MAX_TRIED_TEXTS)
    candidates = _find_candidates(texts[::step][:MAX_TRIED_TEXTS])
    matches = {format_: _select_matching(texts, format_) for format_ in candidates}
    max_matches = max(map(len, matches.values()), default=0)
    if not max_matches:
        return None
    formats = tuple(f for f, matching in matches.items() if len(matching) == max_matches)
    matching = matches[formats[0]]
    others = tuple(text for text in texts if text not in matching)
    return DateProposal(formats, next(iter(matching)), others)


def _find_candidates(texts: Sequence[str]) -> list[str]:
    """Return the formats that match at least one of the texts, in the order of the constants."""
    candidates: dict[str, None] = {}
    for text in texts:
        if len(text) > MAX_DATE_CHARACTERS:
            continue
        match = TIME_OF_DAY.search(text)
        day, time = (text[: match.start()], match[0]) if match else (text, "")
        days = [f for f in (*DAY_FORMATS, *SHORT_YEAR_FORMATS) if _is_date(day, f)]
        times = [f for f in TIME_FORMATS if days and _is_date(f"2000-01-01{time}", f"%Y-%m-%d{f}")]
        candidates |= dict.fromkeys(d + t for d in days for t in times)
    return sorted(candidates, key=_get_order)


def _is_date(text: str, format: str) -> bool:  # noqa: A002
    """Return whether a text is a date in a format."""
    return parse_date_text(text, format) is not None


def _get_order(format: str) -> int:  # noqa: A002
    """Return the position of a format's day among the constants."""
    days = (*DAY_FORMATS, *SHORT_YEAR_FORMATS)
    return next(index for index, day in enumerate(days) if format.startswith(day))


def _select_matching(texts: Sequence[str], format: str) -> dict[str, None]:  # noqa: A002
    """Return the texts that match a format; empty unless they are `MIN_DATE_SHARE` of all."""
    n_mismatches, matching = 0, dict[str, None]()
    for text in texts:
        if _is_date(text, format):
            matching[text] = None
        elif (n_mismatches := n_mismatches + 1) > (1 - MIN_DATE_SHARE) * len(texts):
            return {}
    return matching


def _describe_order(format: str) -> str:  # noqa: A002
    """Return which of day and month comes first, for messages; "" if that is certain."""
    positions = {letter: format.lower().find(f"%{letter}") for letter in "dm"}
    if format.lower().startswith("%y") or min(positions.values()) < 0:
        return ""
    return f"{'day' if positions['d'] < positions['m'] else 'month'} first: "


def _try_cast_int64(array: pa.Array) -> pa.Array | None:
    """Return integers, or texts of them, as int64; None if they cannot be.

    Nanoseconds since 1970 are exact in int64, and not in float64.
    """
    if not pa.types.is_integer(array.type) and not pa.types.is_string(array.type):
        return None
    if pa.types.is_string(array.type):
        if pc.any(pc.match_substring_regex(array, "[xX]")).as_py():
            return None  # Arrow would read 0x1F as 31, unlike in a column of numbers
        array = pc.replace_substring_regex(array, r"\.0*$", "")
    try:
        return array.cast(pa.int64())
    except pa.ArrowException:
        return None
