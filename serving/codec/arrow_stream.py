"""Arrow streams: columns by name, as pandas, Polars or Spark write them.

The format: https://arrow.apache.org/docs/format/Columnar.html. No library is used: nanoarrow reads
no string views and fails an assertion on damaged bodies, and pyarrow takes 170 MB and decompresses
compressed buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, concatenate_rows
from serving.bundle.column_schema import ColumnSchema, WrongValueError
from serving.codec.arrow_arrays import ArrowArray, RecordBatch, TextBudget, ValidityMask
from serving.codec.arrow_schema import ArrowColumn, read_schema, refuse_stream
from serving.codec.flatbuffer import FlatbufferError, FlatbufferTable
from serving.codec.input_schema import InputSchema, compute_max_cells
from serving.codec.validation import (
    VALUES_PER_BLOCK,
    build_inputs_from_columns,
    iterate_cooperatively,
    refuse_instances,
    validate_column,
    validate_numbers,
)
from serving.event_loop import yield_to_loop

ARROW_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
CONTINUATION_INDICATOR = b"\xff\xff\xff\xff"
# Every layout except that of nulls takes at least one bit of the body per row.
MAX_ROWS_PER_BYTE = 8
CELLS_PER_BLOCK = 2**17  # Cells that are validated at once, before other connections are served.
MIN_ROWS_PER_BLOCK = 512  # Rows that are validated at once even in a very wide table.
COLUMNS_BEFORE_YIELD = 2**11  # Columns of batches that are opened between two yields.
MESSAGE_COST_IN_COLUMNS = 32  # Reading a message takes as long as opening 32 columns of a batch.
MAX_PENDING_COLUMNS = 2**11  # Columns of small batches that are collected before validation.


def decode_arrow(body: bytes, schema: InputSchema) -> Arrays:
    """Decode the rows of a stream of record batches.

    Args:
        body: The stream, not compressed. Its columns are found by name and may be in any order;
            columns that the model lacks are ignored if `schema.should_ignore_extra`, and refused
            otherwise. Null and NaN are gaps; times without a time zone are in UTC.
        schema: The columns of the model.

    Returns:
        The inputs of the graph, as `InputSchema.build_inputs` returns them.

    Raises:
        MalformedBodyError: If the body is not a valid Arrow stream.
        InvalidInstancesError: If the model does not accept a column or a value.
    """
    try:
        return _StreamDecoder(body, schema).decode()
    except FlatbufferError as error:
        refuse_stream(str(error))


class ValidatedValueCache(dict[Any, Any]):
    """The validated values of a column by key, each decoded and validated at its first look-up.

    Args:
        schema: The schema of the column.
        decode_key: Function that returns the value of a key. It is not called for the key None,
            which stands for a null.
    """

    def __init__(self, schema: ColumnSchema, decode_key: Callable[[Any], Any]) -> None:
        super().__init__()
        self.schema, self.decode_key = schema, decode_key

    def __missing__(self, key: Any) -> Any:
        value = self.schema.validate(None if key is None else self.decode_key(key))
        self[key] = value
        return value

    def look_up(self, keys: Sequence[Any], first_instance: int) -> list[Any]:
        """Return the validated value of each key.

        Args:
            keys: Keys of consecutive rows.
            first_instance: Number of the first of these rows, for error messages.

        Raises:
            InvalidInstancesError: If the column does not accept a value.
        """
        values: list[Any] = []
        for start in range(0, len(keys), VALUES_PER_BLOCK):
            if start:
                yield_to_loop()
            block = keys[start : start + VALUES_PER_BLOCK]
            try:
                values += map(self.__getitem__, block)
            except WrongValueError as error:
                # The first key without a cached value is the one that has just been refused.
                index = next(index for index, key in enumerate(block) if key not in self)
                instance = first_instance + start + index
                refuse_instances(
                    f"expected {error.expected} in instance {instance}, field "
                    f"{self.schema.name!r}; got {error.got}",
                    instance=instance,
                    field=self.schema.name,
                )
        return values


class _Dictionary:
    """The values of a dictionary, each decoded when a row first refers to it."""

    def __init__(self, values: ArrowArray) -> None:
        self.values = values
        self._caches: dict[str, ValidatedValueCache] = {}

    def get_validated_values(self, column: ArrowColumn) -> ValidatedValueCache:
        """Return the dictionary's values, validated by one of the columns that share it."""
        name = column.schema.name
        if name not in self._caches:
            self._caches[name] = ValidatedValueCache(column.schema, self.values.read_value)
        return self._caches[name]


class _PendingRows(NamedTuple):
    """Rows of a batch that are still to be validated; `start` is a multiple of 8."""

    arrays: list[ArrowArray]
    dictionaries: dict[int, _Dictionary]
    start: int
    stop: int


class _StreamDecoder:
    """A decoder that reads a stream message by message and validates it in blocks of rows."""

    def __init__(self, body: bytes, schema: InputSchema) -> None:
        self.body, self.schema = body, schema
        self.columns: list[ArrowColumn] = []
        self.column_by_dictionary: dict[int, ArrowColumn] = {}  # Any one of those that share it.
        self.dictionaries: dict[int, _Dictionary] = {}
        self.are_dictionaries_shared = False  # Whether pending rows refer to `dictionaries`.
        self.text_budget = TextBudget(len(body))
        self.remaining_rows = min(
            compute_max_cells(len(body)) // len(schema), MAX_ROWS_PER_BYTE * len(body)
        )
        self.rows_per_block = max(CELLS_PER_BLOCK // len(schema) // 8 * 8, MIN_ROWS_PER_BLOCK)
        self.pending: list[_PendingRows] = []
        self.pending_row_count = self.validated_row_count = 0
        self.validated_blocks: list[Arrays] = []

    def decode(self) -> Arrays:
        """Return the graph's inputs for all rows of the stream."""
        opened_columns = 0
        for kind, header, content in self._read_messages():
            match kind:
                case 1 if not self.columns:  # A schema.
                    self._read_schema(header)
                case 2 if self.columns:  # A dictionary batch.
                    self._read_dictionary(header, content)
                case 3 if self.columns:  # A record batch.
                    self._read_record_batch(RecordBatch(header, content, self.text_budget))
                case _:
                    refuse_stream("an unexpected message")
            opened_columns += len(self.columns) + MESSAGE_COST_IN_COLUMNS
            if opened_columns > COLUMNS_BEFORE_YIELD:
                opened_columns = 0
                yield_to_loop()
        if not self.columns:
            refuse_stream("no schema")
        self._validate_pending()
        return concatenate_rows(
            self.validated_blocks or [self.schema.build_inputs([()] * len(self.schema))]
        )

    def _read_messages(self) -> Iterator[tuple[int, FlatbufferTable, memoryview]]:
        """Yield the kind, header and body of each message, up to the end of the stream."""
        whole, at = memoryview(self.body), 0
        while at < len(self.body):
            if self.body[at : at + 4] == CONTINUATION_INDICATOR:  # Older writers omit it.
                at += 4
            header_bytes = int.from_bytes(self.body[at : at + 4], "little")
            at += 4
            if not header_bytes:
                break
            message = FlatbufferTable.read_root(self.body[at : at + header_bytes])
            at += header_bytes
            body_bytes = message.read_number(3, "<q")
            header = message.read_table(2)
            if header is None or body_bytes < 0 or at + body_bytes > len(self.body):
                refuse_stream("a truncated message")
            yield message.read_number(1, "<B"), header, whole[at : at + body_bytes]
            at += body_bytes
        if at != len(self.body):
            refuse_stream("more bytes after the end of the stream")

    def _read_schema(self, schema_table: FlatbufferTable) -> None:
        self.columns = read_schema(schema_table, self.schema)
        for column in self.columns:
            if column.dictionary_id is None:
                continue
            first = self.column_by_dictionary.setdefault(column.dictionary_id, column)
            if first.value_layout != column.value_layout:
                refuse_stream("a dictionary of two types")

    def _read_dictionary(self, header: FlatbufferTable, content: memoryview) -> None:
        dictionary_id, batch_table = header.read_number(0, "<q"), header.read_table(1)
        if self.schema.should_ignore_extra and dictionary_id not in self.column_by_dictionary:
            return  # It belongs to an ignored column.
        if dictionary_id not in self.column_by_dictionary or batch_table is None:
            refuse_stream("a dictionary of no column")
        if header.read_number(2, "<B"):
            refuse_stream("a part of a dictionary; write every dictionary as a whole")
        if self.are_dictionaries_shared:
            self.dictionaries, self.are_dictionaries_shared = self.dictionaries.copy(), False
        layout = self.column_by_dictionary[dictionary_id].value_layout
        values = RecordBatch(batch_table, content, self.text_budget).read_array(layout)
        self.dictionaries[dictionary_id] = _Dictionary(values)

    def _read_record_batch(self, batch: RecordBatch) -> None:
        """Add the rows of a batch to the pending ones, and validate all full blocks of them."""
        if batch.rows > self.remaining_rows:
            refuse_instances(
                f"expected at most {self.remaining_rows} more rows in a stream of this length; got "
                f"{batch.rows}; send fewer at a time"
            )
        self.remaining_rows -= batch.rows
        arrays = []
        for column in self.columns:
            if column.skipped is not None:
                batch.skip_arrays(column.skipped)
            arrays.append(batch.read_array(column.stored_layout))
        self.are_dictionaries_shared = True
        for start in range(0, batch.rows, self.rows_per_block):
            stop = min(start + self.rows_per_block, batch.rows)
            self.pending.append(_PendingRows(arrays, self.dictionaries, start, stop))
            self.pending_row_count += stop - start
            has_many = len(self.pending) * len(self.columns) >= MAX_PENDING_COLUMNS
            if self.pending_row_count >= self.rows_per_block or has_many:
                self._validate_pending()
                yield_to_loop()

    def _validate_pending(self) -> None:
        """Validate all pending rows, column by column."""
        if not self.pending:
            return
        columns = {
            column.schema.name: self._validate_column(index, column)
            # The cost of a column is that of 16 Python values, plus a quarter of a value per row.
            for index, column in iterate_cooperatively(
                enumerate(self.columns), 16 + self.pending_row_count // 4
            )
        }
        self.validated_blocks.append(
            build_inputs_from_columns(columns, self.pending_row_count, self.schema)
        )
        self.validated_row_count += self.pending_row_count
        self.pending, self.pending_row_count = [], 0

    def _validate_column(self, index: int, column: ArrowColumn) -> Sequence[Any]:
        """Return the validated values of one column in the pending rows."""
        if column.dictionary_id is None and column.value_layout.kind not in ("text", "view"):
            numbers = [
                rows.arrays[index].read_numbers(rows.start, rows.stop) for rows in self.pending
            ]
            return validate_numbers(
                column.schema,
                _concatenate(numbers),
                self.validated_row_count,
                self._join_validity(index),
            )
        values: list[Any] = []
        # Successive pending rows of one batch share an array, and so a cache of its views.
        views: tuple[ArrowArray, ValidatedValueCache] | None = None
        for rows in self.pending:
            array, first_instance = rows.arrays[index], self.validated_row_count + len(values)
            if column.dictionary_id is not None:
                keys, cache = _read_indices(rows, array, column)
                values += cache.look_up(keys, first_instance)
            elif column.value_layout.kind == "text":
                texts = array.read_texts(rows.start, rows.stop)
                values += validate_column(column.schema, texts, first_instance)
            else:
                if views is None or views[0] is not array:
                    views = array, ValidatedValueCache(column.schema, array.resolve_view)
                keys = array.read_views(rows.start, rows.stop)
                values += views[1].look_up(keys, first_instance)
        return values

    def _join_validity(self, index: int) -> ValidityMask:
        """Return which pending values of a column are not null, or None if all are valid."""
        masks = [rows.arrays[index].read_validity(rows.start, rows.stop) for rows in self.pending]
        if all(mask is None for mask in masks):
            return None
        return _concatenate(
            [
                np.ones(rows.stop - rows.start, np.bool_) if mask is None else mask
                for rows, mask in zip(self.pending, masks, strict=True)
            ]
        )


def _read_indices(
    rows: _PendingRows, array: ArrowArray, column: ArrowColumn
) -> tuple[list[Any], ValidatedValueCache]:
    """Return each row's index into its dictionary, None for a null, and the dictionary's values."""
    dictionary_id = -1 if column.dictionary_id is None else column.dictionary_id
    dictionary = rows.dictionaries.get(dictionary_id)
    indices = array.read_numbers(rows.start, rows.stop)
    valid = array.read_validity(rows.start, rows.stop)
    used = indices if valid is None else indices[valid]
    length = 0 if dictionary is None else dictionary.values.rows
    if len(used) and not 0 <= int(used.min()) <= int(used.max()) < length:
        refuse_stream("values outside their dictionary")
    keys: list[Any] = indices.tolist()
    if valid is not None:
        for row in np.flatnonzero(~valid).tolist():
            keys[row] = None
    if dictionary is None:  # All rows are null, so no key is ever decoded.
        return keys, ValidatedValueCache(column.schema, lambda key: key)
    return keys, dictionary.get_validated_values(column)


def _concatenate(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
