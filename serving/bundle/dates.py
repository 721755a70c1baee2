"""Convert dates to the graph's unit: seconds since 1970-01-01 UTC, in the years 1 to 9999.

The server and batch scoring both convert with these functions, so that a moment becomes the same
float64 in every file format and request format.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_PER_DAY = 86_400
MIN_DATE_SECONDS = -62135596800.0  # 0001-01-01T00:00:00Z, the first moment of ISO 8601
END_DATE_SECONDS = 253402300800.0  # 10000-01-01T00:00:00Z, the first moment that is too late
EXACT_TICKS_LIMIT = 2**53  # from here on a float64 cannot represent every whole number


def ticks_to_seconds(ticks: NDArray[np.int64], per_second: int) -> NDArray[np.float64]:
    """Convert whole ticks to seconds without rounding into another second.

    Multiplying by 1e-9 would move some midnights to the day before, and rounding a sum to the
    nearest float64 can move 23:59:59.999999999 to the day after.

    Args:
        ticks: Ticks since 1970-01-01 UTC, int64 `(n,)`.
        per_second: Number of ticks in a second, for example 10**9 for nanoseconds.

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
    """Return a number of seconds with its decimal fraction, never rounded up to the next second.

    Args:
        whole: Whole seconds since 1970-01-01 UTC, rounded down.
        digits: Digits after the decimal point, for example "25" for a quarter; empty for none.
    """
    if not digits:
        return float(whole)
    unit = 10 ** len(digits)
    seconds: float = (whole * unit + int(digits)) / unit
    return min(seconds, math.nextafter(whole + 1, -math.inf))
