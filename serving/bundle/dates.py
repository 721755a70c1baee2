"""Dates as a graph takes them: seconds since 1970-01-01 UTC, of the years 1 to 9999.

The server and batch scoring both convert with these functions, so that a moment becomes the same
float64 in every file and body format.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MIN_DATE_SECONDS = -62135596800.0  # 0001-01-01T00:00:00Z, the first that ISO 8601 writes
END_DATE_SECONDS = 253402300800.0  # 10000-01-01T00:00:00Z, the first that it no longer writes
EXACT_TICKS_LIMIT = 2**53  # from here on a float64 does not hold every whole number


def ticks_to_seconds(ticks: NDArray[np.int64], per_second: int) -> NDArray[np.float64]:
    """Convert whole ticks to seconds, never across the end of a second.

    A product with 1e-9 puts some midnights on the day before, and a sum that is rounded to the
    nearest float64 can put 23:59:59.999999999 on the day after.

    Args:
        ticks: Ticks since 1970-01-01 UTC, int64 `(n,)`.
        per_second: Ticks of one second, such as 10**9 for nanoseconds.

    Returns:
        Seconds, float64 `(n,)`: the nearest float64 within the same second.
    """
    if per_second == 1:
        return ticks.astype(np.float64)
    whole, rest = np.divmod(ticks, per_second)
    seconds = ticks / per_second
    inexact = (ticks >= EXACT_TICKS_LIMIT) | (ticks <= -EXACT_TICKS_LIMIT)
    if inexact.any():
        seconds = np.where(inexact, whole + rest / per_second, seconds)
    following = whole + 1.0
    below: NDArray[np.float64] = np.nextafter(following, -np.inf)
    return np.where(seconds >= following, below, seconds)


def add_decimal_fraction(whole: int, digits: str) -> float:
    """Return the seconds of a whole second and the decimal digits behind its point.

    Args:
        whole: Whole seconds since 1970-01-01 UTC, rounded down.
        digits: Digits of the fraction, such as "25" for a quarter; empty for none.
    """
    if not digits:
        return float(whole)
    unit = 10 ** len(digits)
    seconds: float = (whole * unit + int(digits)) / unit
    return min(seconds, math.nextafter(whole + 1, -math.inf))
