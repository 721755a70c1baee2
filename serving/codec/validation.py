"""Validation of values by column, a block at a time, with an error that names instance and column.

Every decoder uses it. Other connections are served between two blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, concatenate_rows, pluralize
from serving.bundle.column_schema import ColumnSchema, WrongNumberError, WrongValueError
from serving.bundle.quoting import MAX_QUOTED_CHARACTERS, quote_text, suggest_similar_name
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.errors import InvalidInstancesError
from serving.event_loop import yield_to_loop

Item = TypeVar("Item")

VALUES_PER_BLOCK = 2**13  # values that are Python objects at the same time, between two yields
NUMBERS_PER_BLOCK = 2**17  # numbers that NumPy validates between two yields
FLOAT64_BYTES = 8


def refuse_instances(message: str, **details: Any) -> NoReturn:
    """Raise InvalidInstancesError.

    Args:
        message: Sentence that says what was expected, what came and, if needed, what to do.
        details: Members of the error's `details`, such as `instance` and `field`.
    """
    raise InvalidInstancesError(message, **details)


def split_into_blocks(items: Iterator[Item], width: int = 1) -> Iterator[list[Item]]:
    """Yield the items in lists of about `VALUES_PER_BLOCK` values; yield to the loop in between.

    Args:
        items: Values, or instances.
        width: Number of values of one item.
    """
    size = max(VALUES_PER_BLOCK // width, 1)
    while block := list(islice(items, size)):
        yield block
        if len(block) == size:
            yield_to_loop()


def iterate_cooperatively(items: Iterable[Item], width: int = 1) -> Iterator[Item]:
    """Yield the items one by one; yield to the event loop after every `VALUES_PER_BLOCK` values.

    Args:
        items: Values, or instances.
        width: Cost of one item, in values.
    """
    size = max(VALUES_PER_BLOCK // width, 1)
    for number, item in enumerate(items):
        if number and number % size == 0:
            yield_to_loop()
        yield item


def validate_column(column: ColumnSchema, values: Sequence[object], first: int = 0) -> list[Any]:
    """Return the values of a column as the graph takes them.

    Args:
        column: The schema of the column.
        values: Values of consecutive instances, None for a gap.
        first: Number of the first of these instances.

    Raises:
        InvalidInstancesError: If the column does not accept a value; the message names it.
    """
    if len(values) <= VALUES_PER_BLOCK:
        return _validate_block(column, values, first)
    validated: list[Any] = []
    for block in split_into_blocks(iter(values)):
        validated += _validate_block(column, block, first + len(validated))
    return validated


def _validate_block(column: ColumnSchema, values: Sequence[object], first: int) -> list[Any]:
    try:
        return column.validate_all(values)
    except WrongValueError:  # which does not say which value is wrong
        return [
            _validate_value(column, value, instance) for instance, value in enumerate(values, first)
        ]


def _validate_value(column: ColumnSchema, value: object, instance: int) -> Any:
    try:
        return column.validate(value)
    except WrongValueError as error:
        _refuse_value(column, error, instance)


def _refuse_value(column: ColumnSchema, error: WrongValueError, instance: int) -> NoReturn:
    refuse_instances(
        f"expected {error.expected} in instance {instance}, field {column.name!r}; got {error.got}",
        instance=instance,
        field=column.name,
    )


def validate_long_column(column: ColumnSchema, values: Iterable[object]) -> Sequence[Any]:
    """Return the values of a column as the graph takes them, an array `(n,)` of its dtype.

    Args:
        column: The schema of the column.
        values: Values of all instances, None for a gap. One block of them is held at a time.

    Raises:
        InvalidInstancesError: If the column does not accept a value; the message names it.
    """
    parts: list[NDArray[Any]] = [np.empty(0, column.dtype)]
    count = 0
    for block in split_into_blocks(iter(values)):
        parts.append(np.array(validate_column(column, block, count), column.dtype))
        count += len(block)
    return np.concatenate(parts)  # type: ignore[return-value]


def validate_numbers(
    column: ColumnSchema,
    numbers: NDArray[Any],
    first: int = 0,
    valid: NDArray[np.bool_] | None = None,
) -> Sequence[Any]:
    """Return the numbers of a binary format as the graph takes them, by the rule for single values.

    Args:
        column: The schema of the column. A date's numbers are read by its date format.
        numbers: Floats, of which NaN is a gap, integers or booleans, `(n,)`. A boolean array may
            hold no other bytes than 0 and 1; a column of dates accepts none.
        first: Number of the first instance, for error messages.
        valid: Mask of the instances that have a value, bool `(n,)`; None if all have one.

    Raises:
        InvalidInstancesError: If the column does not accept a number; the message names it.
    """
    require_float64(column, numbers.dtype)
    size = VALUES_PER_BLOCK if column.is_text else NUMBERS_PER_BLOCK
    if len(numbers) <= size:
        return _validate_number_block(column, numbers, first, valid)  # type: ignore[return-value]
    parts = []
    for start in iterate_cooperatively(range(0, len(numbers), size), VALUES_PER_BLOCK):
        block = slice(start, start + size)
        block_valid = None if valid is None else valid[block]
        parts.append(_validate_number_block(column, numbers[block], first + start, block_valid))
    return np.concatenate(parts)  # type: ignore[return-value]


def require_float64(column: ColumnSchema, dtype: np.dtype[Any]) -> None:
    """Refuse floats of lower precision for a column of float64.

    Args:
        column: The schema of the column.
        dtype: NumPy dtype of the request's values.

    Raises:
        InvalidInstancesError: If the column needs float64 and the dtype is a shorter float.
    """
    is_short = dtype.kind == "f" and dtype.itemsize < FLOAT64_BYTES
    if is_short and column.requires_float64:
        refuse_instances(
            f"expected float64 in field {column.name!r}, since float32 would make the same of "
            f"different values; got {dtype.name}; send float64 or JSON numbers",
            field=column.name,
        )


def _validate_number_block(
    column: ColumnSchema, numbers: NDArray[Any], first: int, valid: NDArray[np.bool_] | None
) -> NDArray[Any]:
    try:
        return column.validate_numbers(numbers, valid)
    except WrongNumberError as error:
        _refuse_value(column, error, first + error.index)


def build_inputs_from_rows(
    blocks: Iterable[Sequence[Sequence[object]]], schema: InputSchema
) -> Arrays:
    """Return the graph's inputs of rows of values.

    Args:
        blocks: Blocks of rows, each row with a value for each column.
        schema: The model's columns.

    Raises:
        InvalidInstancesError: If a column does not accept a value.
    """
    parts: list[Arrays] = []
    count = 0
    for block in blocks:
        columns = zip(schema.columns, zip(*block, strict=True), strict=True)
        parts.append(
            schema.build_inputs([validate_column(v, values, count) for v, values in columns])
        )
        count += len(block)
    return concatenate_rows(parts or [schema.build_inputs([()] * len(schema))])


def build_inputs_from_columns(
    columns: Mapping[str, Sequence[Any]], count: int, schema: InputSchema
) -> Arrays:
    """Return the graph's inputs of columns; an absent column is full of gaps.

    Args:
        columns: Validated values by the name of their column.
        count: Number of instances.
        schema: The model's columns.

    Raises:
        InvalidInstancesError: If a column that accepts no gaps is absent.
    """
    return schema.build_inputs(
        [
            columns[v.name] if v.name in columns else _build_column_of_gaps(v, count)
            for v in schema.columns
        ]
    )


def _build_column_of_gaps(column: ColumnSchema, count: int) -> Sequence[Any]:
    gap = validate_column(column, [None]) if count else [column.gap_value]
    return np.full(count, gap[0], column.dtype)  # type: ignore[return-value]


def require_common_length(
    columns: Mapping[str, Sequence[Any]], schema: InputSchema, body_length: int
) -> int:
    """Return the number of instances that all columns have.

    Args:
        columns: Values by the name of their column.
        schema: The model's columns.
        body_length: Length of the request's body, in bytes.

    Raises:
        InvalidInstancesError: If there is no column, if lengths differ, or if the gaps of absent
            columns would make the arrays too large.
    """
    if not columns:
        refuse_instances("expected at least one of the model's columns; got none")
    first, *others = columns
    count = len(columns[first])
    for name in others:
        if len(columns[name]) != count:
            refuse_instances(
                f"expected columns of one length; got {pluralize(count, 'value')} of "
                f"{quote_text(first)} and {len(columns[name])} of {quote_text(name)}"
            )
    max_count = compute_max_cells(body_length) // len(schema)
    if count > max_count:
        refuse_instances(
            f"expected at most {pluralize(max_count, 'instance')} in a body of this length; got "
            f"{count}"
        )
    return count


def require_known_names(names: Iterable[str], schema: InputSchema, noun: str) -> None:
    """Refuse names that are no column of the model.

    Args:
        names: Names that the request uses.
        schema: The model's columns.
        noun: Noun for a name in error messages, such as `column`.

    Raises:
        InvalidInstancesError: If one is not a column's; the message suggests a similar name.
    """
    for name in names:
        if name not in schema.column_positions:
            refuse_instances(
                f"expected no other {noun}s than the model's; got {quote_text(name)}"
                f"{suggest_similar_name(name, schema.column_positions)}",
                field=name[:MAX_QUOTED_CHARACTERS],
            )
