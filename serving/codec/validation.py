"""Columns: values as a wire format brings them, to what the graph takes, or a precise refusal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, are_gap_numbers, concatenate_rows, pluralize
from serving.codec.column_validators import (
    GAP_NOT_ACCEPTED,
    CategoryValidator,
    ColumnValidator,
    Float64Validator,
    WrongValueError,
)
from serving.codec.date_validator import DateValidator
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.codec.quoting import MAX_QUOTED_CHARACTERS, quote_text, suggest_similar_name
from serving.errors import InvalidInstancesError
from serving.event_loop import yield_to_loop

Item = TypeVar("Item")

VALUES_PER_BLOCK = 2**13  # that are Python objects at the same time, and are read in one turn
FLOAT64_BYTES = 8
NUMBERS_PER_BLOCK = 2**17  # that NumPy checks in one turn


def refuse_instances(message: str, **details: Any) -> NoReturn:
    """Say that these are no instances the model takes."""
    raise InvalidInstancesError(message, **details)


def split_into_blocks(items: Iterator[Item], width: int = 1) -> Iterator[list[Item]]:
    """Some of the items at a time, of `VALUES_PER_BLOCK` values; others have their turn in between.

    Args:
        items: values, or instances.
        width: values of one of them.
    """
    size = max(VALUES_PER_BLOCK // width, 1)
    while block := list(islice(items, size)):
        yield block
        if len(block) == size:
            yield_to_loop()


def iterate_cooperatively(items: Iterable[Item], width: int = 1) -> Iterator[Item]:
    """The same items one by one, for those that need no block; else as `split_into_blocks`."""
    size = max(VALUES_PER_BLOCK // width, 1)
    for number, item in enumerate(items):
        if number and number % size == 0:
            yield_to_loop()
        yield item


def validate_column(field: ColumnValidator, values: Sequence[object], first: int = 0) -> list[Any]:
    """The values of a column as the graph takes them, None for a gap.

    Args:
        field: the column's.
        values: of consecutive instances.
        first: number of the first of those.

    Raises:
        InvalidInstancesError: one is not what the column takes; the message says which.
    """
    if len(values) <= VALUES_PER_BLOCK:
        return _validate_block(field, values, first)
    checked: list[Any] = []
    for block in split_into_blocks(iter(values)):
        checked += _validate_block(field, block, first + len(checked))
    return checked


def _validate_block(field: ColumnValidator, values: Sequence[object], first: int) -> list[Any]:
    try:
        return field.validate_all(values)
    except WrongValueError:
        return [_validate_value(field, value, first + place) for place, value in enumerate(values)]


def _validate_value(field: ColumnValidator, value: object, instance: int) -> Any:
    try:
        return field.validate(value)
    except WrongValueError as error:
        refuse_instances(
            f"expected {error.expected} in instance {instance}, field {field.name!r}; got "
            f"{error.got}",
            instance=instance,
            field=field.name,
        )


def validate_long_column(field: ColumnValidator, values: Iterable[object]) -> Sequence[Any]:
    """Return the values of a column of any length, an array `(n,)` of the field's dtype.

    Args:
        field: The column's field.
        values: Values as they came, None for a gap; no more than `VALUES_PER_BLOCK` of them are held.

    Raises:
        InvalidInstancesError: If the column does not take a value; the message says which.
    """
    parts: list[NDArray[Any]] = [np.empty(0, field.dtype)]
    count = 0
    for block in split_into_blocks(iter(values)):
        parts.append(np.array(validate_column(field, block, count), field.dtype))
        count += len(block)
    return np.concatenate(parts)  # type: ignore[return-value]


def validate_numbers(
    field: ColumnValidator,
    numbers: NDArray[Any],
    first: int = 0,
    valid: NDArray[np.bool_] | None = None,
) -> Sequence[Any]:
    """Apply the rule of a column to numbers that came in binary, as `validate_column` does to values.

    Args:
        field: The column's rule. A date is read by its format.
        numbers: Floats, whose NaN is a gap, integers or booleans, `(n,)`. An array that is declared
            to be of booleans holds the numbers 0 and 1; a date takes none.
        first: Number of the first instance, for errors.
        valid: Whether there is a value, bool `(n,)`; None where there is one everywhere.

    Raises:
        InvalidInstancesError: If a number is not what the column takes.
    """
    is_truth = numbers.dtype == np.bool_
    require_float64(field, numbers.dtype)
    if isinstance(field, CategoryValidator) or (is_truth and isinstance(field, DateValidator)):
        return validate_column(field, list_numbers_with_gaps(numbers, valid), first)
    if len(numbers) <= NUMBERS_PER_BLOCK:
        return _validate_number_block(field, numbers, first, valid)  # type: ignore[return-value]
    parts = []
    for start in iterate_cooperatively(
        range(0, len(numbers), NUMBERS_PER_BLOCK), NUMBERS_PER_BLOCK
    ):
        block = slice(start, start + NUMBERS_PER_BLOCK)
        known = None if valid is None else valid[block]
        parts.append(_validate_number_block(field, numbers[block], first + start, known))
    return np.concatenate(parts)  # type: ignore[return-value]


def require_float64(field: ColumnValidator, dtype: np.dtype[Any]) -> None:
    """Refuse floats of too few bits for a column of float64.

    Raises:
        InvalidInstancesError: If they are.
    """
    if isinstance(field, Float64Validator) and dtype.kind == "f" and dtype.itemsize < FLOAT64_BYTES:
        refuse_instances(
            f"expected float64 in field {field.name!r}, since float32 would make the same of "
            f"different values; got {dtype.name}; send float64 or JSON numbers",
            field=field.name,
        )


def _validate_number_block(
    field: ColumnValidator, numbers: NDArray[Any], first: int, valid: NDArray[np.bool_] | None
) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):  # a NaN of the signalling kind
        column = numbers.astype(np.float64)
    if valid is not None:
        column = np.where(valid, column, np.nan)
    if field.gap_numbers:
        column[are_gap_numbers(numbers, field.gap_numbers)] = np.nan
    gaps = np.isnan(column)
    if isinstance(field, DateValidator):
        # Integers as they are: beyond 2**53 a float64 may be the next moment, or no moment.
        seconds = field.convert_numbers(numbers if numbers.dtype.kind in "iu" else column)
        wrong = np.isnan(seconds)
    else:
        wrong = ~field.find_accepted(column)
    wrong[gaps] = not field.accepts_gaps
    if wrong.any():
        place = int(wrong.argmax())
        if isinstance(field, DateValidator) and not gaps[place]:
            _validate_value(field, numbers[place].item(), first + place)
        is_null = valid is not None and not valid[place]
        refuse_instances(
            f"expected {field.expected} in instance {first + place}, field {field.name!r}; got "
            f"{f'null, {GAP_NOT_ACCEPTED}' if is_null else _describe_number(column[place], field)}",
            instance=first + place,
            field=field.name,
        )
    if isinstance(field, DateValidator):
        return np.where(gaps, np.nan, seconds)
    return column


def list_numbers_with_gaps(
    numbers: NDArray[Any], valid: NDArray[np.bool_] | None = None
) -> list[Any]:
    """Numbers `(n,)` as Python's, None in place of NaN and of what is not valid."""
    listed: list[Any] = []
    for start in iterate_cooperatively(range(0, len(numbers), VALUES_PER_BLOCK), VALUES_PER_BLOCK):
        part = numbers[start : start + VALUES_PER_BLOCK].astype(np.object_)
        part[part != part] = None  # noqa: PLR0124
        if valid is not None:
            part[~valid[start : start + VALUES_PER_BLOCK]] = None
        listed += part.tolist()
    return listed


def _describe_number(number: float, field: ColumnValidator) -> str:
    if np.isnan(number):
        return f"NaN, {GAP_NOT_ACCEPTED}"
    if np.isfinite(number) and abs(number) >= field.magnitude_limit:
        return f"a number that {field.dtype.__name__} cannot hold"
    return f"the number {number:g}{field.advise_on_gap(float(number))}"


def build_inputs_from_rows(
    blocks: Iterable[Sequence[Sequence[object]]], fields: InputSchema
) -> Arrays:
    """The graph's inputs of rows, each of as many values as there are columns.

    Args:
        blocks: some rows at a time, of `split_into_blocks`.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: as `validate_column`.
    """
    parts: list[Arrays] = []
    count = 0
    for block in blocks:
        columns = zip(fields.columns, zip(*block, strict=True), strict=True)
        parts.append(
            fields.build_inputs([validate_column(f, values, count) for f, values in columns])
        )
        count += len(block)
    return concatenate_rows(parts or [fields.build_inputs([()] * len(fields))])


def build_inputs_from_columns(
    columns: Mapping[str, Sequence[Any]], count: int, fields: InputSchema
) -> Arrays:
    """The graph's inputs of columns by name; one that is not there is full of gaps.

    Args:
        columns: checked values, of known names.
        count: of instances.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: one is not there, and the model fills no gap in it.
    """
    return fields.build_inputs(
        [
            columns[field.name] if field.name in columns else _build_column_of_gaps(field, count)
            for field in fields.columns
        ]
    )


def _build_column_of_gaps(field: ColumnValidator, count: int) -> Sequence[Any]:
    """Return a column of gaps."""
    gap = validate_column(field, [None]) if count else [field.gap_value]
    return np.full(count, gap[0], field.dtype)  # type: ignore[return-value]


def require_common_length(
    columns: Mapping[str, Sequence[Any]], fields: InputSchema, length: int
) -> int:
    """How many instances columns are of.

    Args:
        columns: by name.
        fields: the model's.
        length: of the body that held them, in bytes.

    Raises:
        InvalidInstancesError: there are none, they are of different lengths, or gaps would
            multiply the body.
    """
    if not columns:
        refuse_instances("expected at least one of the model's columns; got none")
    first, *others = columns
    count = len(columns[first])
    for name in others:
        if len(columns[name]) != count:
            refuse_instances(
                f"expected columns of one length; got {pluralize(count, 'value')} of {quote_text(first)} "
                f"and {len(columns[name])} of {quote_text(name)}"
            )
    most = compute_max_cells(length) // len(fields)
    if count > most:
        refuse_instances(
            f"expected at most {pluralize(most, 'instance')} in a body of this length; got {count}"
        )
    return count


def require_known_names(names: Iterable[str], fields: InputSchema, what: str) -> None:
    """Refuse the first name that is no column's.

    Args:
        names: that came.
        fields: the model's columns.
        what: they name, in the singular.
    """
    for name in names:
        if name not in fields.column_positions:
            refuse_instances(
                f"expected no other {what}s than the model's; got {quote_text(name)}"
                f"{suggest_similar_name(name, fields.column_positions)}",
                field=name[:MAX_QUOTED_CHARACTERS],
            )
