"""The matrix: decode binary numbers into the one float32 input of an all-numbers model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES, Arrays, are_gaps
from serving.codec.input_schema import Fields, PreciseField
from serving.codec.quoting import quoted
from serving.codec.validation import NUMBERS, check_numbers, in_turns, refuse

EXACT_INTEGER_BYTES = 4  # of integers that a float64 holds, all of them


def inputs_of_matrix(numbers: NDArray[Any], fields: Fields) -> Arrays:
    """Return the graph's `features` input; a view of `numbers` where that is possible.

    Args:
        numbers: `(n, len(fields))`, floats, integers or booleans of any byte order and layout.
        fields: Columns of a model that are all float32 numbers or booleans.

    Returns:
        `features`, float32 `(n, len(fields))`. NaN is a gap where the graph fills one.

    Raises:
        InvalidInstancesError: If a column refuses a number; the message names both.
    """
    if fields.gap_numbers:
        numbers = _without_gap_numbers(numbers, fields)
    rows = _as_float32(numbers)
    step = max(NUMBERS // len(fields), 1)
    for start in in_turns(range(0, len(rows), step), NUMBERS):
        part = rows[start : start + step]
        if not np.isfinite(part).all() or not fields.take(part):
            columns = numbers[start : start + step].T
            for field, column in zip(fields.columns, columns, strict=True):
                check_numbers(field, column, start)
    return {FEATURES: rows}


def _without_gap_numbers(numbers: NDArray[Any], fields: Fields) -> NDArray[np.float64]:
    """Return the numbers with NaN for those that stand for a gap in their column."""
    found = numbers.astype(np.float64)
    step = max(NUMBERS // len(fields), 1)
    for start in in_turns(range(0, len(found), step), NUMBERS):
        part = slice(start, start + step)
        for place, field in enumerate(fields.columns):
            found[part, place][are_gaps(numbers[part, place], field.gap_numbers)] = np.nan
    return found


def _as_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    if numbers.dtype == np.float32 and numbers.flags.c_contiguous and numbers.flags.aligned:
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses infinities
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize > EXACT_INTEGER_BYTES:
            # JSON numbers become float64 first; rounding twice can differ from rounding once.
            numbers = numbers.astype(np.float64)
        return numbers.astype(np.float32, order="C")


def require_numbers_alone(fields: Fields, form: str) -> None:
    """Refuse a body format that holds one float32 matrix, for a model that does not take one.

    Args:
        fields: Columns of the model.
        form: Body format of the request, such as `.npy`, for the message.

    Raises:
        InvalidInstancesError: If a column is neither a float32 number nor a boolean.
    """
    if not fields.all_numbers:
        precise = [field.name for field in fields.columns if isinstance(field, PreciseField)]
        why = "this model's columns are of several types"
        if precise:
            why = f"this model reads {quoted(precise[0])} in float64, as an input of its own"
        refuse(
            f"expected records, since {why}; got {form}; send JSON, CSV or an Arrow stream, or "
            f"each column as a tensor"
        )
