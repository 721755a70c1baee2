"""The fast JSON decoder: well-formed rows and records to arrays.

A matrix of numbers goes from bytes to float32 without a Python object for each number. Records and
rows of several types are read in blocks, after `json_flatness` has found that no list or object is
nested in them. For a body that is unusual in any way, these functions return None: `json_strict`
then decodes it, or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, concatenate_rows
from serving.bundle.column_schema import WrongValueError
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.codec.json_flatness import count_brackets, has_flat_instances, is_flat_matrix
from serving.codec.json_values import (
    MAX_OPTION_CHARACTERS,
    NESTED_TYPES,
    NO_OPTIONS,
    BodyOptions,
    build_value,
    read_document,
    serialize_value,
    yield_after_step,
)
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, split_into_blocks
from serving.event_loop import TurnBudget

RecordReader = Callable[[simdjson.Object], dict[str, Any]]

MAX_SEARCHED_KEYS = 256  # simdjson searches for each key of a record from the first one on


class _UnusualBodyError(Exception):
    """The body is well-formed JSON that only the strict decoder reads, or explains."""


def decode_json_fast(
    body: bytes, schema: InputSchema, options: BodyOptions = NO_OPTIONS
) -> Arrays | None:
    """Return the graph's inputs of a body, or None if the strict decoder has to decode it.

    Args:
        body: JSON text in UTF-8: `{"instances": [{…} or […], …]}`.
        schema: The model's columns.
        options: Keys that the body may have besides `instances`; their values are stored in
            `options.values`.

    Returns:
        The inputs by name, as `InputSchema.build_inputs` returns them.
    """
    try:
        return read_document(
            body, lambda document: _decode_document(document, body, schema, options)
        )
    except (ValueError, TypeError, RuntimeError, WrongValueError, _UnusualBodyError):
        return None


def decode_json_matrix(body: bytes, width: int) -> NDArray[np.float32] | None:
    """Return the numbers of `{"instances": [[…], …]}`, or None if anything is unusual.

    Args:
        body: JSON text in UTF-8.
        width: Number of values in a row.

    Returns:
        Finite numbers, float32 `(n, width)`, n ≥ 0.
    """

    def read(document: Any) -> NDArray[np.float32] | None:
        if not isinstance(document, simdjson.Object) or len(document) != 1:
            return None
        if next(iter(document)) != "instances":
            return None
        return read_float32_rows(document["instances"], width, body)

    try:
        return read_document(body, read)
    except (ValueError, TypeError, RuntimeError):  # simdjson's errors for a body it cannot parse
        return None


def read_float32_rows(
    instances: object, width: int, body: bytes, *, other_brackets: int = 0
) -> NDArray[np.float32] | None:
    """Return the numbers of a list of rows, or None if it is anything else.

    Args:
        instances: Value of a parsed document.
        width: Number of values in a row.
        body: JSON text of the whole request.
        other_brackets: Number of `[` in the body outside of the list.

    Returns:
        Finite numbers, float32 `(n, width)`, n ≥ 0.

    Raises:
        TypeError: If a value is no number.
        ValueError: If a number is out of float64's range.
    """
    numbers = read_float64_numbers(instances, width, body, other_brackets=other_brackets)
    if numbers is None:
        return None
    yield_after_step(body)
    rows = narrow_to_float32(numbers)
    return None if rows is None else rows.reshape(-1, width)


def read_float64_numbers(
    instances: object, width: int, body: bytes, *, other_brackets: int = 0
) -> NDArray[np.float64] | None:
    """Return the numbers of a list of rows, row after row, or None if it is anything else.

    Args:
        instances: Value of a parsed document.
        width: Number of values in a row.
        body: JSON text of the whole request.
        other_brackets: Number of `[` in the body outside of the list.

    Returns:
        Numbers, float64 `(n * width,)`, n ≥ 0.

    Raises:
        TypeError: If a value is no number.
        ValueError: If a number is out of float64's range.
    """
    if not isinstance(instances, simdjson.Array):
        return None
    count = len(instances)
    for row in iterate_cooperatively(instances):
        if type(row) is not simdjson.Array or len(row) != width:
            return None
    if not is_flat_matrix(body, count, other_brackets):  # `as_buffer` flattens lists of any depth
        return None
    yield_after_step(body)
    return np.frombuffer(instances.as_buffer(of_type="d"), np.float64)


def narrow_to_float32(numbers: NDArray[np.float64]) -> NDArray[np.float32] | None:
    """Return finite numbers `(n,)` as float32, or None if one of them overflows it."""
    with np.errstate(over="ignore"):
        narrowed = numbers.astype(np.float32)
    return narrowed if np.isfinite(narrowed).all() else None


def _decode_document(
    document: Any, body: bytes, schema: InputSchema, options: BodyOptions
) -> Arrays | None:
    # `len` takes no time, but listing millions of keys does.
    if not isinstance(document, simdjson.Object) or len(document) > len(options.allowed_keys) + 1:
        return None
    other_brackets = 0
    if list(document.keys()) != ["instances"]:
        counted = count_brackets(_read_options(document, options), body)
        if counted is None:
            return None
        other_brackets = counted
    instances = document["instances"]
    if not isinstance(instances, simdjson.Array):
        return None
    if schema.has_single_input and (not len(instances) or isinstance(instances[0], simdjson.Array)):
        try:
            rows = read_float32_rows(instances, len(schema), body, other_brackets=other_brackets)
        except (ValueError, TypeError):
            rows = None
        if rows is not None and schema.accepts_rows(rows):
            return {FEATURES_INPUT: rows}
    return _decode_instances(instances, body, schema, other_brackets)


def _read_options(document: simdjson.Object, options: BodyOptions) -> Iterator[bytes]:
    """Store the values of a body's options and yield the text of each.

    Raises:
        _UnusualBodyError: If the strict decoder has to read them.
    """
    keys = list(document.keys())
    if "instances" not in keys or len(set(keys)) < len(keys):
        raise _UnusualBodyError
    for key in keys:
        if key == "instances":
            continue
        value = document[key]
        text = serialize_value(value)
        if key not in options.allowed_keys or len(text) > MAX_OPTION_CHARACTERS:
            raise _UnusualBodyError
        options.values[key] = build_value(value, MAX_OPTION_CHARACTERS, key)
        yield text


def _decode_instances(
    instances: simdjson.Array, body: bytes, schema: InputSchema, other_brackets: int
) -> Arrays | None:
    if len(instances) * len(schema) > compute_max_cells(len(body)):
        return None
    if not all(isinstance(instance, NESTED_TYPES) for instance in iterate_cooperatively(instances)):
        return None
    is_flat = not other_brackets and has_flat_instances(body, len(instances))
    read = simdjson.Object.as_dict if is_flat else _read_unparsed
    blocks = split_into_blocks(iter(instances), len(schema))
    parts = [_decode_block(block, schema, read) for block in blocks]
    return concatenate_rows(parts or [schema.build_inputs([()] * len(schema))])


def _read_unparsed(instance: simdjson.Object) -> dict[str, object]:
    """Return a record whose nested lists and objects, if any, are not parsed.

    Raises:
        _UnusualBodyError: If it has so many keys that searching for each takes long.
    """
    # Iterating over `items()` would build the nested values.
    if len(instance) > MAX_SEARCHED_KEYS:
        raise _UnusualBodyError
    return {key: instance[key] for key in instance}


def _decode_block(block: Sequence[object], schema: InputSchema, read: RecordReader) -> Arrays:
    columns = zip(*_iterate_rows(block, schema, read), strict=True)
    pairs = zip(schema.columns, columns, strict=True)
    return schema.build_inputs([column.validate_all(values) for column, values in pairs])


def _iterate_rows(
    block: Sequence[object], schema: InputSchema, read: RecordReader
) -> Iterator[list[object]]:
    """Yield the values of each instance in the order of the columns, None for a gap.

    Raises:
        _UnusualBodyError: If an instance is no row or record that the model accepts.
    """
    width, names = len(schema), schema.column_positions.keys()
    max_keys = schema.max_named_columns
    budget = TurnBudget(VALUES_PER_BLOCK)
    for instance in block:
        if isinstance(instance, simdjson.Object) and len(instance) <= max_keys:
            record = read(instance)
            # simdjson counts a repeated key twice, a dictionary holds it once.
            if len(record) != len(instance):
                raise _UnusualBodyError
            # Only names with a character beyond ASCII have several Unicode normal forms.
            if not record.keys() <= names and not "".join(record).isascii():
                record = _rename_keys(record, schema)
            if not record.keys() <= names:
                if not schema.should_ignore_extra or names.isdisjoint(record):
                    raise _UnusualBodyError
                budget.spend(len(record))
            yield list(map(record.get, names))
        elif isinstance(instance, simdjson.Array) and len(instance) == width:
            yield list(instance)
        else:
            raise _UnusualBodyError


def _rename_keys(record: dict[str, object], schema: InputSchema) -> dict[str, object]:
    """Return a record whose keys have the Unicode normal form of the columns' names.

    Raises:
        _UnusualBodyError: If two keys are the same name in different forms.
    """
    renamed = {schema.resolve_column_name(name): value for name, value in record.items()}
    if len(renamed) < len(record):
        raise _UnusualBodyError
    return renamed
