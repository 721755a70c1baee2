"""Dates that are written as numbers: `1679097600000` or `20230318`, and which format that is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.bundle import BASIC_DATE, DATE_UNITS, parse_date_numbers

NUMERIC = (BASIC_DATE, *DATE_UNITS)  # formats that numbers have

# The first and the last second at which a number is taken for a moment of our time.
FIRST_PLAUSIBLE, LAST_PLAUSIBLE = 631_152_000.0, 4_102_444_800.0  # 1990-01-01, 2100-01-01
FIRST_DAY, LAST_DAY = 19_000_101.0, 21_001_231.0  # as the basic form writes them


def numbers_to_dates(array: pa.Array, format: str) -> NDArray[np.float64] | None:  # noqa: A002
    """Read a column of numbers, or of texts of numbers, by a format of numbers.

    Args:
        array: Integers, floats, or texts without spaces around them, `(n,)`; null is a gap.
        format: A unit, such as "milliseconds", or `%Y%m%d`.

    Returns:
        Seconds since 1970-01-01 UTC, float64 `(n,)`, NaN for a gap; None if a value is none of the
        format.
    """
    known = _integers(array)
    if known is None:
        try:
            known = array.cast(pa.float64(), safe=False)
        except pa.ArrowException:
            return None
    there = known.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(known.type):
        there &= ~np.isnan(known.to_numpy(zero_copy_only=False))
    found = parse_date_numbers(known.fill_null(0).to_numpy(zero_copy_only=False), format)
    found = np.where(there, found, np.nan)
    return None if np.isnan(found[there]).any() else found


def are_days(values: NDArray[np.float64]) -> bool:
    """Whether all numbers `(n,)`, NaN aside, are days of the years 1900 to 2100, `20230318`."""
    there = values[~np.isnan(values)]
    if not ((there >= FIRST_DAY) & (there <= LAST_DAY)).all():
        return False
    return not np.isnan(parse_date_numbers(there, BASIC_DATE)).any()


def format_of(low: float, high: float, *, days: bool) -> str | None:
    """Return the format in which a column of numbers holds dates of our time.

    Args:
        low: Lowest value.
        high: Highest value.
        days: Whether all values are days as `are_days` has them.

    Returns:
        The one unit in which all values are of the years 1990 to 2099, or `%Y%m%d`; None if there
        is none.
    """
    if days:
        return BASIC_DATE
    for unit, ticks in DATE_UNITS.items():
        if FIRST_PLAUSIBLE * ticks <= low and high < LAST_PLAUSIBLE * ticks:
            return unit
    return None


def _integers(array: pa.Array) -> pa.Array | None:
    """The column in int64, which holds nanoseconds as float64 does not; None if it cannot be."""
    if not pa.types.is_integer(array.type) and not pa.types.is_string(array.type):
        return None
    if pa.types.is_string(array.type):
        if pc.any(pc.match_substring_regex(array, "[xX]")).as_py():
            return None  # Arrow would read 0x1F as 31, which is no number in any other column
        array = pc.replace_substring_regex(array, r"\.0*$", "")
    try:
        return array.cast(pa.int64())
    except pa.ArrowException:
        return None
