"""Arrow schemas: which of the model's columns a stream holds, and how their values are laid out.

https://github.com/apache/arrow/blob/main/format/Schema.fbs has the numbers of fields and types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from serving.codec.flatbuffer import Table
from serving.codec.input_schema import DateField, Field, Fields
from serving.codec.quoting import quoted
from serving.codec.validation import VALUES, in_turns, refuse, require_digits, require_known
from serving.errors import MalformedBodyError
from serving.event_loop import Work


class Layout(NamedTuple):
    """How the values of a column are laid out.

    Attributes:
        kind: "text" has offsets into one buffer, "view" has structs of 16 bytes that point into
            any number of buffers, "null" has no buffers at all.
        dtype: NumPy's name of a number's type, or of the type of a text's offsets.
        seconds: Seconds of one tick of a time, where they are whole.
        per_second: Ticks of one second of a time.
    """

    kind: Literal["number", "boolean", "time", "text", "view", "null"]
    dtype: str = ""
    seconds: int = 1
    per_second: int = 1


FLOATS = {0: Layout("number", "<f2"), 1: Layout("number", "<f4"), 2: Layout("number", "<f8")}
DATES = {0: Layout("time", "<i4", 86400), 1: Layout("time", "<i8", 1, 1000)}  # days, milliseconds
TIMESTAMPS = {unit: Layout("time", "<i8", 1, 1000**unit) for unit in range(4)}
SMALL_TEXT, LARGE_TEXT, VIEW = Layout("text", "<i4"), Layout("text", "<i8"), Layout("view")
# Binary columns are taken for texts, too: BYTES of the Open Inference Protocol are written so.
OTHERS = {
    1: Layout("null"),
    4: SMALL_TEXT,
    5: SMALL_TEXT,
    6: Layout("boolean"),
    19: LARGE_TEXT,
    20: LARGE_TEXT,
    23: VIEW,
    24: VIEW,
}


VALUES_PER_COLUMN = 8  # that take as long to check as a column's declaration to read
# Buffers of an array of each type, those of its children not counted. A union is missing: older
# writers give it one more, and nothing in the schema says so.
BUFFERS = {
    1: 0,
    2: 2,
    3: 2,
    4: 3,
    5: 3,
    6: 2,
    7: 2,
    8: 2,
    9: 2,
    10: 2,
    11: 2,
    12: 2,
    13: 1,
    15: 2,
    16: 1,
    17: 2,
    18: 2,
    19: 3,
    20: 3,
    21: 2,
    22: 0,
    23: 2,
    24: 2,
    25: 3,
    26: 3,
}
VIEWS = (23, 24)  # types of which an array has further buffers, as many as each batch says
BYTES_PER_FIELD = 16  # of a schema; a field takes more, unless several parents refer to it


class Skipped(NamedTuple):
    """What columns that are left out take up of a batch.

    Attributes:
        nodes: Number of arrays, those nested in others included.
        buffers: Number of their buffers, those of `views` not included.
        views: Number of arrays of views, which have a number of buffers that each batch says.
    """

    nodes: int = 0
    buffers: int = 0
    views: int = 0


@dataclass(frozen=True)
class Column:
    """A column as the schema declares it.

    Attributes:
        field: The model's rule for its values.
        values: Layout of its values, or of its dictionary's.
        dictionary: Number of its dictionary; None where it has none.
        stored: Layout of what a batch holds: indices into the dictionary, or the values.
        skipped: What lies before it in a batch, of columns that are left out; None for
            nothing.
    """

    field: Field
    values: Layout
    dictionary: int | None
    stored: Layout
    skipped: Skipped | None = None


def read_schema(schema: Table, fields: Fields) -> list[Column]:
    """Read the columns of a stream.

    Args:
        schema: The schema's table.
        fields: The model's columns.

    Raises:
        MalformedBodyError: If it is no schema of numbers in little-endian order.
        InvalidInstancesError: If a column is not one of the model's, or of a type it cannot take.
    """
    if schema.number(0, "<h"):
        refuse_stream("big-endian numbers")
    columns: dict[str, Column] = {}
    left_out: list[Table] = []  # that are declared since the last column that is read
    count = 0
    for declared in in_turns(schema.tables(1), VALUES_PER_COLUMN):
        name = fields.named(declared.text(0))
        count += 1
        if fields.ignores_extra and name not in fields.places:
            if count > fields.most_names:
                refuse(f"expected at most {fields.most_names} columns; got more")
            left_out.append(declared)
            continue
        require_known([name], fields, "column")
        if name in columns:
            refuse(f"expected every column once; got {quoted(name)} twice", field=name)
        column = _column(declared, fields.columns[fields.places[name]])
        columns[name] = replace(column, skipped=_space_of(left_out)) if left_out else column
        left_out = []
    if not columns:
        refuse("expected the model's columns; got a stream of none")
    return list(columns.values())


def refuse_stream(came: str) -> NoReturn:
    """Refuse a body that is no Arrow stream, or of a kind that is not read."""
    raise MalformedBodyError(f"expected an Arrow stream; got {came[:200]}")


def _space_of(left_out: list[Table]) -> Skipped:
    """Return what columns take up of a batch.

    Raises:
        MalformedBodyError: If one is of a type that is not known, or they nest without end.
    """
    nodes = buffers = views = 0
    most = len(left_out[0].content) // BYTES_PER_FIELD
    waiting = list(left_out)
    work = Work(VALUES // VALUES_PER_COLUMN)
    while waiting:
        declared = waiting.pop()
        nodes += 1
        work.spend(1)
        if nodes + len(waiting) > most:
            refuse_stream("columns nested in more than one other")
        if declared.table(4) is not None:  # of a dictionary the batch holds the indices
            buffers += BUFFERS[2]
            continue
        kind = declared.number(2, "<B")
        if kind not in BUFFERS:
            refuse_stream(
                f"a column {quoted(declared.text(0))} of a type that cannot be left out; leave it "
                f"out before the stream is written"
            )
        buffers += BUFFERS[kind]
        views += kind in VIEWS
        waiting += islice(declared.tables(5), most)
    return Skipped(nodes, buffers, views)


def _column(declared: Table, field: Field) -> Column:
    values = _layout(declared, field)
    if values.kind == "time" and not isinstance(field, DateField):
        refuse(
            f"expected {field.expected} in field {field.name!r}; got a column of times",
            field=field.name,
        )
    if values.kind == "time" and isinstance(field, DateField):
        field = field.of_moments()
    if values.kind == "number":  # in a dictionary, too
        require_digits(field, np.dtype(values.dtype))
    encoding = declared.table(4)
    if encoding is None:
        return Column(field, values, None, values)
    index = encoding.table(1)
    indices = Layout("number", "<i4") if index is None else _integer(index)
    return Column(field, values, encoding.number(0, "<q"), indices)


def _layout(declared: Table, field: Field) -> Layout:
    of = declared.table(3)
    if of is None:
        refuse_stream("a column without a type")
    match declared.number(2, "<B"):
        case 2:
            found: Layout | None = _integer(of)
        case 3:
            found = FLOATS.get(of.number(0, "<h"))
        case 8:
            found = DATES.get(of.number(0, "<h", 1))
        case 10:
            found = TIMESTAMPS.get(of.number(0, "<h"))
        case other:
            found = OTHERS.get(other)
    if found is None:
        refuse(
            f"expected numbers, booleans, texts, dates or times in column {quoted(field.name)}; "
            f"got values of another type; cast them before they are written",
            field=field.name,
        )
    return found


def _integer(of: Table) -> Layout:
    bits = of.number(0, "<i")
    if bits not in (8, 16, 32, 64):
        refuse_stream(f"integers of {bits} bits")
    return Layout("number", f"<{'i' if of.number(1, '<B') else 'u'}{bits // 8}")
