"""A tensor of the Open Inference Protocol's request: what is said of it, and its values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES, Arrays, counted
from serving.codec.binary import inputs_of_matrix
from serving.codec.input_schema import (
    BooleanField,
    CategoryField,
    DateField,
    Field,
    Fields,
    PreciseField,
)
from serving.codec.json_documents import after_step, text_of_part
from serving.codec.json_fast import has_signs, narrow, plain_numbers
from serving.codec.json_values import built, leaves, list_of, unbuilt
from serving.codec.open_inference_binary import BOOL, BYTES, DTYPES, numbers_of, texts_of
from serving.codec.quoting import SHOWN, quoted, shown
from serving.codec.validation import blocks, check_column, check_long_column, check_numbers, refuse

LONGEST = 4096  # characters of parameters
NUMBERS = {int, float, type(None)}  # that JSON has, or a gap
TRUTHS = NUMBERS | {bool}
PART = 2**20  # numbers that NumPy looks at in one turn
NARROW = ("FP16", "BF16", "FP32")  # datatypes that have lost digits of a float64
WHY_NO_MATRIX = "this model takes each column as an input of its own, and no matrix"
UNCOUNTED = 2**24 - 1  # elements of a list from which on simdjson says no more than that
TENSOR = ("name", "shape", "datatype", "parameters", "data")


class Tensor(NamedTuple):
    """An input as it came.

    Attributes:
        rows: instances, as its shape says.
        data: simdjson's array; None of one that came in binary.
        content: that came in binary.
        brackets: that open in its JSON, apart from those of its data.
    """

    name: str
    datatype: str
    rows: int
    data: Any
    content: memoryview
    brackets: int = 0


def read_tensor(
    members: dict[str, Any], before: dict[str, Tensor], rest: memoryview, fields: Fields
) -> tuple[Tensor, int]:
    """An input, and how many of the binary bytes are its own."""
    name = fields.named(required_text(members.get("name"), '"name" of an input'))
    known = names_of_inputs(fields)
    if name not in known or name in before:
        came = f"{quoted(name)} twice" if name in before else quoted(name)
        shows = ", ".join(map(quoted, list(known)[:5])) + ", ..." * (len(known) > 5)
        hint = f"; {WHY_NO_MATRIX}" if name == FEATURES and name not in known else ""
        refuse(f"expected inputs out of {shows}, each once; got {came}{hint}", input=name[:40])
    what = f'input "{name}"'  # a name of the model's own from here on
    datatype = required_text(members.get("datatype"), f'"datatype" of {what}')
    if datatype not in DTYPES and datatype != BYTES:
        refuse(
            f"expected a datatype out of {', '.join(DTYPES)}, {BYTES}; got {quoted(datatype)} of "
            f"input {quoted(name)}",
            input=name,
        )
    count = _count(members.get("shape"), name, fields)
    size = binary_size(members, rest)
    if size is None:
        refuse_shared_memory(parameters_of(members, what), what)
        data = list_of(members.get("data"), f'"data" of {what}')
        brackets = 1 + _brackets(members.get("parameters"))  # one of the shape, which is flat
        return Tensor(name, datatype, count, data, rest[:0], brackets), 0
    return Tensor(name, datatype, count, None, rest[:size]), size


def names_of_inputs(fields: Fields) -> Collection[str]:
    """Return the names of the inputs that a model takes."""
    return (FEATURES,) if fields.all_numbers else fields.places


def is_left_out(members: dict[str, Any], fields: Fields) -> bool:
    """Return whether an input is none of the model's."""
    name = required_text(members.get("name"), '"name" of an input')
    return fields.named(name) not in names_of_inputs(fields)


def binary_size(members: dict[str, Any], rest: memoryview) -> int | None:
    """Return the number of bytes of an input behind the JSON, None if its data are in the JSON.

    Args:
        members: What the request says of the input; its name is a text.
        rest: Binary bytes that no input before has taken.

    Raises:
        InvalidInstancesError: If that is no number of bytes, or there are not so many.
    """
    if members.get("parameters") is None:
        return None
    name = members["name"]
    size = parameters_of(members, f"input {quoted(name)}").get("binary_data_size")
    if size is None:
        return None
    if "data" in members or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        refuse(
            f'expected either "data" or the number of bytes in "binary_data_size" of input '
            f"{quoted(name)}; got {'both' if 'data' in members else 'another value'}",
            input=name[:SHOWN],
        )
    if size > len(rest):
        refuse(
            f"expected {counted(size, 'byte')} of input {quoted(name)} behind the JSON; got "
            f"{len(rest)}",
            input=name[:SHOWN],
        )
    return size


def _count(shape: object, name: str, fields: Fields) -> int:
    """The number of instances of a tensor."""
    lengths = list(map(unbuilt, shape[:3])) if isinstance(shape, simdjson.Array) else []
    width = len(fields) if fields.all_numbers else 1
    sound = all(type(length) is int and 0 <= length < 2**40 for length in lengths)
    if not sound or not (lengths[1:] == [width] or (len(lengths) == 1 and not fields.all_numbers)):
        wanted = f"[n, {width}]" + " or [n]" * (not fields.all_numbers)
        refuse(
            f'expected "shape" of input {quoted(name)} to be {wanted}; got '
            f"{lengths if sound and lengths else 'another'}",
            input=name,
        )
    count: int = lengths[0]  # type: ignore[assignment]
    return count


def inputs_of(tensor: Tensor, fields: Fields) -> Arrays:
    """The one input of a model of numbers, each of them looked at."""
    if tensor.datatype == BYTES:
        refuse(f'expected input "{FEATURES}" of numbers, best of FP32; got BYTES')
    numbers = _numbers(tensor, fields.columns)
    return inputs_of_matrix(numbers.reshape(tensor.rows, len(fields)), fields)


def plain_rows(
    tensor: Tensor, head: bytes, request: dict[str, Any], width: int
) -> NDArray[np.float32] | None:
    """The rows of JSON, without an object a number; None where they are not ordinary.

    Args:
        tensor: that came in JSON.
        head: the JSON of its request.
        request: its members.
        width: numbers of a row.
    """
    try:
        numbers = _plain_numbers(tensor, head, request, width)
    except (ValueError, TypeError):
        return None
    if numbers is None:
        return None
    for start in range(0, len(numbers), PART):
        after_step(head)
        if not _are_of(numbers[start : start + PART], tensor.datatype):
            return None
    after_step(head)
    flat = narrow(numbers)
    return None if flat is None else flat.reshape(tensor.rows, width)


def _plain_numbers(
    tensor: Tensor, head: bytes, request: dict[str, Any], width: int
) -> NDArray[np.float64] | None:
    """The same of whatever datatype, in one row; raises as `plain_numbers` does."""
    data = tensor.data
    # A bracket that is written as an escape is not one of the head's, and could not be counted.
    if tensor.datatype == BYTES or not len(data) or b"\\" in head:
        return None
    brackets = tensor.brackets + sum(_brackets(request[key]) for key in request if key != "inputs")
    if isinstance(data[0], simdjson.Array):
        if len(data) != tensor.rows:
            return None
        return plain_numbers(data, width, head, brackets=brackets + 1)
    if len(data) != tensor.rows * width or not has_signs(head, b"[", brackets + 2):
        return None
    after_step(head)
    return np.frombuffer(data.as_buffer(of_type="d"), np.float64)


def _brackets(value: object) -> int:
    """How many open in a short part of the head."""
    if isinstance(value, simdjson.Object | simdjson.Array):
        return text_of_part(value).count(b"[")
    return str(value).count("[")


def column_of(tensor: Tensor, field: Field) -> Sequence[Any]:
    """The checked values of a column."""
    if tensor.datatype != BYTES:
        if isinstance(field, PreciseField) and tensor.datatype in NARROW:
            refuse(
                f"expected input {quoted(tensor.name)} of FP64, since float32 would make the same "
                f"of different values; got {tensor.datatype}",
                input=tensor.name,
            )
        is_date = isinstance(field, DateField) and (tensor.datatype == BOOL or field.has_numbers)
        if tensor.data is not None and (isinstance(field, CategoryField) or is_date):
            return _check_values(tensor, field)
        return check_numbers(field, _numbers(tensor, (field,)))
    takes_texts = isinstance(field, CategoryField | DateField) or (
        isinstance(field, BooleanField) and bool(field.truths)
    )
    if not takes_texts:
        refuse(f"expected input {quoted(tensor.name)} of numbers; got BYTES", input=tensor.name)
    if tensor.data is None:
        texts: Iterator[object] = texts_of(tensor.content, tensor.name, tensor.rows)
    else:
        _require_length(tensor, 1)
        texts = _texts(tensor)
    column = check_long_column(field, texts)
    _require_count(tensor, 1, len(column))
    return column


def _check_values(tensor: Tensor, field: Field) -> list[Any]:
    """Check JSON numbers and booleans as they are, where a float64 would say less than they do.

    An integer beyond 2**53 is another category than the next one, and `true` is not 1.
    """
    checked: list[Any] = []
    for block in blocks(leaves(tensor.data, 1, _data_of(tensor))):
        _floats(block, tensor, len(checked), (field,))
        values = map(_truth, block) if tensor.datatype == BOOL else block
        checked += check_column(field, list(values), len(checked))
    _require_count(tensor, 1, len(checked))
    return checked


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _texts(tensor: Tensor) -> Iterator[object]:
    for place, value in enumerate(leaves(tensor.data, 1, _data_of(tensor))):
        if value is not None and not isinstance(value, str):
            refuse(
                f"expected {_data_of(tensor)} to be texts; got {shown(value)} at place {place}",
                input=tensor.name,
                instance=place,
            )
        yield value


def _numbers(tensor: Tensor, columns: Sequence[Field]) -> NDArray[Any]:
    """The numbers of a tensor whose rows have a value for each of these columns, null as NaN."""
    width = len(columns)
    if tensor.data is None:
        found = numbers_of(tensor.content, tensor.datatype, tensor.name)
    else:
        _require_length(tensor, width)
        parts = [np.empty(0)]
        place = 0
        for block in blocks(leaves(tensor.data, width, _data_of(tensor))):
            parts.append(_floats(block, tensor, place, columns))
            place += len(block)
        found = np.concatenate(parts)
    _require_count(tensor, width, len(found))
    return found


def _floats(
    values: list[Any], tensor: Tensor, first: int, columns: Sequence[Field]
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
    if set(map(type, values)) <= (TRUTHS if tensor.datatype == "BOOL" else NUMBERS):
        numbers = np.array(values, np.float64)  # null becomes NaN
        if _are_of(numbers[~np.isnan(numbers)], tensor.datatype):
            return numbers
    found = np.empty(len(values))
    for place, value in enumerate(values):
        if not _is_of(value, tensor.datatype):
            field = columns[(first + place) % len(columns)]
            refuse(
                f"expected {_data_of(tensor)} to be of {tensor.datatype}; got {shown(value)} at "
                f"place {first + place}, field {quoted(field.name)}{field.gap_advice(value)}",
                input=tensor.name,
                place=first + place,
            )
        found[place] = np.nan if value is None else value
    return found


def _are_of(numbers: NDArray[np.float64], datatype: str) -> bool:
    """Whether all numbers `(n,)` surely are of a datatype; as floats, the largest might not be."""
    if datatype == "BOOL":
        return bool(((numbers == 0) | (numbers == 1)).all())
    if "INT" not in datatype:
        return True
    limits = np.iinfo(DTYPES[datatype])
    # The bound above the largest is a power of two, which a float is exactly.
    inside = (numbers >= float(limits.min)) & (numbers < float(limits.max + 1))
    return bool(inside.all() and (np.trunc(numbers) == numbers).all())


def _is_of(value: Any, datatype: str) -> bool:
    """Whether a value of JSON is one of a datatype, or null."""
    if value is None:
        return True
    if not isinstance(value, int | float):
        return False
    if datatype == "BOOL":
        return value in (0, 1)
    if isinstance(value, bool):
        return False
    if "INT" in datatype:
        limits = np.iinfo(DTYPES[datatype])
        return value == int(value) and limits.min <= value <= limits.max
    return True


def _require_count(tensor: Tensor, width: int, got: int) -> None:
    if got != tensor.rows * width:
        refuse(
            f"expected {tensor.rows * width} elements of input {quoted(tensor.name)}, as its "
            f"shape says; got {got}",
            input=tensor.name,
            expected=tensor.rows * width,
            got=got,
        )


def _require_length(tensor: Tensor, width: int) -> None:
    """Refuse data in JSON of another length before a value of it is read."""
    length = len(tensor.data)
    first: Any = tensor.data[0] if length else None
    is_nested = isinstance(first, simdjson.Array)
    # A row of another width is refused later, by its number.
    if length < UNCOUNTED and not (is_nested and len(first) != width):
        _require_count(tensor, width, length * width if is_nested else length)


def _data_of(tensor: Tensor) -> str:
    return f'"data" of input {quoted(tensor.name)}'


def parameters_of(members: dict[str, Any], what: str) -> dict[str, Any]:
    """The parameters of the request, or of a tensor; empty where there are none."""
    if members.get("parameters") is None:
        return {}
    found = built(members["parameters"], LONGEST, f'"parameters" of {what}')
    if not isinstance(found, dict):
        refuse(f'expected "parameters" of {what} to be an object; got another value')
    return found


def refuse_shared_memory(parameters: dict[str, Any], what: str) -> None:
    """Refuse a tensor that is to be read from, or written to, a region of shared memory."""
    if "shared_memory_region" in parameters:
        refuse(
            f"expected {what} in a body; got a shared memory region; this server uses none; send "
            f"and ask for binary tensors"
        )


def required_text(value: object, what: str) -> str:
    """A member that has to be a text."""
    if not isinstance(value, str):
        refuse(f"expected {what} to be a text; got {shown(unbuilt(value))}")
    return value
