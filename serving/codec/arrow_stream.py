"""Arrow streams: columns by name, as pandas, Polars or Spark write them.

https://arrow.apache.org/docs/format/Columnar.html. Read by ourselves, since nanoarrow reads no
string views and asserts on damaged bodies, and pyarrow is 170 MB and unpacks compressed buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, concatenate_rows
from serving.codec.arrow_arrays import ArrowArray, RecordBatch, TextBudget, ValidatedValueCache
from serving.codec.arrow_schema import ArrowColumn, read_schema, refuse_stream
from serving.codec.flatbuffer import FlatbufferError, FlatbufferTable
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.codec.validation import (
    build_inputs_from_columns,
    iterate_cooperatively,
    refuse_instances,
    validate_column,
    validate_numbers,
)
from serving.event_loop import yield_to_loop

ARROW_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
CONTINUATION_INDICATOR = b"\xff\xff\xff\xff"
MAX_ROWS_PER_BYTE = 8  # of a body: no layout has less than a bit for a row, but that of nulls
CELLS_PER_BLOCK = 2**17  # that are checked at once; others have their turn in between
MIN_ROWS_PER_BLOCK = 512  # that are checked at once in a wide table
COLUMNS_BEFORE_YIELD = 2**11  # of batches that are opened before others have their turn
MAX_PENDING_COLUMNS = 2**11  # columns of small batches that are checked at once


def decode_arrow(body: bytes, fields: InputSchema) -> Arrays:
    """Decode the rows of a stream of record batches.

    Args:
        body: The stream, not compressed; columns by name, in any order, others than the model's
            among them if `fields` ignores those. Null, and NaN, is a gap; times without a zone are
            UTC.
        fields: The model's columns.

    Raises:
        MalformedBodyError: If it is no such stream.
        InvalidInstancesError: If a column or a value is not what the model takes.
    """
    try:
        return _StreamDecoder(body, fields).decode()
    except FlatbufferError as error:
        refuse_stream(str(error))


class _Dictionary:
    """A dictionary, whose values are decoded where a row refers to them."""

    def __init__(self, values: ArrowArray) -> None:
        self.values = values
        self._checked: dict[str, ValidatedValueCache] = {}

    def get_validated_values(self, column: ArrowColumn) -> ValidatedValueCache:
        """Return its values as a column takes them; several columns may share one."""
        name = column.field.name
        if name not in self._checked:
            self._checked[name] = ValidatedValueCache(column.field, self.values.read_value)
        return self._checked[name]


class _PendingRows(NamedTuple):
    """Some rows of a batch that are still to be checked, the first of them a multiple of 8."""

    arrays: list[ArrowArray]
    dictionaries: dict[int, _Dictionary]
    start: int
    stop: int


class _StreamDecoder:
    """A stream that is read message by message, and checked so many rows at a time."""

    def __init__(self, body: bytes, fields: InputSchema) -> None:
        self.body, self.fields = body, fields
        self.columns_in_stream: list[ArrowColumn] = []
        self.column_by_dictionary: dict[int, ArrowColumn] = {}  # a column of each dictionary
        self.dictionaries: dict[int, _Dictionary] = {}
        self.are_dictionaries_shared = False  # whether rows that wait refer to the dictionaries
        self.text_budget = TextBudget(len(body))
        self.remaining_rows = min(
            compute_max_cells(len(body)) // len(fields), MAX_ROWS_PER_BYTE * len(body)
        )
        self.rows_per_block = max(CELLS_PER_BLOCK // len(fields) // 8 * 8, MIN_ROWS_PER_BLOCK)
        self.pending: list[_PendingRows] = []
        self.pending_row_count = self.validated_row_count = 0
        self.validated_blocks: list[Arrays] = []

    def decode(self) -> Arrays:
        """Return all rows."""
        opened = 0
        for kind, header, content in self._read_messages():
            match kind:
                case 1 if not self.columns_in_stream:  # a schema
                    self._read_schema(header)
                case 2 if self.columns_in_stream:  # a dictionary
                    self._read_dictionary(header, content)
                case 3 if self.columns_in_stream:  # records
                    self._read_record_batch(RecordBatch(header, content, self.text_budget))
                case _:
                    refuse_stream("a message out of place")
            opened += (
                len(self.columns_in_stream) + 32
            )  # columns that take as long as the message itself
            if opened > COLUMNS_BEFORE_YIELD:
                opened = 0
                yield_to_loop()
        if not self.columns_in_stream:
            refuse_stream("no schema")
        self._validate_pending()
        return concatenate_rows(
            self.validated_blocks or [self.fields.build_inputs([()] * len(self.fields))]
        )

    def _read_messages(self) -> Iterator[tuple[int, FlatbufferTable, memoryview]]:
        """Yield the kind, header and content of each message, up to the end of the stream."""
        whole, at = memoryview(self.body), 0
        while at < len(self.body):
            at += 4 * (
                self.body[at : at + 4] == CONTINUATION_INDICATOR
            )  # which older writers leave out
            length = int.from_bytes(self.body[at : at + 4], "little")
            at += 4
            if not length:
                break
            message = FlatbufferTable.read_root(self.body[at : at + length])
            at += length
            size = message.read_number(3, "<q")
            header = message.read_table(2)
            if header is None or size < 0 or at + size > len(self.body):
                refuse_stream("a message that breaks off")
            yield message.read_number(1, "<B"), header, whole[at : at + size]
            at += size
        if at != len(self.body):
            refuse_stream("bytes behind the end of the stream")

    def _read_schema(self, schema: FlatbufferTable) -> None:
        self.columns_in_stream = read_schema(schema, self.fields)
        for column in self.columns_in_stream:
            if column.dictionary_id is None:
                continue
            if (
                self.column_by_dictionary.setdefault(column.dictionary_id, column).value_layout
                != column.value_layout
            ):
                refuse_stream("a dictionary of two types")

    def _read_dictionary(self, header: FlatbufferTable, content: memoryview) -> None:
        number, data = header.read_number(0, "<q"), header.read_table(1)
        if self.fields.should_ignore_extra and number not in self.column_by_dictionary:
            return  # of a column that is left out
        if number not in self.column_by_dictionary or data is None:
            refuse_stream("a dictionary of no column")
        if header.read_number(2, "<B"):
            refuse_stream("a part of a dictionary; write dictionaries as a whole")
        if self.are_dictionaries_shared:
            self.dictionaries, self.are_dictionaries_shared = self.dictionaries.copy(), False
        values = RecordBatch(data, content, self.text_budget).read_array(
            self.column_by_dictionary[number].value_layout
        )
        self.dictionaries[number] = _Dictionary(values)

    def _read_record_batch(self, batch: RecordBatch) -> None:
        """Take up the rows of a batch, and check as many as are checked at once."""
        if batch.rows > self.remaining_rows:
            refuse_instances(
                f"expected at most {self.remaining_rows} more rows in a stream of this length; got "
                f"{batch.rows}; send fewer at a time"
            )
        self.remaining_rows -= batch.rows
        arrays = []
        for column in self.columns_in_stream:
            if column.skipped is not None:
                batch.skip_arrays(column.skipped)
            arrays.append(batch.read_array(column.stored_layout))
        self.are_dictionaries_shared = True
        for start in range(0, batch.rows, self.rows_per_block):
            stop = min(start + self.rows_per_block, batch.rows)
            self.pending.append(_PendingRows(arrays, self.dictionaries, start, stop))
            self.pending_row_count += stop - start
            are_many = len(self.pending) * len(self.columns_in_stream) >= MAX_PENDING_COLUMNS
            if self.pending_row_count >= self.rows_per_block or are_many:
                self._validate_pending()
                yield_to_loop()

    def _validate_pending(self) -> None:
        """Check the rows that wait."""
        if not self.pending:
            return
        columns = {
            column.field.name: self._validate_column(place, column)
            for place, column in iterate_cooperatively(
                enumerate(self.columns_in_stream), 16 + self.pending_row_count // 4
            )
        }
        self.validated_blocks.append(
            build_inputs_from_columns(columns, self.pending_row_count, self.fields)
        )
        self.validated_row_count += self.pending_row_count
        self.pending, self.pending_row_count = [], 0

    def _validate_column(self, place: int, column: ArrowColumn) -> Sequence[Any]:
        """Return the values of a column in the rows that wait."""
        if column.dictionary_id is None and column.value_layout.kind not in ("text", "view"):
            numbers = [
                rows.arrays[place].read_numbers(rows.start, rows.stop) for rows in self.pending
            ]
            return validate_numbers(
                column.field,
                _concatenate(numbers),
                self.validated_row_count,
                self._join_validity(place),
            )
        found: list[Any] = []
        views: tuple[ArrowArray, ValidatedValueCache] | None = None
        for rows in self.pending:
            array, first = rows.arrays[place], self.validated_row_count + len(found)
            if column.dictionary_id is not None:
                keys, checked = _read_indices(rows, array, column)
                found += checked.look_up(keys, first)
            elif column.value_layout.kind == "text":
                found += validate_column(
                    column.field, array.read_texts(rows.start, rows.stop), first
                )
            else:
                if views is None or views[0] is not array:
                    views = array, ValidatedValueCache(column.field, array.resolve_view)
                found += views[1].look_up(array.read_views(rows.start, rows.stop), first)
        return found

    def _join_validity(self, place: int) -> NDArray[np.bool_] | None:
        found = [rows.arrays[place].read_validity(rows.start, rows.stop) for rows in self.pending]
        if all(valid is None for valid in found):
            return None
        return _concatenate(
            [
                np.ones(rows.stop - rows.start, np.bool_) if valid is None else valid
                for rows, valid in zip(self.pending, found, strict=True)
            ]
        )


def _read_indices(
    rows: _PendingRows, array: ArrowArray, column: ArrowColumn
) -> tuple[list[Any], ValidatedValueCache]:
    """Return each row's place in its dictionary, None for a null, and the dictionary's values."""
    number = -1 if column.dictionary_id is None else column.dictionary_id
    dictionary = rows.dictionaries.get(number)
    places, valid = (
        array.read_numbers(rows.start, rows.stop),
        array.read_validity(rows.start, rows.stop),
    )
    asked = places if valid is None else places[valid]
    length = 0 if dictionary is None else dictionary.values.rows
    if len(asked) and not 0 <= int(asked.min()) <= int(asked.max()) < length:
        refuse_stream("values outside their dictionary")
    keys: list[Any] = places.tolist()
    if valid is not None:
        for place in np.flatnonzero(~valid).tolist():
            keys[place] = None
    if dictionary is None:  # all are null
        return keys, ValidatedValueCache(column.field, lambda key: key)
    return keys, dictionary.get_validated_values(column)


def _concatenate(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
