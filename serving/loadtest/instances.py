"""Rows to ask about: drawn from what the server says of its columns, or read from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from serving.loadtest.target import LoadTarget, SchemaColumn

Value = float | str | bool | None
Row = dict[str, Value]

GAP_SHARE = 0.1  # share of gaps where they are permitted
SIGNIFICANT_DIGITS = {"float32": 6, "float64": 15}  # of a number that is drawn
TICKS_PER_SECOND = {
    "milliseconds": 10**3,
    "microseconds": 10**6,
    "nanoseconds": 10**9,
}  # of a second
BASIC_DATE_FORMAT = "%Y%m%d"  # the format of days that are written as numbers
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def generate_instances(target: LoadTarget, count: int, rng: np.random.Generator) -> list[Row]:
    """Rows that the model takes, as varied as it tells.

    Numbers and dates are uniform over the range of the training rows, categories and truths come
    equally often, and a tenth of the values are gaps where gaps are filled.

    Args:
        target: whose columns they are of.
        count: of rows.
        rng: what draws them.
    """
    drawn = {column.name: _generate_column(column, count, rng) for column in target.columns}
    return [dict(zip(drawn, values, strict=True)) for values in zip(*drawn.values(), strict=True)]


def _generate_column(column: SchemaColumn, count: int, rng: np.random.Generator) -> list[Value]:
    """The values of a column, gaps among them."""
    there = rng.random(count) >= GAP_SHARE if column.fills_gaps else np.ones(count, np.bool_)
    values = iter(_generate_values(column, int(there.sum()), rng))
    return [next(values) if is_there else None for is_there in there]


def _generate_values(column: SchemaColumn, count: int, rng: np.random.Generator) -> Sequence[Value]:
    match column.kind:
        case "number":
            return _generate_numbers(column, count, rng)
        case "date":
            return _generate_dates(column, count, rng)
        case "boolean":
            return _cycle_shuffled((True, False), count, rng)
        case "category":
            return _cycle_shuffled(column.categories, count, rng)


def _cycle_shuffled(choices: Sequence[Value], count: int, rng: np.random.Generator) -> list[Value]:
    """All of the choices before any comes again, in an order of chance."""
    places: list[int] = []
    while len(places) < count:
        places += rng.permutation(len(choices)).tolist()
    return [choices[place] for place in places[:count]]


def _generate_numbers(column: SchemaColumn, count: int, rng: np.random.Generator) -> list[Value]:
    low, high = float(column.minimum or 0), float(column.maximum or 0)
    drawn = rng.uniform(low, high, count).tolist()
    if column.whole:
        return [min(max(round(value), math.ceil(low)), math.floor(high)) for value in drawn]
    digits = SIGNIFICANT_DIGITS[column.dtype]
    # As a client has them from a table, and not with all the digits of a float64.
    return [min(max(float(f"{value:.{digits}g}"), low), high) for value in drawn]


def _generate_dates(column: SchemaColumn, count: int, rng: np.random.Generator) -> list[Value]:
    earliest, latest = str(column.minimum), str(column.maximum)
    days = len(earliest) == len(latest) == len("2024-05-17")
    step = 86400 if days else 1  # seconds
    low = math.ceil(to_epoch_seconds(earliest) / step)
    high = max(math.floor(to_epoch_seconds(latest) / step), low)  # both may be within one second
    drawn = rng.integers(low, high, count, endpoint=True).tolist()
    moments = [EPOCH + timedelta(seconds=number * step) for number in drawn]
    return [(moment.date() if days else moment).isoformat() for moment in moments]


def to_epoch_seconds(text: str) -> float:
    """Seconds since 1970-01-01 UTC of a date in ISO 8601; one without a zone is UTC."""
    date = datetime.fromisoformat(text)
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH).total_seconds()


def date_to_number(text: str, column: SchemaColumn) -> float:
    """Return a date as the number that a tensor of its column has: in seconds, or as it says.

    Args:
        text: Date in ISO 8601, or a number in the column's format.
        column: The column.
    """
    if not is_iso8601(text):
        return float(text)
    if column.format == BASIC_DATE_FORMAT:
        return float(f"{EPOCH + timedelta(seconds=to_epoch_seconds(text)):%Y%m%d}")
    return to_epoch_seconds(text) * TICKS_PER_SECOND.get(column.format, 1)


def is_iso8601(text: str) -> bool:
    """Return whether a text is a date in ISO 8601."""
    if text.isdecimal():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
