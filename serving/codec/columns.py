"""Columns: values as a wire format brings them, to what the graph takes, or a precise refusal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from serving.bundle import Arrays
from serving.codec.fields import Field, Fields, WrongValueError, join
from serving.codec.values import SHOWN, quoted
from serving.errors import InvalidInstancesError

BLOCK = 1024  # instances that are Python objects at the same time


def refuse(message: str, **details: Any) -> NoReturn:
    """Say that these are no instances the model takes."""
    raise InvalidInstancesError(message, **details)


def check_column(field: Field, values: Sequence[object], first: int = 0) -> list[Any]:
    """The values of a column as the graph takes them, None for a gap.

    Args:
        field: the column's.
        values: of consecutive instances.
        first: number of the first of those.

    Raises:
        InvalidInstancesError: one is not what the column takes; the message says which.
    """
    try:
        return field.check_all(values)
    except WrongValueError:
        return [_check(field, value, first + place) for place, value in enumerate(values)]


def _check(field: Field, value: object, instance: int) -> Any:
    try:
        return field.check(value)
    except WrongValueError as error:
        refuse(
            f"expected {error.expected} in instance {instance}, field {field.name!r}; got "
            f"{error.got}",
            instance=instance,
            field=field.name,
        )


def inputs_of_rows(blocks: Iterable[Sequence[Sequence[object]]], fields: Fields) -> Arrays:
    """The graph's inputs of rows, each of as many values as there are columns.

    Args:
        blocks: some rows at a time.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: as `check_column`.
    """
    parts: list[Arrays] = []
    count = 0
    for block in blocks:
        columns = zip(fields.columns, zip(*block, strict=True), strict=True)
        parts.append(fields.inputs([check_column(f, values, count) for f, values in columns]))
        count += len(block)
        time.sleep(0)  # there may be many more: let whoever is ready have a turn
    return join(parts or [fields.inputs([()] * len(fields))])


def inputs_of_columns(columns: Mapping[str, Sequence[Any]], count: int, fields: Fields) -> Arrays:
    """The graph's inputs of columns by name; one that is not there is full of gaps.

    Args:
        columns: checked values, of known names.
        count: of instances.
        fields: the model's columns.

    Raises:
        InvalidInstancesError: one is not there, and the model fills no gap in it.
    """
    return fields.inputs(
        [
            columns[field.name] if field.name in columns else check_column(field, [None] * count)
            for field in fields.columns
        ]
    )


def require_known(names: Iterable[str], fields: Fields, what: str) -> None:
    """Refuse the first name that is no column's.

    Args:
        names: that came.
        fields: the model's columns.
        what: they name, in the singular.
    """
    for name in names:
        if name not in fields.places:
            close = get_close_matches(name[:SHOWN], fields.places, n=1)
            refuse(
                f"expected no other {what}s than the model's; got {quoted(name)}"
                f"{f'; did you mean {quoted(close[0])}?' if close else ''}",
                field=name[:SHOWN],
            )
