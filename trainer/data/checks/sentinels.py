"""Sentinels: numbers and dates such as -9999 that stand for a value which is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Numbers that people write for a gap. Of those of one digit, which are ordinary numbers as well,
# more is asked.
NINES = (*(-(10.0**n - 1) for n in range(2, 10)), *(10.0**n - 1 for n in range(3, 10)))
SMALL = (-1.0, -9.0)
DATES = (
    "0001-01-01",
    "1753-01-01",
    "1899-12-30",
    "1899-12-31",
    "1900-01-01",
    "1970-01-01",
    "2099-12-31",
    "2999-12-31",
    "9999-12-31",
)
# Distance from all other values, in ranges of theirs: of large negative numbers and of dates, of
# small numbers, of large ones, which may also be where a scale ends, and of what is there once.
APART, SMALL_APART, LARGE_APART, ALONE = 0.25, 1.0, 3.0, 10.0
FEWEST_OTHERS, FEWEST_BESIDE_SMALL = 3, 10  # different values, below which nothing is far outside
DAY = 86_400  # seconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST = 4  # sentinels of one column


@dataclass(frozen=True)
class Sentinel:
    """A value of a column that stands apart from all others.

    Attributes:
        written: Value, as people write it.
        rows: Number of rows that have it.
        low: Smallest of the other values.
        high: Largest of the other values.
    """

    written: str
    rows: int
    low: str
    high: str


def find_sentinels(values: NDArray[Any], *, dates: bool = False) -> list[Sentinel]:
    """Return the sentinels of a column, of which there are most often none.

    Args:
        values: Floats of the training rows, `(n,)`, NaN for a gap.
        dates: Whether they are seconds since 1970-01-01 UTC.
    """
    there = values[np.isfinite(values)]
    if dates:
        there = np.floor(there / DAY) * DAY
    different, rows = np.unique(there, return_counts=True)
    known = _dates() if dates else _numbers(different.dtype.type)
    found: list[Sentinel] = []
    low, high = 0, len(different)
    while high - low > FEWEST_OTHERS and len(found) < MOST:
        for at, rest in ((low, slice(low + 1, high)), (high - 1, slice(low, high - 1))):
            value, others = float(different[at]), different[rest].astype(np.float64)
            if value in known and _stands_apart(value, int(rows[at]), others, dates=dates):
                shown = _day if dates else _number
                found.append(
                    Sentinel(known[value], int(rows[at]), shown(others[0]), shown(others[-1]))
                )
                low, high = rest.start, rest.stop
                break
        else:
            break
    # The first was measured with the others among the rest.
    return [_with_range(each, found[-1]) for each in found]


def _with_range(each: Sentinel, last: Sentinel) -> Sentinel:
    return Sentinel(each.written, each.rows, last.low, last.high)


def _stands_apart(value: float, rows: int, others: NDArray[np.float64], *, dates: bool) -> bool:
    if not dates and value in SMALL and len(others) < FEWEST_BESIDE_SMALL:
        return False
    gap = min(abs(value - others[0]), abs(value - others[-1]))
    needed = APART
    if value in SMALL and not dates:
        needed = SMALL_APART
    elif value > 0 and not dates:
        needed = LARGE_APART
    if rows == 1:
        needed = ALONE
    return bool(gap >= needed * (others[-1] - others[0]))


def _numbers(kind: type[np.floating[Any]]) -> dict[float, str]:
    return {float(kind(number)): f"{number:.0f}" for number in (*NINES, *SMALL)}


def _dates() -> dict[float, str]:
    def seconds(text: str) -> float:
        return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH).total_seconds()

    return {seconds(text): text for text in DATES}


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()


def _number(value: float) -> str:
    return f"{value:g}"


def in_words(found: list[Sentinel]) -> Iterator[str]:
    """Yield each sentinel with its count, and at the end the range of the rest."""
    for each in found:
        yield f"{each.written} in {each.rows:,} row{'s' * (each.rows != 1)}"
    if found:
        yield f"the rest {found[-1].low} to {found[-1].high}"
