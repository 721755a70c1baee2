"""Read the values of a file by the schema of a model's column, as the server reads a request.

Texts are read like those of a CSV body, and the typed values of other files like those of an Arrow
stream. Files may have more than a request, as in training: texts in a column of any type, decimals
in a column of numbers, and times, as texts, in a column of categories.
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
from trainer.data.files.cell_parsing import (
    SECONDS_PER_DAY,
    TICKS_PER_SECOND,
    parse_dates,
    try_cast,
)
from trainer.data.files.cell_texts import (
    replace_decimal_sign,
    replace_decimal_sign_of_numbers,
    trim_texts,
)
from trainer.data.files.date_formats import NUMERIC_FORMATS

# The forms of ISO 8601 that Arrow parses to the same float64 as the schema does.
COMMON_ISO8601 = (
    r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d{1,6})?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?$"
)
# Whole numbers that Arrow may parse. It would also parse 0x1F, which the schema refuses.
WHOLE_NUMBER = r"^([+-]?\d{1,20})(\.0+)?$"


def read_values(array: pa.Array, schema: ColumnSchema, decimal: str | None = None) -> NDArray[Any]:
    """Return a column of a batch as the graph takes it, `(n,)` of the dtype of the schema.

    Args:
        array: Column of a batch, `(n,)`; null is a gap.
        schema: Schema of the column, which must not be one of categories; see `read_categories`.
        decimal: Decimal sign of numbers in texts; None for a plain point.

    Raises:
        WrongNumberError: If the column does not accept a value. It has the index of the first one.
        pa.ArrowException: If the type of the array is not text, number, boolean or date.
    """
    array = _widen_decimals(array)
    arrow_type = array.type
    if pa.types.is_string(arrow_type):
        return _read_texts(array, schema, decimal)
    if pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type):
        times = schema.to_timestamp_schema()
        if times is not None:
            return times.validate_numbers(*_to_seconds(array))
    if pa.types.is_floating(arrow_type):
        return schema.validate_numbers(array.to_numpy(zero_copy_only=False))
    if pa.types.is_boolean(arrow_type) or pa.types.is_integer(arrow_type):
        numbers = array.fill_null(pa.scalar(0).cast(arrow_type)).to_numpy(zero_copy_only=False)
        return schema.validate_numbers(numbers, _find_valid(array))
    if (
        pa.types.is_null(arrow_type)
        or pa.types.is_timestamp(arrow_type)
        or pa.types.is_date(arrow_type)
    ):
        array = array.cast(pa.string())
    elif not pa.types.is_decimal(arrow_type):
        raise pa.ArrowTypeError(f"got a column of {arrow_type}")
    return _validate_each(array, schema)


def read_categories(array: pa.Array, schema: ColumnSchema) -> pa.Array:
    """Return a column of a batch as texts in the spelling of the categories; null is a gap.

    Args:
        array: Column of a batch, `(n,)`; null is a gap.
        schema: Schema of a column of categories.

    Raises:
        WrongNumberError: If the column does not accept a value. It has the index of the first one.
        pa.ArrowException: If the array has nested values, such as lists.
    """
    array = _widen_decimals(array)
    arrow_type = array.type
    if pa.types.is_float16(arrow_type):
        # Training spells them by their shortest texts. Conversion to float32 would add digits.
        halves = array.to_numpy(zero_copy_only=False).astype(np.float16)
        array = pa.array(halves.astype(str).astype(np.float64), from_pandas=True)
    is_number_or_boolean = (
        pa.types.is_boolean(arrow_type)
        or pa.types.is_integer(arrow_type)
        or pa.types.is_floating(arrow_type)
    )
    if not is_number_or_boolean and not pa.types.is_decimal(arrow_type):
        array = array.cast(pa.string())
    texts, indices = _validate_unique(array, schema)
    return pa.array([text or None for text in texts], pa.string()).take(pa.array(indices))


def _widen_decimals(array: pa.Array) -> pa.Array:
    """Return decimals of 128 bits, since Arrow has no `dictionary_encode` for shorter ones."""
    arrow_type = array.type
    if not pa.types.is_decimal(arrow_type) or arrow_type.bit_width >= 128:
        return array
    return array.cast(pa.decimal128(arrow_type.precision, arrow_type.scale))


def _read_texts(array: pa.Array, schema: ColumnSchema, decimal: str | None) -> NDArray[Any]:
    """Return a column of texts as the graph takes it; see `read_values`."""
    if decimal is not None and not isinstance(schema, DateSchema):
        # Gaps are removed first, since a text such as "n.a." has a point of its own.
        array = replace_decimal_sign(trim_texts(array, schema.gap_texts), decimal)
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
    """Parse texts of dates by Arrow, which is faster than the schema.

    Returns:
        The texts, with a decimal point where numbers are expected; and the dates in seconds,
        float64 `(n,)`, or None if Arrow may not parse all texts as the schema does.
    """
    texts = trim_texts(array, schema.gap_texts)
    if schema.date_format == ISO8601:
        if not pc.all(pc.match_substring_regex(texts, COMMON_ISO8601)).as_py():
            return array, None
        seconds = parse_dates(texts, ())
        if seconds is None:
            return array, None
        # In the schema for timestamps, no number stands for a gap.
        return array, schema.to_timestamp_schema().validate_numbers(seconds)
    if schema.date_format not in NUMERIC_FORMATS:
        return array, None
    if decimal is not None:
        texts = replace_decimal_sign_of_numbers(texts, decimal)
    if not pc.all(pc.match_substring_regex(texts, WHOLE_NUMBER)).as_py():
        return texts, None
    integers = pc.replace_substring_regex(texts, WHOLE_NUMBER, r"\1")
    ticks = try_cast(integers, pa.int64())
    values = None
    if ticks is not None:
        values = schema.validate_numbers(ticks.fill_null(0).to_numpy(), _find_valid(ticks))
    return texts, values


def _parse_numbers(array: pa.Array, schema: ColumnSchema) -> NDArray[Any] | None:
    """Return texts as numbers; None if Arrow may not parse all of them as the schema does.

    Raises:
        pa.ArrowInvalid: If a text is not a number.
    """
    try:
        floats = array.cast(pa.float64())  # most often there is nothing to trim
    except pa.ArrowInvalid:
        floats = trim_texts(array, schema.gap_texts).cast(pa.float64())
    numbers = floats.to_numpy(zero_copy_only=False)
    # Arrow also parses the texts nan and inf, which the schema may refuse.
    if np.count_nonzero(~np.isfinite(numbers)) > floats.null_count:
        return None
    return schema.validate_numbers(numbers)


def _validate_each(array: pa.Array, schema: ColumnSchema) -> NDArray[Any]:
    """Return values as the graph takes them, float64 `(n,)`, by the schema's rule for one value."""
    values, indices = _validate_unique(array, schema)
    return np.array(values, np.float64)[indices]


def _validate_unique(array: pa.Array, schema: ColumnSchema) -> tuple[list[Any], NDArray[np.int32]]:
    """Validate each distinct value once.

    Returns:
        The distinct values as the graph takes them, in the order of their first rows, the value of
        a null last; and the index of each row's value among them, int32 `(n,)`.

    Raises:
        WrongNumberError: If the column does not accept a value.
    """
    dictionary_array = array.dictionary_encode()
    indices: NDArray[np.int32] = dictionary_array.indices.fill_null(
        len(dictionary_array.dictionary)
    ).to_numpy()
    unique = dictionary_array.dictionary.to_pylist()
    if len(unique) in indices:
        unique.append(None)
    parse = _select_parser(array.type, schema)
    values: list[Any] = []
    errors: dict[int, WrongValueError] = {}  # by row
    for index, value in enumerate(unique):
        try:
            values.append(schema.validate(None if value is None else parse(value)))
        except WrongValueError as error:
            values.append(schema.gap_value)
            errors[int((indices == index).argmax())] = error
            if value is not None and unique[-1] is not None:
                break  # later values have later rows; only a null could have an earlier one
    if errors:
        row = min(errors)
        first = errors[row]
        raise WrongNumberError(first.expected, first.got, row, is_gap=first.is_gap)
    return values, indices


def _select_parser(arrow_type: pa.DataType, schema: ColumnSchema) -> Callable[[Any], object]:
    """Return the function that converts a value, not null, to one that the schema validates."""
    if pa.types.is_string(arrow_type):
        return schema.parse_cell
    if pa.types.is_decimal(arrow_type):
        return lambda value: int(value) if value == value.to_integral_value() else float(value)
    return lambda value: None if value != value else value  # noqa: PLR0124 - NaN alone is a gap


def _to_seconds(times: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return timestamps or dates as seconds since 1970-01-01 UTC, and a mask of those not null."""
    arrow_type = times.type
    ticks = times.cast(pa.int32() if pa.types.is_date32(arrow_type) else pa.int64())
    counts = ticks.fill_null(0).to_numpy().astype(np.int64)
    if pa.types.is_date32(arrow_type):
        counts, per_second = counts * SECONDS_PER_DAY, 1
    else:
        per_second = TICKS_PER_SECOND["ms" if pa.types.is_date64(arrow_type) else arrow_type.unit]
    return ticks_to_seconds(counts, per_second), _find_valid(times)


def _find_valid(array: pa.Array) -> NDArray[np.bool_]:
    """Return a mask of the values that are not null, bool `(n,)`."""
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid
