"""The values of an Open Inference Protocol request's input tensors, in JSON or binary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays
from serving.bundle.column_schema import ColumnSchema
from serving.bundle.quoting import describe_value, quote_text
from serving.codec.binary import build_matrix_inputs
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import narrow_to_float32, read_float64_numbers
from serving.codec.json_flatness import count_brackets, is_flat_list
from serving.codec.json_values import (
    iterate_values,
    serialize_value,
    yield_after_step,
)
from serving.codec.open_inference_binary import (
    BOOL,
    BYTES,
    are_of_datatype,
    decode_numbers,
    decode_texts,
    is_of_datatype,
)
from serving.codec.validation import (
    refuse_instances,
    split_into_blocks,
    validate_column,
    validate_long_column,
    validate_numbers,
)

NUMBER_TYPES = {int, float, type(None)}
NUMBER_OR_BOOLEAN_TYPES = NUMBER_TYPES | {bool}
NUMBERS_BEFORE_YIELD = 2**20  # Numbers that NumPy checks before the event loop is yielded to.
NARROW_FLOAT_DATATYPES = ("FP16", "BF16", "FP32")  # They hold fewer digits than float64.
UNCOUNTED_LENGTH = 2**24 - 1  # simdjson reports this length for every longer list as well.


class InputTensor(NamedTuple):
    """An input of the request, not yet decoded.

    Attributes:
        name: Name of the input, "features" or a column's.
        datatype: Datatype of its elements, a key of `NUMPY_DTYPES` or BYTES.
        row_count: Number of instances according to its shape.
        data: simdjson's array of the values; None for a binary tensor.
        content: The bytes of a binary tensor; empty for one in JSON.
        parameters: simdjson's object of the input's parameters; None without any, and for a binary
            tensor.
    """

    name: str
    datatype: str
    row_count: int
    data: Any
    content: memoryview
    parameters: Any = None


def decode_matrix_tensor(tensor: InputTensor, schema: InputSchema) -> Arrays:
    """Validate and return the one input of an all-numeric model, value by value.

    Args:
        tensor: The input "features".
        schema: The columns of the model.

    Returns:
        `features`, float32 `(row_count, len(schema))`.

    Raises:
        InvalidInstancesError: If the datatype is BYTES, or a column does not accept a value.
    """
    if tensor.datatype == BYTES:
        refuse_instances(
            f'expected numbers, preferably FP32, in input "{FEATURES_INPUT}"; got BYTES'
        )
    numbers = _read_numbers(tensor, schema.columns)
    return build_matrix_inputs(numbers.reshape(tensor.row_count, len(schema)), schema)


def decode_tensor_rows_fast(
    tensor: InputTensor, head: bytes, request: dict[str, Any], width: int
) -> NDArray[np.float32] | None:
    """Decode well-formed rows of numbers in JSON without creating a Python object per number.

    Args:
        tensor: The input "features", its values in JSON.
        head: The JSON part of the body.
        request: The members of the request.
        width: Number of values in a row.

    Returns:
        Finite float32 `(row_count, width)`; None for anything unusual, which
        `decode_matrix_tensor` then decodes or refuses.
    """
    try:
        numbers = _decode_tensor_numbers_fast(tensor, head, request, width)
    except (ValueError, TypeError):
        return None
    if numbers is None:
        return None
    for start in range(0, len(numbers), NUMBERS_BEFORE_YIELD):
        yield_after_step(head)
        if not are_of_datatype(numbers[start : start + NUMBERS_BEFORE_YIELD], tensor.datatype):
            return None
    yield_after_step(head)
    flat = narrow_to_float32(numbers)
    return None if flat is None else flat.reshape(tensor.row_count, width)


def _decode_tensor_numbers_fast(
    tensor: InputTensor, head: bytes, request: dict[str, Any], width: int
) -> NDArray[np.float64] | None:
    """Return the numbers `(row_count * width,)` before any check of their datatype."""
    data = tensor.data
    if tensor.datatype == BYTES or not len(data):
        return None
    others = [value for key, value in request.items() if key != "inputs"]
    counted = count_brackets(map(serialize_value, [tensor.parameters, *others]), head)
    if counted is None:
        return None
    other_brackets = counted + 2  # The two are those of the list of inputs and of the shape.
    if isinstance(data[0], simdjson.Array):
        if len(data) != tensor.row_count:
            return None
        return read_float64_numbers(data, width, head, other_brackets=other_brackets)
    if len(data) != tensor.row_count * width or not is_flat_list(head, other_brackets):
        return None
    yield_after_step(head)
    return np.frombuffer(data.as_buffer(of_type="d"), np.float64)


def decode_column_tensor(tensor: InputTensor, column: ColumnSchema) -> Sequence[Any]:
    """Decode and validate the values of one column.

    Args:
        tensor: The column's input.
        column: The schema of the column.

    Returns:
        The validated values, `row_count` of them.

    Raises:
        InvalidInstancesError: If the column does not accept the datatype or a value, or the number
            of values is not that of the shape.
    """
    if tensor.datatype != BYTES:
        if column.requires_float64 and tensor.datatype in NARROW_FLOAT_DATATYPES:
            refuse_instances(
                f"expected input {quote_text(tensor.name)} of FP64, since float32 cannot tell all "
                f"of its values apart; got {tensor.datatype}",
                input=tensor.name,
            )
        if tensor.data is not None and column.needs_exact_values(tensor.datatype == BOOL):
            return _validate_json_values(tensor, column)
        return validate_numbers(column, _read_numbers(tensor, (column,)))
    if not column.accepts_texts:
        refuse_instances(
            f"expected numbers in input {quote_text(tensor.name)}; got BYTES", input=tensor.name
        )
    if tensor.data is None:
        texts: Iterator[object] = decode_texts(tensor.content, tensor.name, tensor.row_count)
    else:
        _require_json_length(tensor, 1)
        texts = _read_json_texts(tensor)
    values = validate_long_column(column, texts)
    _require_element_count(tensor, 1, len(values))
    return values


def _validate_json_values(tensor: InputTensor, column: ColumnSchema) -> list[Any]:
    """Validate JSON numbers and booleans themselves, since float64 would lose a part of them.

    Beyond 2**53, two integers that are different categories can be the same float64; and `true` is
    another category than 1.
    """
    validated: list[Any] = []
    for block in split_into_blocks(iterate_values(tensor.data, 1, _describe_data(tensor))):
        _to_floats(block, tensor, len(validated), (column,))  # It refuses other datatypes.
        values = map(_to_bool, block) if tensor.datatype == BOOL else block
        validated += validate_column(column, list(values), len(validated))
    _require_element_count(tensor, 1, len(validated))
    return validated


def _to_bool(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _read_json_texts(tensor: InputTensor) -> Iterator[object]:
    """Yield the texts and nulls of a BYTES tensor in JSON."""
    for index, value in enumerate(iterate_values(tensor.data, 1, _describe_data(tensor))):
        if value is not None and not isinstance(value, str):
            refuse_instances(
                f"expected {_describe_data(tensor)} to be texts; got {describe_value(value)} at "
                f"place {index}",
                input=tensor.name,
                instance=index,
            )
        yield value


def _read_numbers(tensor: InputTensor, columns: Sequence[ColumnSchema]) -> NDArray[Any]:
    """Return the numbers `(row_count * len(columns),)` of a tensor, NaN for a null."""
    width = len(columns)
    if tensor.data is None:
        numbers = decode_numbers(tensor.content, tensor.datatype, tensor.name)
    else:
        _require_json_length(tensor, width)
        blocks = [np.empty(0)]
        count = 0
        for block in split_into_blocks(iterate_values(tensor.data, width, _describe_data(tensor))):
            blocks.append(_to_floats(block, tensor, count, columns))
            count += len(block)
        numbers = np.concatenate(blocks)
    _require_element_count(tensor, width, len(numbers))
    return numbers


def _to_floats(
    values: list[Any], tensor: InputTensor, first: int, columns: Sequence[ColumnSchema]
) -> NDArray[np.float64]:
    """Convert JSON values to floats, null to NaN.

    Args:
        values: Consecutive elements of the tensor.
        tensor: The tensor, whose datatype the values must have.
        first: Index of the first value in the tensor.
        columns: The columns of a row of the tensor, for error messages.

    Raises:
        InvalidInstancesError: If a value is not of the tensor's datatype.
    """
    types = NUMBER_OR_BOOLEAN_TYPES if tensor.datatype == BOOL else NUMBER_TYPES
    if set(map(type, values)) <= types:
        numbers = np.array(values, np.float64)  # NumPy converts None to NaN.
        if are_of_datatype(numbers[~np.isnan(numbers)], tensor.datatype):
            return numbers
    numbers = np.empty(len(values))
    for index, value in enumerate(values):
        if not is_of_datatype(value, tensor.datatype):
            column = columns[(first + index) % len(columns)]
            refuse_instances(
                f"expected {_describe_data(tensor)} to be of {tensor.datatype}; got "
                f"{describe_value(value)} at place {first + index}, field "
                f"{quote_text(column.name)}{column.advise_on_gap(value)}",
                input=tensor.name,
                place=first + index,
            )
        numbers[index] = np.nan if value is None else value
    return numbers


def _require_element_count(tensor: InputTensor, width: int, got: int) -> None:
    if got != tensor.row_count * width:
        refuse_instances(
            f"expected {tensor.row_count * width} elements of input {quote_text(tensor.name)}, as "
            f"its shape says; got {got}",
            input=tensor.name,
            expected=tensor.row_count * width,
            got=got,
        )


def _require_json_length(tensor: InputTensor, width: int) -> None:
    """Refuse JSON data of a wrong length before reading any of its values."""
    length = len(tensor.data)
    first: Any = tensor.data[0] if length else None
    is_nested = isinstance(first, simdjson.Array)
    # A row of a wrong width is refused later, by a message with its number.
    if length < UNCOUNTED_LENGTH and not (is_nested and len(first) != width):
        _require_element_count(tensor, width, length * width if is_nested else length)


def _describe_data(tensor: InputTensor) -> str:
    return f'"data" of input {quote_text(tensor.name)}'
