"""JSON values as simdjson parses them: documents, lists, objects and the options besides instances.

simdjson parses a whole body at once but builds Python objects only for what is read. The functions
here walk through lists in blocks and never build a nested value where a scalar should be, so that a
hostile body costs no more memory than its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import simdjson

from serving.bundle import Arrays, pluralize
from serving.bundle.column_schema import ColumnSchema
from serving.bundle.quoting import MAX_QUOTED_CHARACTERS, UnparsedValue, describe_value
from serving.codec.input_schema import InputSchema
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

NESTED_TYPES = (simdjson.Object, simdjson.Array)
MAX_POOLED_BODY_BYTES = 2**20  # a parser of a longer body is freed instead
MAX_FREE_PARSERS = 4  # as many as decode at the same time, which is rarely more than one
LONG_BODY_BYTES = 2**20  # one pass over a longer body takes milliseconds
MAX_OPTION_CHARACTERS = 4096
VALUES_PER_KEY = VALUES_PER_BLOCK // 256  # cost of one search for a key, in values at most


class ParserPool:
    """The simdjson parsers that wait for the next body.

    A parser's memory grows with the body that it parses, and a new parser's pages are all new to
    the process: touching them for the first time costs more than parsing. So parsers are kept and
    reused.

    Attributes:
        free_parsers: Parsers that are not in use, at most `MAX_FREE_PARSERS`.
    """

    def __init__(self) -> None:
        self.free_parsers: list[simdjson.Parser] = []

    def read_document(self, body: bytes, read: Callable[[Any], Result]) -> Result:
        """Parse a body and return the result of a function of its document.

        Args:
            body: JSON text in UTF-8.
            read: Function of the document, which is a simdjson object or array or a Python scalar.
                It must keep no part of the document: the parser will overwrite it.

        Raises:
            ValueError: If simdjson cannot parse the body. UnicodeDecodeError is one.
            RuntimeError: If simdjson cannot parse the body, for instance because it is nested too
                deep.
        """
        try:
            parser = self.free_parsers.pop()
        except IndexError:
            parser = simdjson.Parser()
        # If `read` raises, the traceback keeps the document alive. The parser is not reused then.
        document = parser.parse(body)
        yield_after_step(body)
        result = read(document)
        del document  # a parser cannot parse the next body while a document is alive
        if len(body) <= MAX_POOLED_BODY_BYTES and len(self.free_parsers) < MAX_FREE_PARSERS:
            self.free_parsers.append(parser)
        return result


# The pool belongs to the process, because its parsers are memory to reuse and hold nothing of a
# request or a model. To pass it in, each route would hand it through every decoder down to here.
read_document = ParserPool().read_document


def yield_after_step(body: bytes) -> None:
    """Yield to the event loop if one pass over the body takes long."""
    if len(body) > LONG_BODY_BYTES:
        yield_to_loop()


def serialize_part(part: simdjson.Object | simdjson.Array) -> bytes:
    """Return a part of a document as JSON text without spaces."""
    text: Any = part.mini  # bytes, whatever its type stub says
    return bytes(text)


def serialize_value(value: object) -> bytes:
    """Return a list or object as `serialize_part` does, and the text of a scalar without quotes."""
    if isinstance(value, NESTED_TYPES):
        return serialize_part(value)
    return str(value).encode()


class BodyOptions:
    """The options of a JSON body: the keys that it may have besides its instances.

    Args:
        keys: Names of the keys, each once.

    Attributes:
        allowed_keys: Names of the keys.
        values: Value of each key that the body has; filled in when the body is decoded.
    """

    def __init__(self, *keys: str) -> None:
        self.allowed_keys = keys
        self.values: dict[str, Any] = {}


NO_OPTIONS = BodyOptions()


def decode_matrix(rows: Iterable[object], schema: InputSchema, description: str) -> Arrays:
    """Return the graph's inputs of rows, each a list with a value for each column.

    Args:
        rows: Rows of a parsed document.
        schema: The model's columns.
        description: Name of the rows in error messages.

    Raises:
        InvalidInstancesError: If the model does not accept a row or a value.
    """
    width = len(schema)
    blocks = split_into_blocks(iterate_rows(rows, width, description), width)
    return build_inputs_from_rows(blocks, schema)


def decode_column(values: object, column: ColumnSchema, description: str) -> Sequence[Any]:
    """Return the validated values of a column, written as `[…]` or as `[[…], …]` of one each.

    Args:
        values: Value of a parsed document that should be the list.
        column: The schema of the column.
        description: Name of the list in error messages.

    Raises:
        InvalidInstancesError: If it is no such list, or the column does not accept a value.
    """
    return validate_long_column(column, iterate_values(values, 1, description))


def iterate_values(values: object, width: int, description: str) -> Iterator[object]:
    """Return an iterator over the values of `[…]`, or of `[[…], …]` row after row.

    Args:
        values: Value of a parsed document that should be the list.
        width: Number of values in a row of a nested list.
        description: Name of the list in error messages.

    Raises:
        InvalidInstancesError: If it is no list, or a row has another number of values.
    """
    array = require_list(values, description)
    if len(array) and isinstance(array[0], simdjson.Array):
        return chain.from_iterable(iterate_rows(array, width, description))
    return map(peek_value, array)


def iterate_rows(rows: Iterable[object], width: int, description: str) -> Iterator[list[object]]:
    """Yield the values of each row.

    Args:
        rows: Values of a parsed document that should be lists.
        width: Number of values that a row should have.
        description: Name of the rows in error messages.

    Raises:
        InvalidInstancesError: If a row is no list, or has another number of values.
    """
    for number, row in enumerate(rows):
        if not isinstance(row, simdjson.Array):
            refuse_instances(
                f"expected {description} to be lists of {pluralize(width, 'value')}; got "
                f"{describe_value(peek_value(row))} in instance {number}",
                instance=number,
            )
        if len(row) != width:
            refuse_instances(
                f"expected {pluralize(width, 'value')} in instance {number} of {description}, one "
                f"per feature; got {len(row)}",
                instance=number,
                expected=width,
                got=len(row),
            )
        yield [peek_value(value) for value in row]


def require_list(values: object, description: str) -> simdjson.Array:
    """Return a value of a parsed document if it is a list.

    Args:
        values: Any value of a parsed document.
        description: Name of the list in error messages.

    Raises:
        InvalidInstancesError: If it is no list.
    """
    if not isinstance(values, simdjson.Array):
        got = describe_value(peek_value(values))
        refuse_instances(f"expected {description} to be a list; got {got}")
    return values


def peek_value(value: object) -> object:
    """Return a scalar as it is, and an `UnparsedValue` for a list or an object."""
    match value:
        case simdjson.Array():
            return UnparsedValue.LIST
        case simdjson.Object():
            return UnparsedValue.OBJECT
        case _:
            return value


def build_value(value: Any, max_characters: int, description: str) -> Any:
    """Return a value of a parsed document as Python objects.

    Args:
        value: Any value of a parsed document.
        max_characters: Largest length of a list or object, in characters without spaces.
        description: Name of the value in error messages.

    Raises:
        InvalidInstancesError: If the value is longer.
    """
    if not isinstance(value, NESTED_TYPES):
        return value
    if len(serialize_part(value)) > max_characters:
        refuse_instances(f"expected {description} in at most {max_characters} characters; got more")
    return value.as_dict() if isinstance(value, simdjson.Object) else value.as_list()


def read_members(
    value: object,
    allowed_keys: Iterable[str],
    description: str,
    max_keys: int | None = None,
    resolve_key: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return the members of an object by key; nested values stay unparsed.

    Args:
        value: Value of a parsed document that should be the object.
        allowed_keys: Keys that it may have, each once.
        description: Name of the object in error messages.
        max_keys: Largest number of keys if other keys are ignored; None if they are an error.
        resolve_key: Function that returns the allowed key that a written one means.

    Raises:
        InvalidInstancesError: If it is no object, or has other, repeated or too many keys.
    """
    if not isinstance(value, simdjson.Object):
        got = describe_value(peek_value(value))
        refuse_instances(f"expected {description} to be an object; got {got}")
    if max_keys is not None and len(value) > max_keys:
        refuse_instances(f"expected at most {max_keys} keys in {description}; got {len(value)}")
    members: dict[str, Any] = {}
    # simdjson searches for each key from the first one on, and there may be thousands of columns.
    for written in iterate_cooperatively(value, VALUES_PER_KEY):
        key = resolve_key(written)
        if key not in allowed_keys:
            if max_keys is not None:
                continue
            refuse_instances(
                f"expected {description} to have no other keys than {', '.join(allowed_keys)}; got "
                f"{describe_value(key)}",
                key=key[:MAX_QUOTED_CHARACTERS],
            )
        if key in members:
            refuse_instances(
                f"expected every key once in {description}; got {describe_value(key)} twice",
                key=key,
            )
        members[key] = value[written]
    return members
