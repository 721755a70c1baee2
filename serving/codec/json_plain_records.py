"""The plain decoder of records: well-formed objects and rows of typed columns to arrays.

An instance is looked at before it is built, so that no list or object inside one ever is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import simdjson

from serving.bundle import FEATURES_INPUT, Arrays, concatenate_rows
from serving.codec.beside import MAX_OPTION_CHARACTERS, NO_OPTIONS, BodyOptions
from serving.codec.input_schema import InputSchema, WrongValueError, compute_max_cells
from serving.codec.json_documents import read_document, serialize_part
from serving.codec.json_fast import count_character, read_float32_rows
from serving.codec.json_values import build_value
from serving.codec.validation import VALUES_PER_BLOCK, iterate_cooperatively, split_into_blocks
from serving.event_loop import TurnBudget

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
    if not isinstance(document, simdjson.Object) or len(document) > len(beside.keys) + 1:
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
    if fields.all_numbers and (not len(instances) or isinstance(instances[0], simdjson.Array)):
        try:
            rows = read_float32_rows(instances, len(fields), body, brackets=brackets)
        except (ValueError, TypeError):
            rows = None
        if rows is not None and fields.take(rows):
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
        if key not in beside.keys or len(text) > MAX_OPTION_CHARACTERS:
            return None
        brackets += text.count(b"[")
        beside.said[key] = build_value(value, MAX_OPTION_CHARACTERS, key)
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
    return concatenate_rows(parts or [fields.inputs([()] * len(fields))])


def _read_unparsed(instance: simdjson.Object) -> dict[str, object]:
    """Return a record whose nested lists and objects, if any, are not parsed."""
    # Each key is searched for from the first on; `items` would build what the values hold.
    if len(instance) > MAX_SEARCHED_KEYS:
        raise _UnusualBodyError
    return {key: instance[key] for key in instance}


def _decode_block(block: Sequence[object], fields: InputSchema, read: RecordReader) -> Arrays:
    columns = zip(*_iterate_rows(block, fields, read), strict=True)
    return fields.inputs(
        [field.check_all(values) for field, values in zip(fields.columns, columns, strict=True)]
    )


def _iterate_rows(
    block: Sequence[object], fields: InputSchema, read: RecordReader
) -> Iterator[list[object]]:
    """Yield each instance's values in the order of the columns, None for a gap."""
    width, names, most = len(fields), fields.places.keys(), fields.max_named_columns
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
    renamed = {fields.named(name): value for name, value in record.items()}
    if len(renamed) < len(record):  # two names have become one
        raise _UnusualBodyError
    return renamed
