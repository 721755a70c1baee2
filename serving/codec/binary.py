"""The matrix: decode binary numbers into the one float32 input of an all-numbers model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, are_gap_numbers
from serving.codec.input_schema import Float64Validator, InputSchema
from serving.codec.quoting import quote_text
from serving.codec.validation import (
    NUMBERS_PER_BLOCK,
    iterate_cooperatively,
    refuse_instances,
    validate_numbers,
)

MAX_EXACT_INTEGER_BYTES = 4  # of integers that a float64 holds, all of them


def build_matrix_inputs(numbers: NDArray[Any], fields: InputSchema) -> Arrays:
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
        numbers = _replace_gap_numbers(numbers, fields)
    rows = _to_float32(numbers)
    step = max(NUMBERS_PER_BLOCK // len(fields), 1)
    for start in iterate_cooperatively(range(0, len(rows), step), NUMBERS_PER_BLOCK):
        part = rows[start : start + step]
        if not np.isfinite(part).all() or not fields.take(part):
            columns = numbers[start : start + step].T
            for field, column in zip(fields.columns, columns, strict=True):
                validate_numbers(field, column, start)
    return {FEATURES_INPUT: rows}


def _replace_gap_numbers(numbers: NDArray[Any], fields: InputSchema) -> NDArray[np.float64]:
    """Return the numbers with NaN for those that stand for a gap in their column."""
    found = numbers.astype(np.float64)
    step = max(NUMBERS_PER_BLOCK // len(fields), 1)
    for start in iterate_cooperatively(range(0, len(found), step), NUMBERS_PER_BLOCK):
        part = slice(start, start + step)
        for place, field in enumerate(fields.columns):
            found[part, place][are_gap_numbers(numbers[part, place], field.gap_numbers)] = np.nan
    return found


def _to_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    if numbers.dtype == np.float32 and numbers.flags.c_contiguous and numbers.flags.aligned:
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):  # the caller refuses infinities
        if numbers.dtype.kind in "iu" and numbers.dtype.itemsize > MAX_EXACT_INTEGER_BYTES:
            # JSON numbers become float64 first; rounding twice can differ from rounding once.
            numbers = numbers.astype(np.float64)
        return numbers.astype(np.float32, order="C")


def require_numeric_columns(fields: InputSchema, form: str) -> None:
    """Refuse a body format that holds one float32 matrix, for a model that does not take one.

    Args:
        fields: Columns of the model.
        form: Body format of the request, such as `.npy`, for the message.

    Raises:
        InvalidInstancesError: If a column is neither a float32 number nor a boolean.
    """
    if not fields.all_numbers:
        precise = [field.name for field in fields.columns if isinstance(field, Float64Validator)]
        why = "this model's columns are of several types"
        if precise:
            why = f"this model reads {quote_text(precise[0])} in float64, as an input of its own"
        refuse_instances(
            f"expected records, since {why}; got {form}; send JSON, CSV or an Arrow stream, or "
            f"each column as a tensor"
        )
