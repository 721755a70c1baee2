"""The plain decoder of records: well-formed objects and rows of typed columns to arrays.

simdjson gives each instance's values as they are asked for, lists and objects among them unbuilt.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import simdjson

from serving.bundle import FEATURES, Arrays
from serving.codec.fields import Fields, WrongValueError, join, most_cells
from serving.codec.json_plain import decode_plain

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
        if not isinstance(instances, simdjson.Array):
            return None
        if len(instances) * len(fields) > most_cells(len(body)):
            return None
        parts = [_inputs(block, fields) for block in _blocks(iter(instances))]
    except (ValueError, TypeError, RuntimeError, WrongValueError, _StrangeError):
        return None
    return join(parts or [_inputs([], fields)])


def _holds_records(body: bytes) -> bool:
    """Whether a brace follows the first one."""
    return body.find(b"{", body.find(b"{") + 1) >= 0


def _blocks(instances: Iterator[object]) -> Iterator[list[object]]:
    while block := list(islice(instances, BLOCK)):
        yield block
        if len(block) == BLOCK:
            time.sleep(0)  # there may be many more: let whoever is ready have a turn


def _inputs(block: Sequence[object], fields: Fields) -> Arrays:
    rows = list(_rows(block, fields))
    columns: Iterable[tuple[object, ...]] = zip(*rows, strict=True) if rows else [()] * len(fields)
    return fields.inputs(
        [field.check_all(values) for field, values in zip(fields.columns, columns, strict=True)]
    )


def _rows(block: Sequence[object], fields: Fields) -> Iterator[list[object]]:
    """Each instance's values in the order of the columns, None for a gap."""
    width, names = len(fields), fields.places.keys()
    for instance in block:
        if isinstance(instance, simdjson.Object) and len(instance) <= width:
            record = dict(instance.items())
            # simdjson keeps every key, a dictionary each once.
            if len(record) != len(instance) or not record.keys() <= names:
                raise _StrangeError
            yield list(map(record.get, names))
        elif isinstance(instance, simdjson.Array) and len(instance) == width:
            yield list(instance)
        else:
            raise _StrangeError
