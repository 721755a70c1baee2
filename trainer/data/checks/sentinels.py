"""Checks for sentinels: numbers and dates such as -9999 that stand for a missing value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.checks.finding import Details
from trainer.data.checks.sample import TableSample

# Numbers that people write for a missing value: −99 to −999,999,999 and 999 to 999,999,999.
LARGE_SENTINELS = (*(-(10.0**n - 1) for n in range(2, 10)), *(10.0**n - 1 for n in range(3, 10)))
# Numbers of one digit are ordinary values as well, so that they must be further outside.
SMALL_SENTINELS = (-1.0, -9.0)
DATE_SENTINELS = (
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
# Distance to the nearest other value, as a multiple of the range of all other values.
MIN_DISTANCE = 0.25  # of large negative numbers and of dates
MIN_SMALL_DISTANCE = 1.0
MIN_POSITIVE_DISTANCE = 3.0  # large positive numbers may also be where a scale ends
MIN_SINGLE_DISTANCE = 10.0  # of a value that occurs once
# Different other values: with fewer, nothing counts as far outside.
MIN_OTHER_VALUES, MIN_OTHER_VALUES_SMALL = 3, 10
MAX_SENTINELS = 4  # of one column
DAY = 86_400  # seconds
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sentinel:
    """A value of a column that is far outside all others.

    Attributes:
        text: Value, as people write it.
        rows: Number of rows that have it.
        low: Smallest of the other values.
        high: Largest of the other values.
    """

    text: str
    rows: int
    low: str
    high: str


def find_sentinel_columns(sample: TableSample) -> Details:
    """Return the columns of numbers and dates that have sentinels; also a target of quantities."""
    found = {}
    for column, values in sample.columns:
        if column.kind in ("number", "precise", "date"):
            sentinels = find_sentinels(values, dates=column.kind == "date")
            if sentinels:
                found[column.name] = f"{column.name} ({describe_sentinels(sentinels)})"
    table = sample.table
    if table.task == "regression":
        for name, values in zip(table.target_names, table.target.T, strict=True):
            if sentinels := find_sentinels(values[sample.rows]):
                found[name] = f"the target {name} ({describe_sentinels(sentinels)})"
    return found


def find_sentinels(values: NDArray[Any], *, dates: bool = False) -> list[Sentinel]:
    """Return the sentinels of a column; most columns have none.

    Args:
        values: Floats of the training rows, `(n,)`, NaN for a gap.
        dates: Whether they are seconds since 1970-01-01 UTC.
    """
    present = values[np.isfinite(values)]
    if dates:
        present = np.floor(present / DAY) * DAY
    distinct, rows = np.unique(present, return_counts=True)
    texts = _date_sentinels() if dates else _number_sentinels(distinct.dtype.type)
    found: list[Sentinel] = []
    low, high = 0, len(distinct)
    while high - low > MIN_OTHER_VALUES and len(found) < MAX_SENTINELS:
        for place, rest in ((low, slice(low + 1, high)), (high - 1, slice(low, high - 1))):
            value, others = float(distinct[place]), distinct[rest].astype(np.float64)
            if value in texts and _is_far_outside(value, int(rows[place]), others, dates=dates):
                show = _format_day if dates else _format_number
                found.append(
                    Sentinel(texts[value], int(rows[place]), show(others[0]), show(others[-1]))
                )
                low, high = rest.start, rest.stop
                break
        else:
            break
    # The range of the first one still contains the others; that of the last one contains none.
    return [replace(sentinel, low=found[-1].low, high=found[-1].high) for sentinel in found]


def _is_far_outside(value: float, rows: int, others: NDArray[np.float64], *, dates: bool) -> bool:
    """Return whether a value is so far from the others that it cannot be one of them.

    Args:
        value: The number, or the date in seconds.
        rows: Number of rows that have it.
        others: All other values, float64, in ascending order.
        dates: Whether the values are dates.
    """
    is_small = not dates and value in SMALL_SENTINELS
    if is_small and len(others) < MIN_OTHER_VALUES_SMALL:
        return False
    min_distance = MIN_DISTANCE
    if is_small:
        min_distance = MIN_SMALL_DISTANCE
    elif value > 0 and not dates:
        min_distance = MIN_POSITIVE_DISTANCE
    if rows == 1:
        min_distance = MIN_SINGLE_DISTANCE
    distance = min(abs(value - others[0]), abs(value - others[-1]))
    return bool(distance >= min_distance * (others[-1] - others[0]))


def _number_sentinels(dtype: type[np.floating[Any]]) -> dict[float, str]:
    """Return the text of each number, by its value as a column of that dtype has it."""
    return {float(dtype(n)): f"{n:.0f}" for n in (*LARGE_SENTINELS, *SMALL_SENTINELS)}


def _date_sentinels() -> dict[float, str]:
    """Return the text of each date, by its seconds since 1970-01-01 UTC."""

    def seconds(text: str) -> float:
        return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH).total_seconds()

    return {seconds(text): text for text in DATE_SENTINELS}


def _format_day(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).date().isoformat()


def _format_number(value: float) -> str:
    return f"{value:g}"


def describe_sentinels(sentinels: list[Sentinel]) -> str:
    """Return each sentinel with its number of rows, and the range of the other values."""
    texts = [f"{each.text} in {each.rows:,} row{'s' * (each.rows != 1)}" for each in sentinels]
    return ", ".join([*texts, f"the rest {sentinels[-1].low} to {sentinels[-1].high}"])
