"""Arrow schemas: which of the model's columns a stream holds, and how their values are laid out.

https://github.com/apache/arrow/blob/main/format/Schema.fbs has the numbers of fields and types.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from serving.codec.column_validators import ColumnValidator
from serving.codec.date_validator import DateValidator
from serving.codec.flatbuffer import FlatbufferTable
from serving.codec.input_schema import InputSchema
from serving.codec.quoting import quote_text
from serving.codec.validation import (
    VALUES_PER_BLOCK,
    iterate_cooperatively,
    refuse_instances,
    require_float64,
    require_known_names,
)
from serving.errors import MalformedBodyError
from serving.event_loop import TurnBudget


class Layout(NamedTuple):
    """How the values of a column are laid out.

    Attributes:
        kind: "text" has offsets into one buffer, "view" has structs of 16 bytes that point into
            any number of buffers, "null" has no buffers at all.
        dtype: NumPy's name of a number's type, or of the type of a text's offsets.
        seconds_per_tick: Seconds of one tick of a time, where they are whole.
        per_second: Ticks of one second of a time.
    """

    kind: Literal["number", "boolean", "time", "text", "view", "null"]
    dtype: str = ""
    seconds_per_tick: int = 1
    ticks_per_second: int = 1


FLOAT_LAYOUTS = {0: Layout("number", "<f2"), 1: Layout("number", "<f4"), 2: Layout("number", "<f8")}
DATE_LAYOUTS = {
    0: Layout("time", "<i4", 86400),
    1: Layout("time", "<i8", 1, 1000),
}  # days, milliseconds
TIMESTAMP_LAYOUTS = {unit: Layout("time", "<i8", 1, 1000**unit) for unit in range(4)}
TEXT_LAYOUT, LARGE_TEXT_LAYOUT, TEXT_VIEW_LAYOUT = (
    Layout("text", "<i4"),
    Layout("text", "<i8"),
    Layout("view"),
)
# Binary columns are taken for texts, too: BYTES of the Open Inference Protocol are written so.
OTHER_LAYOUTS = {
    1: Layout("null"),
    4: TEXT_LAYOUT,
    5: TEXT_LAYOUT,
    6: Layout("boolean"),
    19: LARGE_TEXT_LAYOUT,
    20: LARGE_TEXT_LAYOUT,
    23: TEXT_VIEW_LAYOUT,
    24: TEXT_VIEW_LAYOUT,
}


COLUMN_COST_IN_VALUES = 8  # that take as long to check as a column's declaration to read
# Buffers of an array of each type, those of its children not counted. A union is missing: older
# writers give it one more, and nothing in the schema says so.
BUFFERS_BY_TYPE = {
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
VIEW_TYPES = (23, 24)  # types of which an array has further buffers, as many as each batch says
MIN_FIELD_BYTES = 16  # of a schema; a field takes more, unless several parents refer to it


class SkippedArrays(NamedTuple):
    """What columns that are left out take up of a batch.

    Attributes:
        nodes: Number of arrays, those nested in others included.
        buffers: Number of their buffers, those of `views` not included.
        view_arrays: Number of arrays of views, which have a number of buffers that each batch says.
    """

    nodes: int = 0
    buffers: int = 0
    view_arrays: int = 0


@dataclass(frozen=True)
class ArrowColumn:
    """A column as the schema declares it.

    Attributes:
        field: The model's rule for its values.
        value_layout: Layout of its values, or of its dictionary's.
        dictionary_id: Number of its dictionary; None where it has none.
        stored: Layout of what a batch holds: indices into the dictionary, or the values.
        skipped: What lies before it in a batch, of columns that are left out; None for
            nothing.
    """

    field: ColumnValidator
    value_layout: Layout
    dictionary_id: int | None
    stored_layout: Layout
    skipped: SkippedArrays | None = None


def read_schema(schema: FlatbufferTable, fields: InputSchema) -> list[ArrowColumn]:
    """Read the columns of a stream.

    Args:
        schema: The schema's table.
        fields: The model's columns.

    Raises:
        MalformedBodyError: If it is no schema of numbers in little-endian order.
        InvalidInstancesError: If a column is not one of the model's, or of a type it cannot take.
    """
    if schema.read_number(0, "<h"):
        refuse_stream("big-endian numbers")
    columns: dict[str, ArrowColumn] = {}
    left_out: list[FlatbufferTable] = []  # that are declared since the last column that is read
    count = 0
    for declared in iterate_cooperatively(schema.read_tables(1), COLUMN_COST_IN_VALUES):
        name = fields.resolve_column_name(declared.read_text(0))
        count += 1
        if fields.should_ignore_extra and name not in fields.column_positions:
            if count > fields.max_named_columns:
                refuse_instances(f"expected at most {fields.max_named_columns} columns; got more")
            left_out.append(declared)
            continue
        require_known_names([name], fields, "column")
        if name in columns:
            refuse_instances(
                f"expected every column once; got {quote_text(name)} twice", field=name
            )
        column = _read_column(declared, fields.columns[fields.column_positions[name]])
        columns[name] = (
            replace(column, skipped=_count_skipped_arrays(left_out)) if left_out else column
        )
        left_out = []
    if not columns:
        refuse_instances("expected the model's columns; got a stream of none")
    return list(columns.values())


def refuse_stream(came: str) -> NoReturn:
    """Refuse a body that is no Arrow stream, or of a kind that is not read."""
    raise MalformedBodyError(f"expected an Arrow stream; got {came[:200]}")


def _count_skipped_arrays(left_out: list[FlatbufferTable]) -> SkippedArrays:
    """Return what columns take up of a batch.

    Raises:
        MalformedBodyError: If one is of a type that is not known, or they nest without end.
    """
    nodes = buffers = views = 0
    most = len(left_out[0].content) // MIN_FIELD_BYTES
    waiting = list(left_out)
    work = TurnBudget(VALUES_PER_BLOCK // COLUMN_COST_IN_VALUES)
    while waiting:
        declared = waiting.pop()
        nodes += 1
        work.spend(1)
        if nodes + len(waiting) > most:
            refuse_stream("columns nested in more than one other")
        if declared.read_table(4) is not None:  # of a dictionary the batch holds the indices
            buffers += BUFFERS_BY_TYPE[2]
            continue
        kind = declared.read_number(2, "<B")
        if kind not in BUFFERS_BY_TYPE:
            refuse_stream(
                f"a column {quote_text(declared.read_text(0))} of a type that cannot be left out; leave it "
                f"out before the stream is written"
            )
        buffers += BUFFERS_BY_TYPE[kind]
        views += kind in VIEW_TYPES
        waiting += islice(declared.read_tables(5), most)
    return SkippedArrays(nodes, buffers, views)


def _read_column(declared: FlatbufferTable, field: ColumnValidator) -> ArrowColumn:
    values = _read_layout(declared, field)
    if values.kind == "time" and not isinstance(field, DateValidator):
        refuse_instances(
            f"expected {field.expected} in field {field.name!r}; got a column of times",
            field=field.name,
        )
    if values.kind == "time" and isinstance(field, DateValidator):
        field = field.for_timestamps()
    if values.kind == "number":  # in a dictionary, too
        require_float64(field, np.dtype(values.dtype))
    encoding = declared.read_table(4)
    if encoding is None:
        return ArrowColumn(field, values, None, values)
    index = encoding.read_table(1)
    indices = Layout("number", "<i4") if index is None else _read_integer_layout(index)
    return ArrowColumn(field, values, encoding.read_number(0, "<q"), indices)


def _read_layout(declared: FlatbufferTable, field: ColumnValidator) -> Layout:
    of = declared.read_table(3)
    if of is None:
        refuse_stream("a column without a type")
    match declared.read_number(2, "<B"):
        case 2:
            found: Layout | None = _read_integer_layout(of)
        case 3:
            found = FLOAT_LAYOUTS.get(of.read_number(0, "<h"))
        case 8:
            found = DATE_LAYOUTS.get(of.read_number(0, "<h", 1))
        case 10:
            found = TIMESTAMP_LAYOUTS.get(of.read_number(0, "<h"))
        case other:
            found = OTHER_LAYOUTS.get(other)
    if found is None:
        refuse_instances(
            f"expected numbers, booleans, texts, dates or times in column {quote_text(field.name)}; "
            f"got values of another type; cast them before they are written",
            field=field.name,
        )
    return found


def _read_integer_layout(of: FlatbufferTable) -> Layout:
    bits = of.read_number(0, "<i")
    if bits not in (8, 16, 32, 64):
        refuse_stream(f"integers of {bits} bits")
    return Layout("number", f"<{'i' if of.read_number(1, '<B') else 'u'}{bits // 8}")
