"""The plain decoder of records: well-formed objects and rows of typed columns to arrays.

An instance is looked at before it is built, so that no list or object inside one ever is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import simdjson

from serving.bundle import FEATURES, Arrays
from serving.codec.fields import Fields, WrongValueError, join, most_cells
from serving.codec.json_plain import decode_plain, signs

Read = Callable[[simdjson.Object], dict[str, Any]]

NEST = (simdjson.Object, simdjson.Array)
BLOCK = 1024  # instances that are Python objects at the same time


class _StrangeError(Exception):
    """Something out of the ordinary: a key twice, a key of no column, another number of values."""


def decode_plain_records(body: bytes, fields: Fields) -> Arrays | None:
    """The instances of a body, or None where anything at all is out of the ordinary.

    Args:
        body: the JSON text, UTF-8: `{"instances": [{…} or […], …]}`.
        fields: the model's columns.

    Returns:
        The graph's inputs, as `Fields.inputs` says.
    """
    if fields.all_numbers and not _holds_records(body):
        rows = decode_plain(body, len(fields))
        if rows is not None and fields.take(rows):
            return {FEATURES: rows}
    try:
        document = simdjson.Parser().parse(body)
        if not isinstance(document, simdjson.Object) or list(document.keys()) != ["instances"]:
            return None
        instances = document["instances"]
        if not isinstance(instances, simdjson.Array) or not all(
            isinstance(instance, NEST) for instance in instances
        ):
            return None
        if len(instances) * len(fields) > most_cells(len(body)):
            return None
        # One opening for the body, one for the list and one for each instance, which all are nests:
        # none is left for a nest inside one, nor for a text with a bracket in it.
        flat = signs(body, "[") + signs(body, "{") == len(instances) + 2
        read = simdjson.Object.as_dict if flat else _read_unbuilt
        parts = [_inputs(block, fields, read) for block in _blocks(iter(instances))]
    except (ValueError, TypeError, RuntimeError, WrongValueError, _StrangeError):
        return None
    return join(parts or [fields.inputs([()] * len(fields))])


def _holds_records(body: bytes) -> bool:
    """Whether a brace follows the first one."""
    return body.find(b"{", body.find(b"{") + 1) >= 0


def _blocks(instances: Iterator[object]) -> Iterator[list[object]]:
    while block := list(islice(instances, BLOCK)):
        yield block
        if len(block) == BLOCK:
            time.sleep(0)  # there may be many more: let whoever is ready have a turn


def _read_unbuilt(instance: simdjson.Object) -> dict[str, object]:
    """A record whose lists and objects, if it holds any, stay unbuilt."""
    return {key: instance[key] for key in instance}


def _inputs(block: Sequence[object], fields: Fields, read: Read) -> Arrays:
    columns = zip(*_rows(block, fields, read), strict=True)
    return fields.inputs(
        [field.check_all(values) for field, values in zip(fields.columns, columns, strict=True)]
    )


def _rows(block: Sequence[object], fields: Fields, read: Read) -> Iterator[list[object]]:
    """Each instance's values in the order of the columns, None for a gap."""
    width, names = len(fields), fields.places.keys()
    for instance in block:
        if isinstance(instance, simdjson.Object) and len(instance) <= width:
            record = read(instance)
            # simdjson keeps every key, a dictionary each once.
            if len(record) != len(instance) or not record.keys() <= names:
                raise _StrangeError
            yield list(map(record.get, names))
        elif isinstance(instance, simdjson.Array) and len(instance) == width:
            yield list(instance)
        else:
            raise _StrangeError
