"""The matrix: numbers that came in binary, to the one vector a row that a graph of numbers takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES, Arrays
from serving.codec.columns import refuse
from serving.codec.fields import BooleanField, Fields

KINDS = "fiub"  # of dtypes: floats, integers with and without sign, truths


def inputs_of_matrix(numbers: NDArray[Any], fields: Fields) -> Arrays:
    """The graph's input of numbers; a view of them where that is possible.

    Args:
        numbers: `(n, len(fields))`, of a dtype in `KINDS`, of any byte order and layout.
        fields: of a model whose columns are all numbers and booleans.

    Returns:
        `features`, float32 `(n, len(fields))`. NaN is a gap where the graph fills one.

    Raises:
        InvalidInstancesError: a number is not what its column takes; the message says which.
    """
    rows = _as_float32(numbers)
    if not np.isfinite(rows).all() or not fields.take(rows):
        _refuse_strange(numbers, rows, fields)
    return {FEATURES: rows}


def _as_float32(numbers: NDArray[Any]) -> NDArray[np.float32]:
    if numbers.dtype == np.float32:
        return np.require(numbers, np.float32, ("C", "A"))
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32, order="C")


def _refuse_strange(numbers: NDArray[Any], rows: NDArray[np.float32], fields: Fields) -> None:
    """Refuse the first number that its column does not take, if there is one."""
    wrong = ~np.isfinite(rows)
    for place, field in enumerate(fields.columns):
        column = rows[:, place]
        if isinstance(field, BooleanField):
            wrong[:, place] = (column != 0) & (column != 1)
        if field.fills_gaps:
            wrong[:, place] &= ~np.isnan(column)
    if wrong.any():
        instance, place = divmod(int(np.flatnonzero(wrong)[0]), len(fields))
        field, came = fields.columns[place], numbers[instance, place]
        refuse(
            f"expected {field.expected} in instance {instance}, field {field.name!r} (position "
            f"{place}); got {_words(came)}",
            instance=instance,
            field=field.name,
            position=place,
        )


def _words(number: Any) -> str:
    if np.isnan(number):
        return "NaN, and the model fills no gap here"
    if np.isfinite(number) and abs(float(number)) > np.finfo(np.float32).max:
        return "a number that float32 cannot hold"
    return f"the number {number}"


def require_numbers_alone(fields: Fields, form: str) -> None:
    """Refuse a form that only numbers can have.

    Args:
        fields: the model's columns.
        form: that came.

    Raises:
        InvalidInstancesError: a column is of another type.
    """
    if not fields.all_numbers:
        refuse(
            f"expected records, since this model's columns are of several types; got {form}; send "
            f"JSON, CSV or an Arrow stream"
        )
