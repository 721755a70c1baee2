"""Arrow streams: columns by name, as pandas, Polars or Spark write them.

https://arrow.apache.org/docs/format/Columnar.html. Read by ourselves, since nanoarrow reads no
string views and asserts on damaged bodies, and pyarrow is 170 MB and unpacks compressed buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, join
from serving.codec.arrow_arrays import Array, Batch, CheckedValues, TextBudget
from serving.codec.arrow_schema import Column, read_schema, refuse_stream
from serving.codec.flatbuffer import FlatbufferError, Table
from serving.codec.input_schema import Fields, most_cells
from serving.codec.validation import (
    check_column,
    check_numbers,
    in_turns,
    inputs_of_columns,
    refuse,
)
from serving.event_loop import give_way

MEDIA = "application/vnd.apache.arrow.stream"
CONTINUES = b"\xff\xff\xff\xff"
ROWS_PER_BYTE = 8  # of a body: no layout has less than a bit for a row, but that of nulls
CELLS = 2**17  # that are checked at once; others have their turn in between
FEWEST_ROWS = 512  # that are checked at once in a wide table
COLUMNS = 2**11  # of batches that are opened before others have their turn
WAITING = 2**11  # columns of small batches that are checked at once


def decode_arrow(body: bytes, fields: Fields) -> Arrays:
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
        return _Stream(body, fields).inputs()
    except FlatbufferError as error:
        refuse_stream(str(error))


class _Dictionary:
    """A dictionary, whose values are decoded where a row refers to them."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self._checked: dict[str, CheckedValues] = {}

    def checked(self, column: Column) -> CheckedValues:
        """Return its values as a column takes them; several columns may share one."""
        name = column.field.name
        if name not in self._checked:
            self._checked[name] = CheckedValues(column.field, self.values.value)
        return self._checked[name]


class _Rows(NamedTuple):
    """Some rows of a batch that are still to be checked, the first of them a multiple of 8."""

    arrays: list[Array]
    dictionaries: dict[int, _Dictionary]
    start: int
    stop: int


class _Stream:
    """A stream that is read message by message, and checked so many rows at a time."""

    def __init__(self, body: bytes, fields: Fields) -> None:
        self.body, self.fields = body, fields
        self.columns: list[Column] = []
        self.encoded: dict[int, Column] = {}  # a column of each dictionary
        self.dictionaries: dict[int, _Dictionary] = {}
        self.is_shared = False  # whether rows that wait refer to the dictionaries
        self.budget = TextBudget(len(body))
        self.rows_left = min(most_cells(len(body)) // len(fields), ROWS_PER_BYTE * len(body))
        self.rows_at_once = max(CELLS // len(fields) // 8 * 8, FEWEST_ROWS)
        self.waiting: list[_Rows] = []
        self.rows_waiting = self.rows_checked = 0
        self.parts: list[Arrays] = []

    def inputs(self) -> Arrays:
        """Return all rows."""
        opened = 0
        for kind, header, content in self._messages():
            match kind:
                case 1 if not self.columns:  # a schema
                    self._open(header)
                case 2 if self.columns:  # a dictionary
                    self._keep(header, content)
                case 3 if self.columns:  # records
                    self._add(Batch(header, content, self.budget))
                case _:
                    refuse_stream("a message out of place")
            opened += len(self.columns) + 32  # columns that take as long as the message itself
            if opened > COLUMNS:
                opened = 0
                give_way()
        if not self.columns:
            refuse_stream("no schema")
        self._check()
        return join(self.parts or [self.fields.inputs([()] * len(self.fields))])

    def _messages(self) -> Iterator[tuple[int, Table, memoryview]]:
        """Yield the kind, header and content of each message, up to the end of the stream."""
        whole, at = memoryview(self.body), 0
        while at < len(self.body):
            at += 4 * (self.body[at : at + 4] == CONTINUES)  # which older writers leave out
            length = int.from_bytes(self.body[at : at + 4], "little")
            at += 4
            if not length:
                break
            message = Table.root(self.body[at : at + length])
            at += length
            size = message.number(3, "<q")
            header = message.table(2)
            if header is None or size < 0 or at + size > len(self.body):
                refuse_stream("a message that breaks off")
            yield message.number(1, "<B"), header, whole[at : at + size]
            at += size
        if at != len(self.body):
            refuse_stream("bytes behind the end of the stream")

    def _open(self, schema: Table) -> None:
        self.columns = read_schema(schema, self.fields)
        for column in self.columns:
            if column.dictionary is None:
                continue
            if self.encoded.setdefault(column.dictionary, column).values != column.values:
                refuse_stream("a dictionary of two types")

    def _keep(self, header: Table, content: memoryview) -> None:
        number, data = header.number(0, "<q"), header.table(1)
        if self.fields.ignores_extra and number not in self.encoded:
            return  # of a column that is left out
        if number not in self.encoded or data is None:
            refuse_stream("a dictionary of no column")
        if header.number(2, "<B"):
            refuse_stream("a part of a dictionary; write dictionaries as a whole")
        if self.is_shared:
            self.dictionaries, self.is_shared = self.dictionaries.copy(), False
        values = Batch(data, content, self.budget).next_array(self.encoded[number].values)
        self.dictionaries[number] = _Dictionary(values)

    def _add(self, batch: Batch) -> None:
        """Take up the rows of a batch, and check as many as are checked at once."""
        if batch.rows > self.rows_left:
            refuse(
                f"expected at most {self.rows_left} more rows in a stream of this length; got "
                f"{batch.rows}; send fewer at a time"
            )
        self.rows_left -= batch.rows
        arrays = []
        for column in self.columns:
            if column.skipped is not None:
                batch.skip(column.skipped)
            arrays.append(batch.next_array(column.stored))
        self.is_shared = True
        for start in range(0, batch.rows, self.rows_at_once):
            stop = min(start + self.rows_at_once, batch.rows)
            self.waiting.append(_Rows(arrays, self.dictionaries, start, stop))
            self.rows_waiting += stop - start
            are_many = len(self.waiting) * len(self.columns) >= WAITING
            if self.rows_waiting >= self.rows_at_once or are_many:
                self._check()
                give_way()

    def _check(self) -> None:
        """Check the rows that wait."""
        if not self.waiting:
            return
        columns = {
            column.field.name: self._checked(place, column)
            for place, column in in_turns(enumerate(self.columns), 16 + self.rows_waiting // 4)
        }
        self.parts.append(inputs_of_columns(columns, self.rows_waiting, self.fields))
        self.rows_checked += self.rows_waiting
        self.waiting, self.rows_waiting = [], 0

    def _checked(self, place: int, column: Column) -> Sequence[Any]:
        """Return the values of a column in the rows that wait."""
        if column.dictionary is None and column.values.kind not in ("text", "view"):
            numbers = [rows.arrays[place].numbers(rows.start, rows.stop) for rows in self.waiting]
            return check_numbers(
                column.field, _joined(numbers), self.rows_checked, self._valid(place)
            )
        found: list[Any] = []
        views: tuple[Array, CheckedValues] | None = None
        for rows in self.waiting:
            array, first = rows.arrays[place], self.rows_checked + len(found)
            if column.dictionary is not None:
                keys, checked = _indices(rows, array, column)
                found += checked.of(keys, first)
            elif column.values.kind == "text":
                found += check_column(column.field, array.texts(rows.start, rows.stop), first)
            else:
                if views is None or views[0] is not array:
                    views = array, CheckedValues(column.field, array.viewed)
                found += views[1].of(array.views(rows.start, rows.stop), first)
        return found

    def _valid(self, place: int) -> NDArray[np.bool_] | None:
        found = [rows.arrays[place].valid(rows.start, rows.stop) for rows in self.waiting]
        if all(valid is None for valid in found):
            return None
        return _joined(
            [
                np.ones(rows.stop - rows.start, np.bool_) if valid is None else valid
                for rows, valid in zip(self.waiting, found, strict=True)
            ]
        )


def _indices(rows: _Rows, array: Array, column: Column) -> tuple[list[Any], CheckedValues]:
    """Return each row's place in its dictionary, None for a null, and the dictionary's values."""
    number = -1 if column.dictionary is None else column.dictionary
    dictionary = rows.dictionaries.get(number)
    places, valid = array.numbers(rows.start, rows.stop), array.valid(rows.start, rows.stop)
    asked = places if valid is None else places[valid]
    length = 0 if dictionary is None else dictionary.values.rows
    if len(asked) and not 0 <= int(asked.min()) <= int(asked.max()) < length:
        refuse_stream("values outside their dictionary")
    keys: list[Any] = places.tolist()
    if valid is not None:
        for place in np.flatnonzero(~valid).tolist():
            keys[place] = None
    if dictionary is None:  # all are null
        return keys, CheckedValues(column.field, lambda key: key)
    return keys, dictionary.checked(column)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
