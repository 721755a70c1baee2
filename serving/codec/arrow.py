"""Arrow streams: columns by name, as pandas, Polars or Spark write them.

https://arrow.apache.org/docs/format/Columnar.html. Read by ourselves: the bytes may come from
anyone, and the small readers there are crash on streams that are damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, join, seconds_of_ticks
from serving.codec.columns import (
    VALUES,
    check_column,
    check_numbers,
    in_turns,
    inputs_of_columns,
    refuse,
    require_known,
    with_gaps,
)
from serving.codec.fields import CategoryField, DateField, Field, Fields, most_cells
from serving.codec.flatbuffer import FlatbufferError, Table
from serving.codec.values import quoted
from serving.errors import MalformedBodyError
from serving.turns import give_way

MEDIA = "application/vnd.apache.arrow.stream"
CONTINUES = b"\xff\xff\xff\xff"


class _Type(NamedTuple):
    """How the values of a column are laid out.

    Attributes:
        kind: "number", "truth", "time", "text" or "nothing".
        dtype: of a number, or of where each text begins.
        seconds: of one unit of a time, where they are whole.
        per_second: units of one second of a time.
    """

    kind: str
    dtype: str = ""
    seconds: int = 1
    per_second: int = 1


FLOATS = {0: _Type("number", "<f2"), 1: _Type("number", "<f4"), 2: _Type("number", "<f8")}
DATES = {0: _Type("time", "<i4", 86400), 1: _Type("time", "<i8", 1, 1000)}  # days, milliseconds
TIMES = {unit: _Type("time", "<i8", 1, 1000**unit) for unit in range(4)}
OTHERS = {1: _Type("nothing"), 5: _Type("text", "<i4"), 6: _Type("truth"), 20: _Type("text", "<i8")}


@dataclass(frozen=True)
class _Column:
    """A column as the schema declares it; with a dictionary, its values are places in that."""

    name: str
    type: _Type
    dictionary: int | None
    places: _Type


class _Batch:
    """The buffers of one batch, taken in their order."""

    def __init__(self, table: Table, body: memoryview, most_rows: int) -> None:
        if table.table(3) is not None:
            _damaged("compressed columns; write the stream without compression")
        self.rows = table.number(0, "<q")
        if not 0 <= self.rows <= most_rows:
            refuse(
                f"expected at most {most_rows} more rows in a stream of this length; got "
                f"{self.rows}; send fewer at a time"
            )
        self._nodes, self._buffers = iter(table.pairs(1)), iter(table.pairs(2))
        self._body = body

    def values(self, kind: _Type) -> tuple[Any, NDArray[np.bool_] | None]:
        """The values of the next column, an array or texts, and where there are some, if not all.

        Raises:
            MalformedBodyError: the buffers do not hold them.
        """
        rows, nulls = next(self._nodes, (-1, 0))
        if rows != self.rows:
            _damaged(f"a column of {rows} values in a batch of {self.rows}")
        if kind.kind == "nothing":
            return np.full(rows, np.nan), np.zeros(rows, np.bool_)
        valid = self._bits(rows) if nulls else None
        if not nulls:
            self._take()  # may be left empty
        match kind.kind:
            case "truth":
                return self._bits(rows), valid
            case "text":
                return self._texts(rows, kind.dtype, valid), valid
            case _:
                return self._array(kind.dtype, rows), valid

    def _take(self) -> memoryview:
        start, length = next(self._buffers, (-1, 0))
        if start < 0 or length < 0 or start + length > len(self._body):
            _damaged("a buffer outside its message")
        return self._body[start : start + length]

    def _array(self, dtype: str, count: int) -> NDArray[Any]:
        buffer, size = self._take(), np.dtype(dtype).itemsize
        if len(buffer) < count * size:
            _damaged(f"{len(buffer)} bytes of {count} values")
        return np.frombuffer(buffer[: count * size], dtype)

    def _bits(self, count: int) -> NDArray[np.bool_]:
        packed = self._array("u1", (count + 7) // 8)
        return np.unpackbits(packed, count=count, bitorder="little").astype(np.bool_)

    def _texts(self, count: int, dtype: str, valid: NDArray[np.bool_] | None) -> list[str | None]:
        starts = self._array(dtype, count + 1 if count else 0)
        content = self._take()
        if count and (
            starts[0] < 0 or starts[-1] > len(content) or (starts[1:] < starts[:-1]).any()
        ):
            _damaged("texts outside their buffer")
        texts: list[str | None] = []
        for block in range(0, count, VALUES):
            edges = starts[block : block + VALUES + 1].tolist()
            texts += _decoded(content, edges, block)
            if len(edges) > VALUES:
                give_way()
        if valid is not None:
            for place in np.flatnonzero(~valid):
                texts[place] = None
        return texts


def _decoded(content: memoryview, edges: list[int], first: int) -> Iterator[str]:
    for place, (start, end) in enumerate(pairwise(edges)):
        try:
            yield str(content[start:end], "utf-8")
        except UnicodeDecodeError:
            refuse(f"expected texts in UTF-8; got another at place {first + place} of a column")


def decode_arrow(body: bytes, fields: Fields) -> Arrays:
    """The rows of a stream of record batches.

    Args:
        body: the stream, not compressed; columns by name, in any order. Null, and NaN, is a gap;
            times without a zone are UTC.
        fields: the model's columns.

    Raises:
        MalformedBodyError: it is no such stream.
        InvalidInstancesError: a column or a value is not what the model takes.
    """
    try:
        return _Stream(body, fields).inputs()
    except FlatbufferError as error:
        _damaged(str(error))


class _Stream:
    """A stream that is read message by message."""

    def __init__(self, body: bytes, fields: Fields) -> None:
        self.body, self.fields = body, fields
        self.columns: list[_Column] = []
        self.dictionaries: dict[int, Sequence[Any]] = {}
        self.most_rows = most_cells(len(body)) // len(fields)
        self.rows = 0

    def inputs(self) -> Arrays:
        """All rows."""
        parts: list[Arrays] = []
        for number, (kind, header, content) in enumerate(self._messages()):
            match kind:
                case 1 if not self.columns:  # a schema
                    self._open(header)
                case 2 if self.columns:  # a dictionary
                    self._keep(header, content)
                case 3 if self.columns:  # records
                    parts.append(self._batch(_Batch(header, content, self.most_rows - self.rows)))
                case _:
                    _damaged("a message out of place")
            if number % 32 == 31:
                give_way()
        if not self.columns:
            _damaged("no schema")
        return join(parts or [self.fields.inputs([()] * len(self.fields))])

    def _messages(self) -> Iterator[tuple[int, Table, memoryview]]:
        """The kind, header and content of each message, up to the end of the stream."""
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
                _damaged("a message that breaks off")
            yield message.number(1, "<B"), header, whole[at : at + size]
            at += size
        if at != len(self.body):
            _damaged("bytes behind the end of the stream")

    def _open(self, schema: Table) -> None:
        if schema.number(0, "<h"):
            _damaged("big-endian numbers")
        for declared in schema.tables(1):
            name = declared.text(0)
            require_known([name], self.fields, "column")
            if any(name == column.name for column in self.columns):
                refuse(f"expected every column once; got {quoted(name)} twice", field=name)
            self.columns.append(_column(name, declared))
        if not self.columns:
            refuse("expected the model's columns; got a stream of none")

    def _keep(self, header: Table, content: memoryview) -> None:
        known = header.number(0, "<q")
        kinds = [column.type for column in self.columns if column.dictionary == known]
        data = header.table(1)
        if not kinds or data is None or header.number(2, "<B"):
            _damaged("a dictionary of no column, or a part of one")
        values, valid = _Batch(data, content, self.most_rows).values(kinds[0])
        self.dictionaries[known] = _with_gaps(values, valid)

    def _batch(self, batch: _Batch) -> Arrays:
        first = self.rows
        self.rows += batch.rows
        columns = {column.name: self._checked(batch, column, first) for column in self.columns}
        return inputs_of_columns(columns, batch.rows, self.fields)

    def _checked(self, batch: _Batch, column: _Column, first: int) -> Sequence[Any]:
        field = self.fields.columns[self.fields.places[column.name]]
        values, valid = batch.values(column.places)
        if column.dictionary is not None:
            values = self._looked_up(column, values, valid)
        elif column.type.kind == "text":
            pass
        elif isinstance(field, CategoryField):
            values = with_gaps(values, valid)
        elif column.type.kind != "time":
            if valid is not None:
                with np.errstate(invalid="ignore"):  # a NaN of the signalling kind
                    values = np.where(valid, values, np.nan)
            return check_numbers(field, values, first)
        else:
            return _check_times(field, column, values, valid, first)
        return check_column(field, values, first)

    def _looked_up(
        self, column: _Column, places: NDArray[Any], valid: NDArray[np.bool_] | None
    ) -> list[Any]:
        known = self.dictionaries.get(column.dictionary or 0, ())
        places = places.astype(np.int64)
        if valid is not None:
            places = np.where(valid, places, -1)
        asked = places if valid is None else places[valid]
        if len(asked) and not 0 <= asked.min() <= asked.max() < len(known):
            _damaged(f"values of {quoted(column.name)} outside their dictionary")
        return [
            None if place < 0 else known[place]
            for part in in_turns(range(0, len(places), VALUES), VALUES)
            for place in places[part : part + VALUES].tolist()
        ]


def _check_times(
    field: Field,
    column: _Column,
    values: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    first: int,
) -> Sequence[Any]:
    if not isinstance(field, DateField):
        refuse(
            f"expected {field.expected} in field {field.name!r}; got a column of times",
            field=field.name,
        )
    ticks = values.astype(np.int64) * column.type.seconds
    seconds = seconds_of_ticks(ticks, column.type.per_second)
    return check_numbers(
        field, seconds if valid is None else np.where(valid, seconds, np.nan), first
    )


def _with_gaps(values: Any, valid: NDArray[np.bool_] | None) -> list[Any]:
    if isinstance(values, list):
        return values
    return with_gaps(values, valid)


def _column(name: str, declared: Table) -> _Column:
    kind = _type(declared, name)
    encoding = declared.table(4)
    if encoding is None:
        return _Column(name, kind, None, kind)
    if kind.kind == "time":
        refuse(f"expected times as they are; got them in a dictionary, in {quoted(name)}")
    index = encoding.table(1)
    places = _Type("number", "<i4") if index is None else _integer(index)
    return _Column(name, kind, encoding.number(0, "<q"), places)


def _type(declared: Table, name: str) -> _Type:
    of = declared.table(3)
    if of is None:
        _damaged("a column without a type")
    match declared.number(2, "<B"):
        case 2:
            found: _Type | None = _integer(of)
        case 3:
            found = FLOATS.get(of.number(0, "<h"))
        case 8:
            found = DATES.get(of.number(0, "<h", 1))
        case 10:
            found = TIMES.get(of.number(0, "<h"))
        case other:
            found = OTHERS.get(other)
    if found is None:
        refuse(
            f"expected numbers, booleans, texts, dates or times in column {quoted(name)}; got "
            f"values of another type; cast them before they are written",
            field=name,
        )
    return found


def _integer(of: Table) -> _Type:
    bits = of.number(0, "<i")
    if bits not in (8, 16, 32, 64):
        _damaged(f"integers of {bits} bits")
    return _Type("number", f"<{'i' if of.number(1, '<B') else 'u'}{bits // 8}")


def _damaged(came: str) -> NoReturn:
    raise MalformedBodyError(f"expected an Arrow stream; got {came[:100]}")
