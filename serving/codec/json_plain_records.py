"""The plain decoder of records: well-formed objects and rows of typed columns to arrays.

An instance is looked at before it is built, so that no list or object inside one ever is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import simdjson

from serving.bundle import FEATURES, Arrays, join
from serving.codec.beside import LONGEST, NOTHING, Beside
from serving.codec.input_schema import Fields, WrongValueError, most_cells
from serving.codec.json_documents import read_document, text_of_part
from serving.codec.json_fast import plain_rows, signs
from serving.codec.json_values import built
from serving.codec.validation import VALUES, blocks, in_turns
from serving.event_loop import Work

Read = Callable[[simdjson.Object], dict[str, Any]]

NEST = (simdjson.Object, simdjson.Array)
WIDEST = 256  # keys of a record that are searched for one by one


class _StrangeError(Exception):
    """The body has a duplicate key, an unknown key or a wrong number of values."""


def decode_plain_records(body: bytes, fields: Fields, beside: Beside = NOTHING) -> Arrays | None:
    """Decode a body, or return None where `json_careful` has to read it.

    Args:
        body: JSON text in UTF-8: `{"instances": [{…} or […], …]}`.
        fields: Columns of the model.
        beside: Keys that are allowed next to `instances`; their values are stored in it.

    Returns:
        The graph's inputs, as `Fields.inputs` says.
    """
    try:
        return read_document(body, lambda document: _decode(document, body, fields, beside))
    except (ValueError, TypeError, RuntimeError, WrongValueError, _StrangeError):
        return None


def _decode(document: Any, body: bytes, fields: Fields, beside: Beside) -> Arrays | None:
    # The number of keys is known at once; a list of millions of them takes its time.
    if not isinstance(document, simdjson.Object) or len(document) > len(beside.keys) + 1:
        return None
    brackets = 0
    if list(document.keys()) != ["instances"]:
        found = _brackets_beside(document, body, beside)
        if found is None:
            return None
        brackets = found
    instances = document["instances"]
    if not isinstance(instances, simdjson.Array):
        return None
    if fields.all_numbers and (not len(instances) or isinstance(instances[0], simdjson.Array)):
        try:
            rows = plain_rows(instances, len(fields), body, brackets=brackets)
        except (ValueError, TypeError):
            rows = None
        if rows is not None and fields.take(rows):
            return {FEATURES: rows}
    return _records(instances, body, fields, brackets)


def _brackets_beside(document: simdjson.Object, body: bytes, beside: Beside) -> int | None:
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
        text = text_of_part(value) if isinstance(value, NEST) else str(value).encode()
        if key not in beside.keys or len(text) > LONGEST:
            return None
        brackets += text.count(b"[")
        beside.said[key] = built(value, LONGEST, key)
    return brackets


def _records(
    instances: simdjson.Array, body: bytes, fields: Fields, brackets: int
) -> Arrays | None:
    if len(instances) * len(fields) > most_cells(len(body)):
        return None
    if not all(isinstance(instance, NEST) for instance in in_turns(instances)):
        return None
    # One opening for the body, one for the list and one for each instance, which all are nests:
    # none is left for a nest inside one, nor for a text with a bracket in it.
    flat = not brackets and signs(body, b"[") + signs(body, b"{") == len(instances) + 2
    read = simdjson.Object.as_dict if flat else _read_unbuilt
    parts = [_inputs(block, fields, read) for block in blocks(iter(instances), len(fields))]
    return join(parts or [fields.inputs([()] * len(fields))])


def _read_unbuilt(instance: simdjson.Object) -> dict[str, object]:
    """Return a record whose nested lists and objects, if any, are not parsed."""
    # Each key is searched for from the first on; `items` would build what the values hold.
    if len(instance) > WIDEST:
        raise _StrangeError
    return {key: instance[key] for key in instance}


def _inputs(block: Sequence[object], fields: Fields, read: Read) -> Arrays:
    columns = zip(*_rows(block, fields, read), strict=True)
    return fields.inputs(
        [field.check_all(values) for field, values in zip(fields.columns, columns, strict=True)]
    )


def _rows(block: Sequence[object], fields: Fields, read: Read) -> Iterator[list[object]]:
    """Yield each instance's values in the order of the columns, None for a gap."""
    width, names, most = len(fields), fields.places.keys(), fields.most_names
    work = Work(VALUES)
    for instance in block:
        if isinstance(instance, simdjson.Object) and len(instance) <= most:
            record = read(instance)
            # simdjson keeps every key, a dictionary each once.
            if len(record) != len(instance):
                raise _StrangeError
            # Names in ASCII alone have one form: extra ones are not looked at one by one.
            if not record.keys() <= names and not "".join(record).isascii():
                record = _renamed(record, fields)
            if not record.keys() <= names:
                if not fields.ignores_extra or names.isdisjoint(record):
                    raise _StrangeError
                work.spend(len(record))
            yield list(map(record.get, names))
        elif isinstance(instance, simdjson.Array) and len(instance) == width:
            yield list(instance)
        else:
            raise _StrangeError


def _renamed(record: dict[str, object], fields: Fields) -> dict[str, object]:
    """Return a record whose keys are the columns' names, for keys in another Unicode form."""
    renamed = {fields.named(name): value for name, value in record.items()}
    if len(renamed) < len(record):  # two names have become one
        raise _StrangeError
    return renamed
