"""Arrow schemas: which of the model's columns a stream contains, and how their values are stored.

The numbers of fields and types are those of
https://github.com/apache/arrow/blob/main/format/Schema.fbs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from serving.bundle.column_schema import ColumnSchema
from serving.bundle.quoting import quote_text
from serving.codec.flatbuffer import FlatbufferTable
from serving.codec.input_schema import InputSchema
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
    """How the values of a column are stored.

    Attributes:
        kind: Kind of the values. "text" has offsets into one buffer, "view" has structs of 16 bytes
            that point into any number of buffers, "null" has no buffers at all.
        dtype: NumPy dtype of the numbers, or of the offsets of a "text" layout.
        seconds_per_tick: Seconds in one tick of a time, where that is a whole number.
        ticks_per_second: Ticks in one second of a time.
    """

    kind: Literal["number", "boolean", "time", "text", "view", "null"]
    dtype: str = ""
    seconds_per_tick: int = 1
    ticks_per_second: int = 1


# Layouts by precision of a floating-point type, and by unit of a date or timestamp.
FLOAT_LAYOUTS = {0: Layout("number", "<f2"), 1: Layout("number", "<f4"), 2: Layout("number", "<f8")}
DAYS_LAYOUT, MILLISECONDS_LAYOUT = Layout("time", "<i4", 86400), Layout("time", "<i8", 1, 1000)
DATE_LAYOUTS = {0: DAYS_LAYOUT, 1: MILLISECONDS_LAYOUT}
TIMESTAMP_LAYOUTS = {unit: Layout("time", "<i8", 1, 1000**unit) for unit in range(4)}
TEXT_LAYOUT, LARGE_TEXT_LAYOUT = Layout("text", "<i4"), Layout("text", "<i8")
TEXT_VIEW_LAYOUT = Layout("view")
# Layouts of the types without a precision or a unit. Binary columns are read as texts, since
# clients of the Open Inference Protocol write its BYTES as such.
OTHER_LAYOUTS = {
    1: Layout("null"),  # Null
    4: TEXT_LAYOUT,  # Binary
    5: TEXT_LAYOUT,  # Utf8
    6: Layout("boolean"),  # Bool
    19: LARGE_TEXT_LAYOUT,  # LargeBinary
    20: LARGE_TEXT_LAYOUT,  # LargeUtf8
    23: TEXT_VIEW_LAYOUT,  # BinaryView
    24: TEXT_VIEW_LAYOUT,  # Utf8View
}

COLUMN_COST_IN_VALUES = 8  # Reading a column's declaration takes as long as validating 8 values.
# Number of buffers in an array of each type, without those of its children. Unions are missing:
# older writers give them one more buffer, and the schema does not say whether a writer is older.
BUFFERS_BY_TYPE = {
    1: 0,  # Null
    2: 2,  # Int
    3: 2,  # FloatingPoint
    4: 3,  # Binary
    5: 3,  # Utf8
    6: 2,  # Bool
    7: 2,  # Decimal
    8: 2,  # Date
    9: 2,  # Time
    10: 2,  # Timestamp
    11: 2,  # Interval
    12: 2,  # List
    13: 1,  # Struct
    15: 2,  # FixedSizeBinary
    16: 1,  # FixedSizeList
    17: 2,  # Map
    18: 2,  # Duration
    19: 3,  # LargeBinary
    20: 3,  # LargeUtf8
    21: 2,  # LargeList
    22: 0,  # RunEndEncoded
    23: 2,  # BinaryView
    24: 2,  # Utf8View
    25: 3,  # ListView
    26: 3,  # LargeListView
}
VIEW_TYPES = (23, 24)  # Each batch says how many variadic buffers they have.
MIN_FIELD_BYTES = 16  # A field of a schema takes more, unless several parents reference it.


class SkippedArrays(NamedTuple):
    """Numbers of the arrays and buffers that ignored columns occupy in a record batch.

    Attributes:
        nodes: Number of arrays, including nested ones.
        buffers: Number of buffers of these arrays, without the variadic buffers of views.
        view_arrays: Number of arrays of views. Each batch says how many variadic buffers they have.
    """

    nodes: int = 0
    buffers: int = 0
    view_arrays: int = 0


@dataclass(frozen=True)
class ArrowColumn:
    """A column as the stream's schema declares it.

    Attributes:
        schema: The schema of the model's column of that name.
        value_layout: Layout of the column's values, or of the values of its dictionary.
        dictionary_id: Id of the column's dictionary; None if the column is not dictionary-encoded.
        stored_layout: Layout of what a batch contains: the values, or indices into the dictionary.
        skipped: Ignored arrays that precede this column in a batch; None if there are none.
    """

    schema: ColumnSchema
    value_layout: Layout
    dictionary_id: int | None
    stored_layout: Layout
    skipped: SkippedArrays | None = None


def read_schema(schema_table: FlatbufferTable, schema: InputSchema) -> list[ArrowColumn]:
    """Read which of the model's columns a stream contains.

    Args:
        schema_table: The flatbuffer table of the stream's schema.
        schema: The columns of the model.

    Returns:
        The columns in the order of the stream, without the ignored ones.

    Raises:
        MalformedBodyError: If the schema is malformed, or declares big-endian numbers.
        InvalidInstancesError: If a column is unknown, repeated, or of a type that the model's
            column does not accept.
    """
    if schema_table.read_number(0, "<h"):
        refuse_stream("big-endian numbers")
    columns: dict[str, ArrowColumn] = {}
    ignored: list[FlatbufferTable] = []  # The ignored columns since the last one of the model.
    count = 0
    for declared in iterate_cooperatively(schema_table.read_tables(1), COLUMN_COST_IN_VALUES):
        name = schema.resolve_column_name(declared.read_text(0))
        count += 1
        if schema.should_ignore_extra and name not in schema.column_positions:
            if count > schema.max_named_columns:
                refuse_instances(f"expected at most {schema.max_named_columns} columns; got more")
            ignored.append(declared)
            continue
        require_known_names([name], schema, "column")
        if name in columns:
            refuse_instances(
                f"expected every column once; got {quote_text(name)} twice", field=name
            )
        column = _read_column(declared, schema.columns[schema.column_positions[name]])
        if ignored:
            column = replace(column, skipped=_count_skipped_arrays(ignored))
            ignored = []
        columns[name] = column
    if not columns:
        refuse_instances("expected the model's columns; got a stream of none")
    return list(columns.values())


def refuse_stream(got: str) -> NoReturn:
    """Refuse a body that is not an Arrow stream, or of a kind that is not supported.

    Args:
        got: Description of the body's actual content, for the error message.

    Raises:
        MalformedBodyError: If called; the function never returns.
    """
    raise MalformedBodyError(f"expected an Arrow stream; got {got[:200]}")


def _count_skipped_arrays(ignored: list[FlatbufferTable]) -> SkippedArrays:
    """Count the arrays and buffers that ignored columns occupy in a record batch.

    Raises:
        MalformedBodyError: If a column's type is unknown, or a nested column belongs to
            several others, which could make the nesting endless.
    """
    nodes = buffers = view_arrays = 0
    max_nodes = len(ignored[0].content) // MIN_FIELD_BYTES
    pending = list(ignored)
    turn = TurnBudget(VALUES_PER_BLOCK // COLUMN_COST_IN_VALUES)
    while pending:
        declared = pending.pop()
        nodes += 1
        turn.spend(1)
        if nodes + len(pending) > max_nodes:
            refuse_stream("columns nested in more than one other")
        if declared.read_table(4) is not None:  # The batch has the indices of a dictionary.
            buffers += BUFFERS_BY_TYPE[2]
            continue
        type_number = declared.read_number(2, "<B")
        if type_number not in BUFFERS_BY_TYPE:
            refuse_stream(
                f"a column {quote_text(declared.read_text(0))} of a type that cannot be left out; "
                f"drop the column before you write the stream"
            )
        buffers += BUFFERS_BY_TYPE[type_number]
        view_arrays += type_number in VIEW_TYPES
        pending += islice(declared.read_tables(5), max_nodes)
    return SkippedArrays(nodes, buffers, view_arrays)


def _read_column(declared: FlatbufferTable, column: ColumnSchema) -> ArrowColumn:
    values = _read_layout(declared, column)
    if values.kind == "time":
        of_times = column.to_timestamp_schema()
        if of_times is None:
            refuse_instances(
                f"expected {column.expected} in field {column.name!r}; got a column of times",
                field=column.name,
            )
        column = of_times
    if values.kind == "number":  # This includes the values of a dictionary.
        require_float64(column, np.dtype(values.dtype))
    encoding = declared.read_table(4)
    if encoding is None:
        return ArrowColumn(column, values, None, values)
    index_type = encoding.read_table(1)
    indices = Layout("number", "<i4") if index_type is None else _read_integer_layout(index_type)
    return ArrowColumn(column, values, encoding.read_number(0, "<q"), indices)


def _read_layout(declared: FlatbufferTable, column: ColumnSchema) -> Layout:
    type_table = declared.read_table(3)
    if type_table is None:
        refuse_stream("a column without a type")
    match declared.read_number(2, "<B"):
        case 2:  # Int
            layout: Layout | None = _read_integer_layout(type_table)
        case 3:  # FloatingPoint
            layout = FLOAT_LAYOUTS.get(type_table.read_number(0, "<h"))
        case 8:  # Date
            layout = DATE_LAYOUTS.get(type_table.read_number(0, "<h", 1))
        case 10:  # Timestamp
            layout = TIMESTAMP_LAYOUTS.get(type_table.read_number(0, "<h"))
        case other:
            layout = OTHER_LAYOUTS.get(other)
    if layout is None:
        refuse_instances(
            f"expected numbers, booleans, texts, dates or times in column "
            f"{quote_text(column.name)}; got values of another type; cast them before you write "
            f"the stream",
            field=column.name,
        )
    return layout


def _read_integer_layout(type_table: FlatbufferTable) -> Layout:
    bits = type_table.read_number(0, "<i")
    if bits not in (8, 16, 32, 64):
        refuse_stream(f"integers of {bits} bits")
    return Layout("number", f"<{'i' if type_table.read_number(1, '<B') else 'u'}{bits // 8}")
