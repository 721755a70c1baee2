"""Random instances that a model accepts, generated from its schema."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from serving.loadtest.target import LoadTarget, SchemaColumn

Value = float | str | bool | None
Row = dict[str, Value]

MISSING_SHARE = 0.1  # share of missing values in a column that accepts them
SIGNIFICANT_DIGITS = {"float32": 6, "float64": 15}
TICKS_PER_SECOND = {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
BASIC_DATE_FORMAT = "%Y%m%d"  # dates written as numbers, such as 20240517
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def generate_instances(target: LoadTarget, count: int, rng: np.random.Generator) -> list[Row]:
    """Generate instances that the model accepts.

    Numbers and dates are uniform over the range of the training data, all categories and both
    truth values are equally frequent, and a tenth of the values is missing where that is accepted.

    Args:
        target: Server and model.
        count: Number of instances.
        rng: NumPy random generator.
    """
    generated = {column.name: _generate_column(column, count, rng) for column in target.columns}
    rows = zip(*generated.values(), strict=True)
    return [dict(zip(generated, values, strict=True)) for values in rows]


def _generate_column(column: SchemaColumn, count: int, rng: np.random.Generator) -> list[Value]:
    """Generate the values of a column, None where one is missing."""
    present = (
        rng.random(count) >= MISSING_SHARE if column.accepts_missing else np.ones(count, np.bool_)
    )
    values = iter(_generate_values(column, int(present.sum()), rng))
    return [next(values) if is_present else None for is_present in present]


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
    """Return choices in random order, all of them before any is repeated."""
    indices: list[int] = []
    while len(indices) < count:
        indices += rng.permutation(len(choices)).tolist()
    return [choices[index] for index in indices[:count]]


def _generate_numbers(column: SchemaColumn, count: int, rng: np.random.Generator) -> list[Value]:
    low, high = float(column.minimum or 0), float(column.maximum or 0)
    numbers = rng.uniform(low, high, count).tolist()
    if column.is_whole:
        return [min(max(round(number), math.ceil(low)), math.floor(high)) for number in numbers]
    # Real tables do not hold all the digits of a float64, and longer numbers take longer to parse.
    digits = SIGNIFICANT_DIGITS[column.dtype]
    return [min(max(float(f"{number:.{digits}g}"), low), high) for number in numbers]


def _generate_dates(column: SchemaColumn, count: int, rng: np.random.Generator) -> list[Value]:
    earliest, latest = str(column.minimum), str(column.maximum)
    are_days = len(earliest) == len(latest) == len("2024-05-17")
    step = 86400 if are_days else 1  # seconds
    low = math.ceil(to_epoch_seconds(earliest) / step)
    high = max(math.floor(to_epoch_seconds(latest) / step), low)  # both may be within one second
    steps = rng.integers(low, high, count, endpoint=True).tolist()
    moments = [EPOCH + timedelta(seconds=number * step) for number in steps]
    return [(moment.date() if are_days else moment).isoformat() for moment in moments]


def to_epoch_seconds(text: str) -> float:
    """Convert a date in ISO 8601 to seconds since 1970-01-01 UTC; without a time zone, UTC."""
    date = datetime.fromisoformat(text)
    return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH).total_seconds()


def date_to_number(text: str, column: SchemaColumn) -> float:
    """Convert a date to the number that the tensor of its column holds.

    Args:
        text: Date in ISO 8601, or a number in the column's format.
        column: Column of kind "date".

    Returns:
        The number in the column's format, by default seconds since 1970-01-01 UTC.
    """
    if not is_iso8601(text):
        return float(text)
    if column.date_format == BASIC_DATE_FORMAT:
        return float(f"{EPOCH + timedelta(seconds=to_epoch_seconds(text)):%Y%m%d}")
    return to_epoch_seconds(text) * TICKS_PER_SECOND.get(column.date_format, 1)


def is_iso8601(text: str) -> bool:
    """Return whether a text is a date in ISO 8601, and not only digits."""
    if text.isdecimal():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
