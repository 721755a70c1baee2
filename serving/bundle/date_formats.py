"""Parse the texts and numbers of a date column into seconds since 1970-01-01 UTC.

The format of a column (`DateColumn.format` in the manifest) is `iso8601`, a unit of numbers since
1970-01-01 UTC, or a strptime format. A date in the format `%Y%m%d`, the basic form of ISO 8601, may
be a text or a whole number (20240517). Training, batch scoring and the server all parse with these
functions, so that a record means the same moment in each of them.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle.date_texts import parse_strptime_date, require_strptime_format
from serving.bundle.dates import (
    END_DATE_SECONDS,
    EPOCH,
    MIN_DATE_SECONDS,
    SECONDS_PER_DAY,
    add_decimal_fraction,
    ticks_to_seconds,
)

ISO8601 = "iso8601"
BASIC_DATE = "%Y%m%d"  # ISO 8601's basic form of a date
# Units of numbers since 1970-01-01 UTC, with the number of ticks in a second.
DATE_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
TICKS_LIMIT = 2.0**63  # the first number of ticks that is too large for an int64
MAX_FRACTION_DIGITS = 32  # digits of a second's fraction; a float64 distinguishes far fewer
# The quantifiers are possessive, so that a long text is rejected in a single pass. The group of the
# first two patterns is the fraction of a second.
EXTENDED_PATTERN = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.(\d++))?)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
BASIC_TIME_PATTERN = re.compile(
    r"\d{8}T\d{4}(?:\d{2}(?:\.(\d++))?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?", re.ASCII
)
# Programs that keep gaps as NaN write whole numbers as floats: "20240517.0".
BASIC_DATE_PATTERN = re.compile(r"(\d{8})(?:\.0++)?", re.ASCII)
WHOLE_NUMBER_PATTERN = re.compile(r"([+-]?\d{1,20})(?:\.0++)?", re.ASCII)
NUMBER_PATTERN = re.compile(r"[+-]?(?:\d{1,20}(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d{1,3})?", re.ASCII)


def parse_date_text(text: str, format: str) -> float | None:  # noqa: A002 -- the manifest's word
    """Parse a text in exactly one format.

    Args:
        text: Text without white space around it. Without a time zone it means UTC.
        format: Format of the column. A caller that also accepts ISO 8601 parses that separately.

    Returns:
        Seconds since 1970-01-01 UTC; None if the text does not match the format, or its year is
        not from 1 to 9999.
    """
    if format == ISO8601:
        return _parse_iso8601(text)
    if format == BASIC_DATE:
        found = BASIC_DATE_PATTERN.fullmatch(text)
        return _parse_datetime(found[1], "") if found else None
    if format in DATE_UNITS:
        if whole := WHOLE_NUMBER_PATTERN.fullmatch(text):
            return parse_date_number(int(whole[1]), format)
        return parse_date_number(float(text), format) if NUMBER_PATTERN.fullmatch(text) else None
    return parse_strptime_date(text, format)


def require_date_format(format: str) -> None:  # noqa: A002
    """Check that a format is one that this module can parse.

    Raises:
        ValueError: If the format is not `iso8601`, a unit of numbers or a supported strptime
            format.
    """
    if format in (ISO8601, *DATE_UNITS):
        return
    if "%" not in format:
        raise ValueError(
            f"expected {ISO8601}, {', '.join(DATE_UNITS)}, or a format like %d/%m/%Y; got "
            f"{format!r}"
        )
    require_strptime_format(format)


def parse_date_number(number: float, format: str) -> float | None:  # noqa: A002
    """Parse a number in the format of a column.

    Args:
        number: Any integer or float except a boolean; NaN and infinity are allowed.
        format: Format of the column. With `iso8601` and strptime formats, numbers are seconds.

    Returns:
        Seconds since 1970-01-01 UTC; None if the number is not a moment of the years 1 to 9999.
    """
    if not isinstance(number, int) and not math.isfinite(number):
        return None
    if format == BASIC_DATE:
        is_day = number == int(number) and 0 < number < 10_000_01_01
        return _parse_datetime(f"{int(number):08d}", "") if is_day else None
    ticks = DATE_UNITS.get(format, 1)
    if (
        not MIN_DATE_SECONDS * ticks <= number < END_DATE_SECONDS * ticks
        or abs(number) >= TICKS_LIMIT
    ):
        return None
    if ticks == 1 or number != int(number):
        return number / ticks + 0.0  # makes 0.0 of -0.0, as `parse_date_numbers` does
    return float(ticks_to_seconds(np.array([int(number)]), ticks)[0])


def parse_date_numbers(numbers: NDArray[Any], format: str) -> NDArray[np.float64]:  # noqa: A002
    """Parse many numbers as `parse_date_number` parses one.

    Args:
        numbers: Integers, or floats where NaN is a gap, `(n,)`.
        format: Format of the column, see `parse_date_number`.

    Returns:
        Seconds since 1970-01-01 UTC, float64 `(n,)`; NaN for a gap, and for a number that is not a
        moment of the years 1 to 9999.
    """
    if numbers.dtype.kind not in "iu":
        numbers = numbers.astype(np.float64)
    ticks, limit = DATE_UNITS.get(format, 1), int(TICKS_LIMIT)
    # The bounds are integers because NumPy rounds integer arrays before it compares them with a
    # float64.
    low = max(int(MIN_DATE_SECONDS) * ticks, -limit)
    end = min(int(END_DATE_SECONDS) * ticks, limit)
    if format == BASIC_DATE:
        low, end = 1_01_01, 10_000_01_01
    in_range = (numbers >= low) & (numbers < end) & (numbers > -limit)
    checked = np.where(in_range, numbers, numbers.dtype.type(0))
    whole = checked.astype(np.int64)
    if format == BASIC_DATE:
        days, is_day = _parse_basic_dates(whole)
        return np.where(in_range & is_day & (whole == checked), days, np.nan)
    seconds = np.where(whole == checked, ticks_to_seconds(whole, ticks), checked / ticks)
    return np.where(in_range, seconds, np.nan)


def _parse_basic_dates(digits: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the seconds of dates written like 20230318, and a mask of those that exist."""
    year, month, day = digits // 10_000, digits // 100 % 100, digits % 100
    first = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    starts, ends = (
        months.astype("datetime64[D]").astype(np.int64) for months in (first, first + 1)
    )
    is_day = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= ends - starts)
    return ((starts + day - 1) * SECONDS_PER_DAY).astype(np.float64), is_day


def encode_date_number(seconds: float, format: str) -> float:  # noqa: A002
    """Return a moment as a number in a column's format, or with `%Y%m%d` the number of its day.

    Args:
        seconds: Seconds since 1970-01-01 UTC.
        format: Format of the column.
    """
    if format == BASIC_DATE:
        return float(f"{EPOCH + timedelta(seconds=seconds):%Y%m%d}")
    return seconds * DATE_UNITS.get(format, 1)


def describe_date_numbers(format: str) -> str:  # noqa: A002
    """Describe in words what the numbers of a column with this format mean."""
    if format == BASIC_DATE:
        return "a day such as 20240517"
    unit = format if format in DATE_UNITS else "seconds"
    return f"a number of {unit} since 1970-01-01 UTC"


def is_iso8601(text: str) -> bool:
    """Return whether a text is a date in ISO 8601, in any year."""
    if not EXTENDED_PATTERN.fullmatch(text) and not BASIC_TIME_PATTERN.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _parse_iso8601(text: str) -> float | None:
    found = EXTENDED_PATTERN.fullmatch(text) or BASIC_TIME_PATTERN.fullmatch(text)
    return _parse_datetime(text, found[1] or "") if found else None


def _parse_datetime(text: str, fraction: str) -> float | None:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = (date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH
    seconds = add_decimal_fraction(
        since.days * SECONDS_PER_DAY + since.seconds, fraction[:MAX_FRACTION_DIGITS]
    )
    return seconds if MIN_DATE_SECONDS <= seconds < END_DATE_SECONDS else None
