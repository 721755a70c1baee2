"""Read a file's values by the schema of a model's column, as the server reads those of a request.

Texts are read as those of a CSV body, and the typed values of other files as those of an Arrow
stream. More is accepted where training reads more: texts in a column of any type, decimals as
numbers, and times as texts in a column of categories.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from serving.bundle import (
    ISO8601,
    ColumnSchema,
    DateSchema,
    NumberSchema,
    WrongNumberError,
    WrongValueError,
    ticks_to_seconds,
)
from trainer.data.files import cell_parsing
from trainer.data.files.date_numbers import NUMERIC
from trainer.data.files.cell_texts import to_points

# The forms of ISO 8601 that Arrow reads as the schema does, and as finely as float64 needs it.
COMMON_ISO8601 = (
    r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d{1,6})?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
)
WHOLE_NUMBER = r"^([+-]?\d{1,20})(\.0+)?$"  # Arrow would also read 0x1F


def read_values(array: pa.Array, schema: ColumnSchema, decimal: str | None = None) -> NDArray[Any]:
    """Return a column of a batch as the graph takes it, `(n,)` of the dtype of the schema.

    Args:
        array: Column of a batch, `(n,)`; null is a gap.
        schema: Schema of the column, which must not be one of categories; see `read_categories`.
        decimal: Decimal sign of numbers in texts; None for a plain point.

    Raises:
        WrongNumberError: If the column does not accept a value; it has the first one's index.
        pa.ArrowException: If the array has another type than text, number, truth value or date.
    """
    array = _widen_decimals(array)
    kind = array.type
    if pa.types.is_string(kind):
        return _read_texts(array, schema, decimal)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = schema.to_timestamp_schema()
        if times is not None:
            return times.validate_numbers(*_to_seconds(array))
    if pa.types.is_floating(kind):
        return schema.validate_numbers(array.to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        filled = array.fill_null(pa.scalar(0).cast(kind)).to_numpy(zero_copy_only=False)
        return schema.validate_numbers(filled, _find_valid(array))
    if pa.types.is_null(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        array = array.cast(pa.string())
    elif not pa.types.is_decimal(kind):
        raise pa.ArrowTypeError(f"got a column of {kind}")
    return _validate_each(array, schema)


def read_categories(array: pa.Array, schema: ColumnSchema) -> pa.Array:
    """Return a column of a batch as texts in the spelling of the categories; null is a gap.

    Args:
        array: Column of a batch, `(n,)`; null is a gap.
        schema: Schema of a column of categories.

    Raises:
        WrongNumberError: If the column does not accept a value; it has the first one's index.
        pa.ArrowException: If the values of the array are not single values, but lists for instance.
    """
    array = _widen_decimals(array)
    kind = array.type
    if pa.types.is_float16(kind):
        # By their shortest texts, as training spells them: float32 would spell other digits.
        halves = array.to_numpy(zero_copy_only=False).astype(np.float16)
        array = pa.array(halves.astype(str).astype(np.float64), from_pandas=True)
    is_number_or_boolean = (
        pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    )
    if not is_number_or_boolean and not pa.types.is_decimal(kind):
        array = array.cast(pa.string())
    texts, places = _validate_unique(array, schema)
    return pa.array([text or None for text in texts], pa.string()).take(pa.array(places))


def _widen_decimals(array: pa.Array) -> pa.Array:
    """Return short decimals as those of 128 bits, since Arrow finds no unique values among them."""
    kind = array.type
    if not pa.types.is_decimal(kind) or kind.bit_width >= 128:
        return array
    return array.cast(pa.decimal128(kind.precision, kind.scale))


def _read_texts(array: pa.Array, schema: ColumnSchema, decimal: str | None) -> NDArray[Any]:
    if decimal is not None and not isinstance(schema, DateSchema):
        # Gaps first: a word such as "n.a." has a point of its own.
        array = to_points(cell_parsing.trim(array, schema.gap_texts), decimal)
    try:
        if isinstance(schema, NumberSchema):
            values = _parse_numbers(array, schema)
        elif isinstance(schema, DateSchema):
            array, values = _parse_dates(array, schema, decimal)
        else:
            values = None
    except pa.ArrowInvalid:
        values = None
    return _validate_each(array, schema) if values is None else values


def _parse_dates(
    array: pa.Array, schema: DateSchema, decimal: str | None
) -> tuple[pa.Array, NDArray[Any] | None]:
    """Return the texts, with a decimal point where numbers are expected, and the dates.

    The dates are None unless Arrow parses all texts as the schema does.
    """
    trimmed = cell_parsing.trim(array, schema.gap_texts)
    if schema.date_format == ISO8601:
        if not pc.all(pc.match_substring_regex(trimmed, COMMON_ISO8601)).as_py():
            return array, None
        seconds = cell_parsing.dates(trimmed, ())
        # By the schema of timestamps, whose numbers never mean a gap.
        return array, None if seconds is None else schema.to_timestamp_schema().validate_numbers(
            seconds
        )
    if schema.date_format not in NUMERIC:
        return array, None
    if decimal is not None:
        trimmed = cell_parsing.pointed(trimmed, decimal)
    if not pc.all(pc.match_substring_regex(trimmed, WHOLE_NUMBER)).as_py():
        return trimmed, None
    whole = pc.replace_substring_regex(trimmed, WHOLE_NUMBER, r"\1")
    try:
        ticks = whole.cast(pa.int64())
    except pa.ArrowInvalid:
        return trimmed, None
    return trimmed, schema.validate_numbers(ticks.fill_null(0).to_numpy(), _find_valid(ticks))


def _parse_numbers(array: pa.Array, schema: ColumnSchema) -> NDArray[Any] | None:
    try:
        parsed = array.cast(pa.float64())  # most often there is nothing to trim
    except pa.ArrowInvalid:
        parsed = cell_parsing.trim(array, schema.gap_texts).cast(pa.float64())
    numbers = parsed.to_numpy(zero_copy_only=False)
    # Arrow parses the words nan and inf as well, which the schema may refuse.
    if np.count_nonzero(~np.isfinite(numbers)) > parsed.null_count:
        return None
    return schema.validate_numbers(numbers)


def _validate_each(array: pa.Array, schema: ColumnSchema) -> NDArray[Any]:
    values, places = _validate_unique(array, schema)
    return np.array(values, np.float64)[places]


def _validate_unique(array: pa.Array, schema: ColumnSchema) -> tuple[list[Any], NDArray[np.int32]]:
    """Validate each different value once.

    Returns:
        The values as the graph takes them, the last of them for a null, and the place of each row's
        value among them, int32 `(n,)`.

    Raises:
        WrongNumberError: If the column does not accept a value.
    """
    encoded = array.dictionary_encode()
    places: NDArray[np.int32] = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    unique = encoded.dictionary.to_pylist()
    if len(unique) in places:
        unique.append(None)
    parse = _choose_parser(array.type, schema)
    values: list[Any] = []
    errors: dict[int, WrongValueError] = {}
    for place, value in enumerate(unique):
        try:
            values.append(schema.validate(None if value is None else parse(value)))
        except WrongValueError as error:
            values.append(schema.gap_value)
            errors[int((places == place).argmax())] = error
            if value is not None and unique[-1] is not None:
                break  # Values are in the order of their rows; only a null can be before this.
    if errors:
        index = min(errors)
        first = errors[index]
        raise WrongNumberError(first.expected, first.got, index, is_gap=first.is_gap)
    return values, places


def _choose_parser(kind: pa.DataType, schema: ColumnSchema) -> Callable[[Any], object]:
    """Return the function that turns a value, not null, into one that the schema validates."""
    if pa.types.is_string(kind):
        return schema.parse_cell
    if pa.types.is_decimal(kind):
        return lambda value: int(value) if value == value.to_integral_value() else float(value)
    return lambda value: None if value != value else value  # noqa: PLR0124 - NaN alone is a gap


def _to_seconds(times: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return timestamps or dates as seconds since 1970-01-01 UTC, and a mask of those not null."""
    kind = times.type
    ticks = times.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    counts = ticks.fill_null(0).to_numpy().astype(np.int64)
    if pa.types.is_date32(kind):
        counts, per_second = counts * cell_parsing.DAY, 1
    else:
        per_second = cell_parsing.TICKS["ms" if pa.types.is_date64(kind) else kind.unit]
    return ticks_to_seconds(counts, per_second), _find_valid(times)


def _find_valid(array: pa.Array) -> NDArray[np.bool_]:
    """Return a mask of the values that are not null, bool `(n,)`."""
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid
