"""The fast decoder: well-formed rows and records to arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, concatenate_rows
from serving.codec.column_validators import WrongValueError
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.codec.json_values import (
    MAX_OPTION_CHARACTERS,
    NO_OPTIONS,
    BodyOptions,
    build_value,
    read_document,
    serialize_part,
    yield_after_step,
)
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, split_into_blocks
from serving.event_loop import TurnBudget

SPARSE_BYTES_PER_CHARACTER = (
    2048  # bytes from one sign to the next, from which on stepping is quicker than counting
)


def decode_json_matrix(body: bytes, width: int) -> NDArray[np.float32] | None:
    """The rows of `{"instances": [[…], …]}`, or None where anything at all is out of the ordinary.

    Args:
        body: the JSON text, UTF-8.
        width: numbers in a row.

    Returns:
        Finite float32 `(n, width)`, n ≥ 0.
    """

    def use(document: Any) -> NDArray[np.float32] | None:
        if not isinstance(document, simdjson.Object) or len(document) != 1:
            return None
        if next(iter(document)) != "instances":
            return None
        return read_float32_rows(document["instances"], width, body, brackets=0)

    try:
        return read_document(body, use)
    except (ValueError, TypeError, RuntimeError):  # simdjson's refusals; UnicodeDecodeError is one
        return None


def read_float32_rows(
    instances: object, width: int, body: bytes, *, brackets: int
) -> NDArray[np.float32] | None:
    """A list of lists of numbers, or None where it is anything else.

    Args:
        instances: simdjson's.
        width: numbers in a row.
        body: that holds them.
        brackets: that open in the body elsewhere.

    Returns:
        Finite float32 `(n, width)`, n ≥ 0.

    Raises:
        TypeError: a value is no number.
        ValueError: a number is none of float64's.
    """
    numbers = read_float64_numbers(instances, width, body, brackets=brackets)
    if numbers is None:
        return None
    yield_after_step(body)
    rows = narrow_to_float32(numbers)
    return None if rows is None else rows.reshape(-1, width)


def read_float64_numbers(
    instances: object, width: int, body: bytes, *, brackets: int
) -> NDArray[np.float64] | None:
    """The numbers of a list of lists, row after row, or None where it is anything else.

    Args:
        instances: simdjson's.
        width: numbers in a row.
        body: that holds them.
        brackets: that open in the body elsewhere.

    Returns:
        float64 `(n * width,)`, n ≥ 0; raises as `read_float32_rows` does.
    """
    if not isinstance(instances, simdjson.Array):
        return None
    count = len(instances)
    for row in iterate_cooperatively(instances):
        if type(row) is not simdjson.Array or len(row) != width:
            return None
    # `as_buffer` flattens whatever it is given. One bracket for the list and one for each
    # instance leaves none for nesting inside a row, once every instance is known to be a list.
    if not has_character_count(body, b"[", count + 1 + brackets):
        return None
    yield_after_step(body)
    return np.frombuffer(instances.as_buffer(of_type="d"), np.float64)


def narrow_to_float32(numbers: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Finite numbers `(n,)` as float32, or None where one of them overflows it."""
    with np.errstate(over="ignore"):
        narrowed = numbers.astype(np.float32)
    return narrowed if np.isfinite(narrowed).all() else None


def count_character(body: bytes, sign: bytes) -> int:
    """How often a sign of ASCII comes in a body, texts and all."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(sign)))


def has_character_count(body: bytes, sign: bytes, count: int) -> bool:
    """Whether it comes just so often."""
    if len(body) < count * SPARSE_BYTES_PER_CHARACTER:
        return count_character(body, sign) == count
    at = -1
    for _ in range(count):
        at = body.find(sign, at + 1)
        if at < 0:
            return False
    return body.find(sign, at + 1) < 0


RecordReader = Callable[[simdjson.Object], dict[str, Any]]
NESTED_TYPES = (simdjson.Object, simdjson.Array)
MAX_SEARCHED_KEYS = 256  # keys of a record that are searched for one by one


class _UnusualBodyError(Exception):
    """The body has a duplicate key, an unknown key or a wrong number of values."""


def decode_json_fast(
    body: bytes, fields: InputSchema, beside: BodyOptions = NO_OPTIONS
) -> Arrays | None:
    """Decode a body, or return None where `json_careful` has to read it.

    Args:
        body: JSON text in UTF-8: `{"instances": [{…} or […], …]}`.
        fields: Columns of the model.
        beside: Keys that are allowed next to `instances`; their values are stored in it.

    Returns:
        The graph's inputs, as `Fields.inputs` says.
    """
    try:
        return read_document(
            body, lambda document: _decode_document(document, body, fields, beside)
        )
    except (ValueError, TypeError, RuntimeError, WrongValueError, _UnusualBodyError):
        return None


def _decode_document(
    document: Any, body: bytes, fields: InputSchema, beside: BodyOptions
) -> Arrays | None:
    # The number of keys is known at once; a list of millions of them takes its time.
    if not isinstance(document, simdjson.Object) or len(document) > len(beside.allowed_keys) + 1:
        return None
    brackets = 0
    if list(document.keys()) != ["instances"]:
        found = _count_option_brackets(document, body, beside)
        if found is None:
            return None
        brackets = found
    instances = document["instances"]
    if not isinstance(instances, simdjson.Array):
        return None
    if fields.has_single_input and (not len(instances) or isinstance(instances[0], simdjson.Array)):
        try:
            rows = read_float32_rows(instances, len(fields), body, brackets=brackets)
        except (ValueError, TypeError):
            rows = None
        if rows is not None and fields.accepts_rows(rows):
            return {FEATURES_INPUT: rows}
    return _decode_instances(instances, body, fields, brackets)


def _count_option_brackets(
    document: simdjson.Object, body: bytes, beside: BodyOptions
) -> int | None:
    """Count the `[` in the values of extra keys; None where `json_careful` has to read them."""
    # A bracket that is written as an escape is not one of the body's.
    keys = list(document.keys())
    if "instances" not in keys or len(set(keys)) < len(keys) or b"\\" in body:
        return None
    brackets = 0
    for key in keys:
        if key == "instances":
            continue
        value = document[key]
        text = serialize_part(value) if isinstance(value, NESTED_TYPES) else str(value).encode()
        if key not in beside.allowed_keys or len(text) > MAX_OPTION_CHARACTERS:
            return None
        brackets += text.count(b"[")
        beside.values[key] = build_value(value, MAX_OPTION_CHARACTERS, key)
    return brackets


def _decode_instances(
    instances: simdjson.Array, body: bytes, fields: InputSchema, brackets: int
) -> Arrays | None:
    if len(instances) * len(fields) > compute_max_cells(len(body)):
        return None
    if not all(isinstance(instance, NESTED_TYPES) for instance in iterate_cooperatively(instances)):
        return None
    # One opening for the body, one for the list and one for each instance, which all are nests:
    # none is left for a nest inside one, nor for a text with a bracket in it.
    flat = (
        not brackets
        and count_character(body, b"[") + count_character(body, b"{") == len(instances) + 2
    )
    read = simdjson.Object.as_dict if flat else _read_unparsed
    parts = [
        _decode_block(block, fields, read)
        for block in split_into_blocks(iter(instances), len(fields))
    ]
    return concatenate_rows(parts or [fields.build_inputs([()] * len(fields))])


def _read_unparsed(instance: simdjson.Object) -> dict[str, object]:
    """Return a record whose nested lists and objects, if any, are not parsed."""
    # Each key is searched for from the first on; `items` would build what the values hold.
    if len(instance) > MAX_SEARCHED_KEYS:
        raise _UnusualBodyError
    return {key: instance[key] for key in instance}


def _decode_block(block: Sequence[object], fields: InputSchema, read: RecordReader) -> Arrays:
    columns = zip(*_iterate_rows(block, fields, read), strict=True)
    return fields.build_inputs(
        [field.validate_all(values) for field, values in zip(fields.columns, columns, strict=True)]
    )


def _iterate_rows(
    block: Sequence[object], fields: InputSchema, read: RecordReader
) -> Iterator[list[object]]:
    """Yield each instance's values in the order of the columns, None for a gap."""
    width, names, most = len(fields), fields.column_positions.keys(), fields.max_named_columns
    work = TurnBudget(VALUES_PER_BLOCK)
    for instance in block:
        if isinstance(instance, simdjson.Object) and len(instance) <= most:
            record = read(instance)
            # simdjson keeps every key, a dictionary each once.
            if len(record) != len(instance):
                raise _UnusualBodyError
            # Names in ASCII alone have one form: extra ones are not looked at one by one.
            if not record.keys() <= names and not "".join(record).isascii():
                record = _rename_keys(record, fields)
            if not record.keys() <= names:
                if not fields.should_ignore_extra or names.isdisjoint(record):
                    raise _UnusualBodyError
                work.spend(len(record))
            yield list(map(record.get, names))
        elif isinstance(instance, simdjson.Array) and len(instance) == width:
            yield list(instance)
        else:
            raise _UnusualBodyError


def _rename_keys(record: dict[str, object], fields: InputSchema) -> dict[str, object]:
    """Return a record whose keys are the columns' names, for keys in another Unicode form."""
    renamed = {fields.resolve_column_name(name): value for name, value in record.items()}
    if len(renamed) < len(record):  # two names have become one
        raise _UnusualBodyError
    return renamed
