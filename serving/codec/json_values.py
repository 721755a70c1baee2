"""Parsed JSON: documents, arrays, objects and options, read without building what is not used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import simdjson

from serving.bundle import Arrays, pluralize
from serving.codec.column_validators import ColumnValidator
from serving.codec.input_schema import InputSchema
from serving.codec.quoting import UnparsedValue, describe_value
from serving.codec.validation import (
    VALUES_PER_BLOCK,
    build_inputs_from_rows,
    iterate_cooperatively,
    refuse_instances,
    split_into_blocks,
    validate_long_column,
)
from serving.event_loop import yield_to_loop

Result = TypeVar("Result")
MAX_POOLED_BODY_BYTES = 2**20  # bytes of the longest body that leaves its parser's memory with us
LONG_BODY_BYTES = 2**20  # bytes of a body through which a single step takes milliseconds
MAX_FREE_PARSERS = 4  # parsers; as many as decode at the same time, which is rarely more than one
_free_parsers: list[simdjson.Parser] = []


def read_document(body: bytes, read: Callable[[Any], Result]) -> Result:
    """What `read` makes of the document of a body.

    Args:
        body: the JSON text, UTF-8.
        read: is given the document, simdjson's own or a plain value; keeps no part of it.

    Raises:
        ValueError: simdjson does not take the body; UnicodeDecodeError is one.
        RuntimeError: likewise, as a body nested too deep.
    """
    try:
        parser = _free_parsers.pop()
    except IndexError:
        parser = simdjson.Parser()
    # What is raised holds on to its frames, and they to the document: then the parser goes, too.
    document = parser.parse(body)
    yield_after_step(body)
    answer = read(document)
    del document  # or it would be in the way of the next one
    if len(body) <= MAX_POOLED_BODY_BYTES and len(_free_parsers) < MAX_FREE_PARSERS:
        _free_parsers.append(parser)
    return answer


def yield_after_step(body: bytes) -> None:
    """Let others have a turn between two steps that each go through the whole of a long body."""
    if len(body) > LONG_BODY_BYTES:
        yield_to_loop()


def serialize_part(part: simdjson.Object | simdjson.Array) -> bytes:
    """A part of a document as JSON again, without spaces."""
    text: Any = part.mini  # bytes, whatever its stub says
    return bytes(text)


MAX_OPTION_CHARACTERS = 4096  # characters of such a value


class BodyOptions:
    """Keys that a body may have, and what it says there.

    Args:
        allowed_keys: that may be there, each once.

    Attributes:
        values: by key, once the body is decoded.
    """

    def __init__(self, *keys: str) -> None:
        self.allowed_keys = keys
        self.values: dict[str, Any] = {}


NO_OPTIONS = BodyOptions()
VALUES_PER_KEY = VALUES_PER_BLOCK // 256  # values that a search for a key costs no more than


def decode_matrix(rows: Iterable[object], fields: InputSchema, what: str) -> Arrays:
    """The graph's inputs of lists of values.

    Args:
        rows: simdjson's arrays.
        fields: the model's columns.
        what: they are called in an error.

    Raises:
        InvalidInstancesError: a row or a value is not what the model takes.
    """
    return build_inputs_from_rows(
        split_into_blocks(iterate_rows(rows, len(fields), what), len(fields)), fields
    )


def decode_column(values: object, field: ColumnValidator, what: str) -> Sequence[Any]:
    """The checked values of a column, of `[…]` or `[[…], …]`.

    Args:
        values: simdjson's.
        field: the column's.
        what: they are called in an error.

    Raises:
        InvalidInstancesError: a value is not what the column takes.
    """
    return validate_long_column(field, iterate_values(values, 1, what))


def iterate_values(values: object, width: int, description: str) -> Iterator[object]:
    """The values of `[…]`, or of `[[…], …]` with `width` of them in a row.

    Args:
        values: simdjson's.
        width: of a row.
        description: they are called in an error.

    Raises:
        InvalidInstancesError: they are nested in another way.
    """
    array = require_list(values, description)
    if len(array) and isinstance(array[0], simdjson.Array):
        return chain.from_iterable(iterate_rows(array, width, description))
    return map(peek_value, array)


def iterate_rows(rows: Iterable[object], width: int, what: str) -> Iterator[list[object]]:
    """The values of each row; raises as `iterate_values` does."""
    for number, row in enumerate(rows):
        if not isinstance(row, simdjson.Array):
            refuse_instances(
                f"expected {what} to be lists of {pluralize(width, 'value')}; got "
                f"{describe_value(peek_value(row))} in instance {number}",
                instance=number,
            )
        if len(row) != width:
            refuse_instances(
                f"expected {pluralize(width, 'value')} in instance {number} of {what}, one per "
                f"feature; got "
                f"{len(row)}",
                instance=number,
                expected=width,
                got=len(row),
            )
        yield [peek_value(value) for value in row]


def require_list(values: object, what: str) -> simdjson.Array:
    """The same values, or the refusal of what is no list."""
    if not isinstance(values, simdjson.Array):
        refuse_instances(f"expected {what} to be a list; got {describe_value(peek_value(values))}")
    return values


def peek_value(value: object) -> object:
    """The value, or what it is called where it is a list or an object."""
    match value:
        case simdjson.Array():
            return UnparsedValue.LIST
        case simdjson.Object():
            return UnparsedValue.OBJECT
        case _:
            return value


def build_value(value: Any, max_characters: int, what: str) -> Any:
    """The value as Python has it.

    Args:
        value: simdjson's.
        max_characters: characters that it may have.
        what: it is called in an error.

    Raises:
        InvalidInstancesError: it has more.
    """
    if not isinstance(value, simdjson.Object | simdjson.Array):
        return value
    if len(serialize_part(value)) > max_characters:
        refuse_instances(f"expected {what} in at most {max_characters} characters; got more")
    return value.as_dict() if isinstance(value, simdjson.Object) else value.as_list()


def read_members(
    value: object,
    allowed_keys: Iterable[str],
    what: str,
    max_keys: int | None = None,
    resolve_key: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The members of an object, which stay unbuilt.

    Args:
        value: simdjson's.
        allowed_keys: keys that it may have, each once.
        what: it is called in an error.
        max_keys: Largest number of keys where others are left out; None refuses others.
        resolve_key: Gives the known key that a key stands for.

    Raises:
        InvalidInstancesError: If it is none, or has others or too many keys.
    """
    if not isinstance(value, simdjson.Object):
        refuse_instances(
            f"expected {what} to be an object; got {describe_value(peek_value(value))}"
        )
    if max_keys is not None and len(value) > max_keys:
        refuse_instances(f"expected at most {max_keys} keys in {what}; got {len(value)}")
    members: dict[str, Any] = {}
    # A key is searched for from the first on, and a table may have thousands of columns.
    for written in iterate_cooperatively(value, VALUES_PER_KEY):
        key = resolve_key(written)
        if key not in allowed_keys:
            if max_keys is not None:
                continue
            refuse_instances(
                f"expected {what} to have no other keys than {', '.join(allowed_keys)}; got {describe_value(key)}",
                key=key[:40],
            )
        if key in members:
            refuse_instances(
                f"expected every key once in {what}; got {describe_value(key)} twice", key=key
            )
        members[key] = value[written]
    return members
