"""JSON arrays of a column or a matrix, value by value, to what the graph takes.

They are walked through in blocks, so that a hostile body is never built as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import simdjson

from serving.bundle import Arrays, counted
from serving.codec.input_schema import Field, Fields
from serving.codec.json_documents import text_of_part
from serving.codec.quoting import Nest, shown
from serving.codec.validation import (
    VALUES,
    blocks,
    check_long_column,
    in_turns,
    inputs_of_rows,
    refuse,
)

SEARCHED = VALUES // 256  # values that a search for a key costs no more than


def matrix_of(rows: Iterable[object], fields: Fields, what: str) -> Arrays:
    """The graph's inputs of lists of values.

    Args:
        rows: simdjson's arrays.
        fields: the model's columns.
        what: they are called in an error.

    Raises:
        InvalidInstancesError: a row or a value is not what the model takes.
    """
    return inputs_of_rows(blocks(rows_of(rows, len(fields), what), len(fields)), fields)


def column_of(values: object, field: Field, what: str) -> Sequence[Any]:
    """The checked values of a column, of `[…]` or `[[…], …]`.

    Args:
        values: simdjson's.
        field: the column's.
        what: they are called in an error.

    Raises:
        InvalidInstancesError: a value is not what the column takes.
    """
    return check_long_column(field, leaves(values, 1, what))


def leaves(values: object, width: int, what: str) -> Iterator[object]:
    """The values of `[…]`, or of `[[…], …]` with `width` of them in a row.

    Args:
        values: simdjson's.
        width: of a row.
        what: they are called in an error.

    Raises:
        InvalidInstancesError: they are nested in another way.
    """
    array = list_of(values, what)
    if len(array) and isinstance(array[0], simdjson.Array):
        return chain.from_iterable(rows_of(array, width, what))
    return map(unbuilt, array)


def rows_of(rows: Iterable[object], width: int, what: str) -> Iterator[list[object]]:
    """The values of each row; raises as `leaves` does."""
    for number, row in enumerate(rows):
        if not isinstance(row, simdjson.Array):
            refuse(
                f"expected {what} to be lists of {counted(width, 'value')}; got "
                f"{shown(unbuilt(row))} in instance {number}",
                instance=number,
            )
        if len(row) != width:
            refuse(
                f"expected {counted(width, 'value')} in instance {number} of {what}, one per "
                f"feature; got "
                f"{len(row)}",
                instance=number,
                expected=width,
                got=len(row),
            )
        yield [unbuilt(value) for value in row]


def list_of(values: object, what: str) -> simdjson.Array:
    """The same values, or the refusal of what is no list."""
    if not isinstance(values, simdjson.Array):
        refuse(f"expected {what} to be a list; got {shown(unbuilt(values))}")
    return values


def unbuilt(value: object) -> object:
    """The value, or what it is called where it is a list or an object."""
    match value:
        case simdjson.Array():
            return Nest.LIST
        case simdjson.Object():
            return Nest.OBJECT
        case _:
            return value


def built(value: Any, most: int, what: str) -> Any:
    """The value as Python has it.

    Args:
        value: simdjson's.
        most: characters that it may have.
        what: it is called in an error.

    Raises:
        InvalidInstancesError: it has more.
    """
    if not isinstance(value, simdjson.Object | simdjson.Array):
        return value
    if len(text_of_part(value)) > most:
        refuse(f"expected {what} in at most {most} characters; got more")
    return value.as_dict() if isinstance(value, simdjson.Object) else value.as_list()


def members_of(
    value: object,
    known: Iterable[str],
    what: str,
    most: int | None = None,
    named: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The members of an object, which stay unbuilt.

    Args:
        value: simdjson's.
        known: keys that it may have, each once.
        what: it is called in an error.
        most: Largest number of keys where others are left out; None refuses others.
        named: Gives the known key that a key stands for.

    Raises:
        InvalidInstancesError: If it is none, or has others or too many keys.
    """
    if not isinstance(value, simdjson.Object):
        refuse(f"expected {what} to be an object; got {shown(unbuilt(value))}")
    if most is not None and len(value) > most:
        refuse(f"expected at most {most} keys in {what}; got {len(value)}")
    members: dict[str, Any] = {}
    # A key is searched for from the first on, and a table may have thousands of columns.
    for written in in_turns(value, SEARCHED):
        key = named(written)
        if key not in known:
            if most is not None:
                continue
            refuse(
                f"expected {what} to have no other keys than {', '.join(known)}; got {shown(key)}",
                key=key[:40],
            )
        if key in members:
            refuse(f"expected every key once in {what}; got {shown(key)} twice", key=key)
        members[key] = value[written]
    return members
