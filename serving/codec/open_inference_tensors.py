"""A tensor of the Open Inference Protocol's request: what is said of it, and its values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays
from serving.codec.binary import build_matrix_inputs
from serving.codec.column_validators import (
    BooleanValidator,
    CategoryValidator,
    ColumnValidator,
    Float64Validator,
)
from serving.codec.date_validator import DateValidator
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import has_character_count, narrow_to_float32, read_float64_numbers
from serving.codec.json_values import (
    iterate_values,
    peek_value,
    require_list,
    serialize_part,
    yield_after_step,
)
from serving.codec.open_inference_binary import (
    BOOL,
    BYTES,
    NUMPY_DTYPES,
    are_of_datatype,
    decode_numbers,
    decode_texts,
    is_of_datatype,
    read_binary_size,
    read_parameters,
    refuse_shared_memory,
)
from serving.codec.quoting import describe_value, quote_text
from serving.codec.validation import (
    refuse_instances,
    split_into_blocks,
    validate_column,
    validate_long_column,
    validate_numbers,
)

NUMBER_TYPES = {int, float, type(None)}  # that JSON has, or a gap
NUMBER_OR_BOOLEAN_TYPES = NUMBER_TYPES | {bool}
NUMBERS_BEFORE_YIELD = 2**20  # numbers that NumPy looks at in one turn
NARROW_FLOAT_DATATYPES = ("FP16", "BF16", "FP32")  # datatypes that have lost digits of a float64
NO_MATRIX_HINT = "this model takes each column as an input of its own, and no matrix"
UNCOUNTED_LENGTH = 2**24 - 1  # elements of a list from which on simdjson says no more than that
TENSOR_KEYS = ("name", "shape", "datatype", "parameters", "data")


class InputTensor(NamedTuple):
    """An input as it came.

    Attributes:
        row_count: instances, as its shape says.
        data: simdjson's array; None of one that came in binary.
        content: that came in binary.
        brackets: that open in its JSON, apart from those of its data.
    """

    name: str
    datatype: str
    row_count: int
    data: Any
    content: memoryview
    other_brackets: int = 0


def read_tensor(
    members: dict[str, Any], before: dict[str, InputTensor], rest: memoryview, fields: InputSchema
) -> tuple[InputTensor, int]:
    """An input, and how many of the binary bytes are its own."""
    name = fields.resolve_column_name(require_text(members.get("name"), '"name" of an input'))
    known = list_input_names(fields)
    if name not in known or name in before:
        came = f"{quote_text(name)} twice" if name in before else quote_text(name)
        shows = ", ".join(map(quote_text, list(known)[:5])) + ", ..." * (len(known) > 5)
        hint = f"; {NO_MATRIX_HINT}" if name == FEATURES_INPUT and name not in known else ""
        refuse_instances(
            f"expected inputs out of {shows}, each once; got {came}{hint}", input=name[:40]
        )
    what = f'input "{name}"'  # a name of the model's own from here on
    datatype = require_text(members.get("datatype"), f'"datatype" of {what}')
    if datatype not in NUMPY_DTYPES and datatype != BYTES:
        refuse_instances(
            f"expected a datatype out of {', '.join(NUMPY_DTYPES)}, {BYTES}; got {quote_text(datatype)} of "
            f"input {quote_text(name)}",
            input=name,
        )
    count = _read_row_count(members.get("shape"), name, fields)
    size = read_binary_size(members, rest)
    if size is None:
        refuse_shared_memory(read_parameters(members, what), what)
        data = require_list(members.get("data"), f'"data" of {what}')
        brackets = 1 + _count_brackets(members.get("parameters"))  # one of the shape, which is flat
        return InputTensor(name, datatype, count, data, rest[:0], brackets), 0
    return InputTensor(name, datatype, count, None, rest[:size]), size


def list_input_names(fields: InputSchema) -> Collection[str]:
    """Return the names of the inputs that a model takes."""
    return (FEATURES_INPUT,) if fields.has_single_input else fields.column_positions


def is_extra_input(members: dict[str, Any], fields: InputSchema) -> bool:
    """Return whether an input is none of the model's."""
    name = require_text(members.get("name"), '"name" of an input')
    return fields.resolve_column_name(name) not in list_input_names(fields)


def _read_row_count(shape: object, name: str, fields: InputSchema) -> int:
    """The number of instances of a tensor."""
    lengths = list(map(peek_value, shape[:3])) if isinstance(shape, simdjson.Array) else []
    width = len(fields) if fields.has_single_input else 1
    sound = all(type(length) is int and 0 <= length < 2**40 for length in lengths)
    if not sound or not (
        lengths[1:] == [width] or (len(lengths) == 1 and not fields.has_single_input)
    ):
        wanted = f"[n, {width}]" + " or [n]" * (not fields.has_single_input)
        refuse_instances(
            f'expected "shape" of input {quote_text(name)} to be {wanted}; got '
            f"{lengths if sound and lengths else 'another'}",
            input=name,
        )
    count: int = lengths[0]  # type: ignore[assignment]
    return count


def decode_matrix_tensor(tensor: InputTensor, fields: InputSchema) -> Arrays:
    """The one input of a model of numbers, each of them looked at."""
    if tensor.datatype == BYTES:
        refuse_instances(f'expected input "{FEATURES_INPUT}" of numbers, best of FP32; got BYTES')
    numbers = _read_numbers(tensor, fields.columns)
    return build_matrix_inputs(numbers.reshape(tensor.row_count, len(fields)), fields)


def decode_tensor_rows_fast(
    tensor: InputTensor, head: bytes, request: dict[str, Any], width: int
) -> NDArray[np.float32] | None:
    """The rows of JSON, without an object a number; None where they are not ordinary.

    Args:
        tensor: that came in JSON.
        head: the JSON of its request.
        request: its members.
        width: numbers of a row.
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
    """The same of whatever datatype, in one row; raises as `read_float64_numbers` does."""
    data = tensor.data
    # A bracket that is written as an escape is not one of the head's, and could not be counted.
    if tensor.datatype == BYTES or not len(data) or b"\\" in head:
        return None
    brackets = tensor.other_brackets + sum(
        _count_brackets(request[key]) for key in request if key != "inputs"
    )
    if isinstance(data[0], simdjson.Array):
        if len(data) != tensor.row_count:
            return None
        return read_float64_numbers(data, width, head, brackets=brackets + 1)
    if len(data) != tensor.row_count * width or not has_character_count(head, b"[", brackets + 2):
        return None
    yield_after_step(head)
    return np.frombuffer(data.as_buffer(of_type="d"), np.float64)


def _count_brackets(value: object) -> int:
    """How many open in a short part of the head."""
    if isinstance(value, simdjson.Object | simdjson.Array):
        return serialize_part(value).count(b"[")
    return str(value).count("[")


def decode_column_tensor(tensor: InputTensor, field: ColumnValidator) -> Sequence[Any]:
    """The checked values of a column."""
    if tensor.datatype != BYTES:
        if isinstance(field, Float64Validator) and tensor.datatype in NARROW_FLOAT_DATATYPES:
            refuse_instances(
                f"expected input {quote_text(tensor.name)} of FP64, since float32 would make the same "
                f"of different values; got {tensor.datatype}",
                input=tensor.name,
            )
        is_date = isinstance(field, DateValidator) and (
            tensor.datatype == BOOL or field.has_number_unit
        )
        if tensor.data is not None and (isinstance(field, CategoryValidator) or is_date):
            return _validate_json_values(tensor, field)
        return validate_numbers(field, _read_numbers(tensor, (field,)))
    takes_texts = isinstance(field, CategoryValidator | DateValidator) or (
        isinstance(field, BooleanValidator) and bool(field.value_by_text)
    )
    if not takes_texts:
        refuse_instances(
            f"expected input {quote_text(tensor.name)} of numbers; got BYTES", input=tensor.name
        )
    if tensor.data is None:
        texts: Iterator[object] = decode_texts(tensor.content, tensor.name, tensor.row_count)
    else:
        _require_json_length(tensor, 1)
        texts = _read_json_texts(tensor)
    column = validate_long_column(field, texts)
    _require_element_count(tensor, 1, len(column))
    return column


def _validate_json_values(tensor: InputTensor, field: ColumnValidator) -> list[Any]:
    """Check JSON numbers and booleans as they are, where a float64 would say less than they do.

    An integer beyond 2**53 is another category than the next one, and `true` is not 1.
    """
    checked: list[Any] = []
    for block in split_into_blocks(iterate_values(tensor.data, 1, _describe_data(tensor))):
        _to_floats(block, tensor, len(checked), (field,))
        values = map(_to_bool, block) if tensor.datatype == BOOL else block
        checked += validate_column(field, list(values), len(checked))
    _require_element_count(tensor, 1, len(checked))
    return checked


def _to_bool(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _read_json_texts(tensor: InputTensor) -> Iterator[object]:
    for place, value in enumerate(iterate_values(tensor.data, 1, _describe_data(tensor))):
        if value is not None and not isinstance(value, str):
            refuse_instances(
                f"expected {_describe_data(tensor)} to be texts; got {describe_value(value)} at place {place}",
                input=tensor.name,
                instance=place,
            )
        yield value


def _read_numbers(tensor: InputTensor, columns: Sequence[ColumnValidator]) -> NDArray[Any]:
    """The numbers of a tensor whose rows have a value for each of these columns, null as NaN."""
    width = len(columns)
    if tensor.data is None:
        found = decode_numbers(tensor.content, tensor.datatype, tensor.name)
    else:
        _require_json_length(tensor, width)
        parts = [np.empty(0)]
        place = 0
        for block in split_into_blocks(iterate_values(tensor.data, width, _describe_data(tensor))):
            parts.append(_to_floats(block, tensor, place, columns))
            place += len(block)
        found = np.concatenate(parts)
    _require_element_count(tensor, width, len(found))
    return found


def _to_floats(
    values: list[Any], tensor: InputTensor, first: int, columns: Sequence[ColumnValidator]
) -> NDArray[np.float64]:
    """Return numbers that came as JSON, null as NaN.

    Args:
        values: Values of consecutive elements of the tensor.
        tensor: Says of which datatype they have to be.
        first: Place of the first value in the tensor.
        columns: Columns that a row of the tensor has values for.

    Raises:
        InvalidInstancesError: If a value is of another datatype.
    """
    if set(map(type, values)) <= (
        NUMBER_OR_BOOLEAN_TYPES if tensor.datatype == "BOOL" else NUMBER_TYPES
    ):
        numbers = np.array(values, np.float64)  # null becomes NaN
        if are_of_datatype(numbers[~np.isnan(numbers)], tensor.datatype):
            return numbers
    found = np.empty(len(values))
    for place, value in enumerate(values):
        if not is_of_datatype(value, tensor.datatype):
            field = columns[(first + place) % len(columns)]
            refuse_instances(
                f"expected {_describe_data(tensor)} to be of {tensor.datatype}; got {describe_value(value)} at "
                f"place {first + place}, field {quote_text(field.name)}{field.advise_on_gap(value)}",
                input=tensor.name,
                place=first + place,
            )
        found[place] = np.nan if value is None else value
    return found


def _require_element_count(tensor: InputTensor, width: int, got: int) -> None:
    if got != tensor.row_count * width:
        refuse_instances(
            f"expected {tensor.row_count * width} elements of input {quote_text(tensor.name)}, as its "
            f"shape says; got {got}",
            input=tensor.name,
            expected=tensor.row_count * width,
            got=got,
        )


def _require_json_length(tensor: InputTensor, width: int) -> None:
    """Refuse data in JSON of another length before a value of it is read."""
    length = len(tensor.data)
    first: Any = tensor.data[0] if length else None
    is_nested = isinstance(first, simdjson.Array)
    # A row of another width is refused later, by its number.
    if length < UNCOUNTED_LENGTH and not (is_nested and len(first) != width):
        _require_element_count(tensor, width, length * width if is_nested else length)


def _describe_data(tensor: InputTensor) -> str:
    return f'"data" of input {quote_text(tensor.name)}'


def require_text(value: object, what: str) -> str:
    """A member that has to be a text."""
    if not isinstance(value, str):
        refuse_instances(f"expected {what} to be a text; got {describe_value(peek_value(value))}")
    return value
