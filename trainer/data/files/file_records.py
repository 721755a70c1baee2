"""Ingestion: the rows of a file as records, in bounded memory however many they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import (
    DEFAULT_GAP_TEXTS,
    FLOAT32_LIMIT,
    FLOAT64_LIMIT,
    ISO8601,
    suggest_name,
)
from trainer.data.column_names import column_option
from trainer.data.files import cell_parsing
from trainer.data.files.columnar import check_row_count
from trainer.data.files.cell_texts import advice
from trainer.data.files.column_roles import roles
from trainer.data.files.file_sources import FileSource
from trainer.data.files.store import IN_MEMORY, Store
from trainer.data.read_options import ColumnProfile, ReadOptions
from trainer.data.records import MISSING, Column, Kind, Records
from trainer.data.tables import MAX_CLASS_NUMBER, DataError, join_names

CALLED: dict[Kind, str] = {
    "number": "a number that float32 can hold",
    "precise": "a number",
    "boolean": "true or false",
    "date": "an ISO 8601 date",
}
Ingested = tuple[Records, NDArray[Any], NDArray[np.int64] | None, NDArray[np.float64] | None]
Reader = Callable[[pa.Array], NDArray[Any]]
RowNames = Callable[..., list[str]]  # see `Source.row_names`
ColumnReader = Callable[[pa.Array, Column], tuple[Column, NDArray[Any]]]


def ingest(source: FileSource, inferred: Sequence[ColumnProfile], reading: ReadOptions) -> Ingested:
    """Read all rows of `source`.

    Args:
        source: read once.
        inferred: what `infer` found in it.
        reading: says what columns there are for.

    Returns:
        The records; the target `(n,)`: text, int64 if all are whole numbers, or float64; the groups
        and the times if the reading names such columns, else None. What takes more than
        `IN_MEMORY` bytes together is mapped from temporary files.

    Raises:
        DataError: the target, group or time has gaps, or is of a kind it cannot be; or a number is
            too large for float32.
    """
    found, known = roles(source, reading), {column.name: column for column in inferred}
    columns = [_column(known[name]) for name in found.features]
    gaps = source.gaps
    readers = {found.target: _target(source, known[found.target], reading.decimal)}
    if found.group is not None:
        _refuse_gaps(source, known[found.group])
        readers[found.group] = np.dtype(np.int64), _Groups(gaps)
    if found.time is not None:
        readers[found.time] = (
            np.dtype(np.float64),
            _times(source, known[found.time], reading.decimal),
        )
    room = _Stores(inferred[0].rows, columns, {n: dtype for n, (dtype, _) in readers.items()})
    with closing(room) as stores:
        row = 0
        for batch in source.batches():
            stores.append(
                to_records(
                    batch,
                    columns,
                    row,
                    gaps=gaps,
                    decimal=reading.decimal,
                    row_names=source.row_names,
                ),
                {name: read(batch[name]) for name, (_, read) in readers.items()},
            )
            row += batch.num_rows
        records, others = stores.arrays()
    pa.default_memory_pool().release_unused()
    return (
        records,
        others[found.target],
        None if found.group is None else others[found.group],
        None if found.time is None else others[found.time],
    )


def to_records(
    batch: pa.RecordBatch,
    columns: Sequence[Column],
    row: int = 0,
    *,
    gaps: Collection[str] = DEFAULT_GAP_TEXTS,
    decimal: str | None = None,
    row_names: RowNames = check_row_count,
    read: ColumnReader | None = None,
) -> Records:
    """A batch's rows as records.

    Args:
        batch: typed, or text to be parsed; what is not among `columns` is left out.
        columns: of the records; a category without words takes those of the batch, sorted.
        row: how many rows came before the batch, for messages.
        gaps: texts that stand for a gap, in lower case.
        decimal: Decimal sign of numbers in texts; None for a plain point.
        row_names: Function that names rows for messages, as `Source.row_names`.
        read: Function that returns the values of a column, of a category its codes, and the column
            with its words. None to read what training reads, by the options above.

    Raises:
        DataError: a column is not there, or a value is not of its kind; the message names column,
            value and row.
    """
    there = set(batch.schema.names)
    lacking = [column.name for column in columns if column.name not in there]
    if lacking:
        raise DataError(
            f"expected the columns {join_names([column.name for column in columns])}; "
            f"got none called {join_names(lacking)}{suggest_name(lacking[0], there)}; add them"
        )
    n, kinds = batch.num_rows, [column.kind for column in columns]
    numbers = np.empty((n, kinds.count("number") + kinds.count("boolean")), np.float32)
    dates = np.empty((n, kinds.count("date")))
    codes = np.empty((n, kinds.count("category")), np.int32)
    precise = np.empty((n, kinds.count("precise")))
    filled: list[Column] = []
    places = {
        "number": iter(numbers.T),
        "date": iter(dates.T),
        "category": iter(codes.T),
        "precise": iter(precise.T),
    }
    places["boolean"] = places["number"]

    def read_by_options(array: pa.Array, column: Column) -> tuple[Column, NDArray[Any]]:
        if column.kind == "category":
            return _coded(array, column, row, gaps, row_names)
        parse = cell_parsing.parser(column, gaps, decimal)
        return column, _parsed(array, column, row, parse, row_names)

    for column in columns:
        found, values = (read or read_by_options)(batch[column.name], column)
        next(places[column.kind])[:] = values
        filled.append(found)
    return Records(tuple(filled), numbers, dates, codes, precise)


def _column(found: ColumnProfile) -> Column:
    return Column(found.name, found.kind, found.words, found.texts, found.format)


def _parsed(
    array: pa.Array, column: Column, row: int, parse: cell_parsing.Parser, row_names: RowNames
) -> NDArray[Any]:
    if column.kind == "precise":
        require_float64(array, column.name)
    limit = math.inf if column.kind == "date" else FLOAT32_LIMIT
    limit = FLOAT64_LIMIT if column.kind == "precise" else limit

    def held(array: pa.Array) -> NDArray[Any] | None:
        values = parse(array)
        return None if values is None or (np.abs(values) >= limit).any() else values

    values = held(array)
    if values is None:
        place, text = cell_parsing.first_odd(array, held)
        refuse_cell(describe_column(column), column.name, text, row_names(row + place)[0])
    return values


def require_float64(array: pa.Array, name: str) -> None:
    """Refuse an array of shorter floats for a column of float64.

    Raises:
        DataError: If the array is of float16 or float32.
    """
    if pa.types.is_floating(array.type) and array.type.bit_width < 64:
        raise DataError(
            f"expected float64 in {name!r}, since float32 makes the same of different "
            f"values; got a column of {array.type}; write it in float64"
        )


def refuse_cell(expected: str, name: str, text: str, called: str) -> NoReturn:
    """Raise DataError for a value that is none of its column.

    Args:
        expected: Description of the column's values.
        name: Name of the column.
        text: Text of the value.
        called: Name of the row.
    """
    raise DataError(
        f"expected {expected} in {name!r}; got {text!r} in {called}; "
        f"{advice(text) or 'correct it, or leave that cell empty'}"
    )


def describe_column(column: Column) -> str:
    """Describe the values of a column, which is no category, for messages."""
    if column.kind == "date" and column.format != ISO8601:
        return f"a date written {column.format}, or in ISO 8601,"
    also = f", or {join_names(list(column.texts))}" if column.texts else ""
    return f"{CALLED[column.kind]}{also}"


def _coded(
    array: pa.Array, column: Column, row: int, gaps: Collection[str], row_names: RowNames
) -> tuple[Column, NDArray[np.int32]]:
    if not column.words:
        there = cell_parsing.texts(array.unique(), gaps).drop_null().unique()
        column = Column(column.name, column.kind, tuple(sorted(there.to_pylist())))
    found = cell_parsing.codes(array, pa.array(column.words, pa.string()), gaps)
    unknown = (found == MISSING) & ~cell_parsing.missing(array, gaps)
    if unknown.any():
        place = int(unknown.argmax())
        (called,) = row_names(row + place)
        raise DataError(
            f"expected one of {len(column.words)} texts in {column.name!r}; got "
            f"{array[place].as_py()!r} in {called}: the file is being changed"
        )
    return column, found


def _target(
    source: FileSource, column: ColumnProfile, decimal: str | None
) -> tuple[np.dtype[Any], Reader]:
    """How the target is held, and read."""
    _refuse_gaps(source, column)
    if column.kind == "date":
        raise DataError(
            f"{source.name}: expected text, truth values or numbers in the target {column.name!r}; "
            f"got dates; say {column_option('category', [column.name])} if they are classes"
        )
    words = ("false", "true") if column.kind == "boolean" else column.words
    if not words:
        whole = column.whole and _largest(column) <= MAX_CLASS_NUMBER
        dtype = np.dtype(np.int64 if whole else np.float64)
        parse = cell_parsing.parser(column, source.gaps, decimal)
        return dtype, lambda array: _filled(parse(array)).astype(dtype)
    table = np.array(words)
    if column.kind == "boolean":
        return table.dtype, lambda array: table[
            _filled(cell_parsing.booleans(array, source.gaps)).astype(np.int64)
        ]
    texts = pa.array(words)
    return table.dtype, lambda array: table[cell_parsing.codes(array, texts, source.gaps)]


def _times(source: FileSource, column: ColumnProfile, decimal: str | None) -> Reader:
    _refuse_gaps(source, column)
    if column.kind in ("category", "boolean"):
        raise DataError(
            f"{source.name}: expected dates or numbers in {column.name!r}, to know when each row "
            f"came about; got {column.example!r}; {column.oddity or 'choose another column'}"
        )
    parse = cell_parsing.parser(column, source.gaps, decimal)
    return lambda array: _filled(parse(array))


def _refuse_gaps(source: FileSource, column: ColumnProfile) -> None:
    if column.gaps:
        (called,) = source.row_names(column.first_gap - 1)
        raise DataError(
            f"{source.name}: expected a value in every row of {column.name!r}; got {column.gaps} "
            f"missing, the first in {called}; drop those rows"
        )


def _largest(column: ColumnProfile) -> float:
    return max(abs(column.minimum or 0.0), abs(column.maximum or 0.0))


def _filled(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if values is None:
        raise DataError(
            "expected the values of a moment ago; got others: the file is being changed"
        )
    return values


class _Groups:
    """Texts as numbers in the order in which they first came; all of them are remembered."""

    def __init__(self, gaps: Collection[str]) -> None:
        self._gaps = gaps
        self._numbers: dict[str, int] = {}

    def __call__(self, array: pa.Array) -> NDArray[np.int64]:
        """The groups of a batch, int64 `(n,)`."""
        words = cell_parsing.texts(array.unique(), self._gaps).drop_null().unique()
        for word in words.to_pylist():
            self._numbers.setdefault(word, len(self._numbers))
        table = np.array([self._numbers[word] for word in words.to_pylist()], np.int64)
        return table[cell_parsing.codes(array, words, self._gaps)]


class _Stores:
    """All that is kept of a file's rows."""

    def __init__(
        self, n: int, columns: Sequence[Column], others: Mapping[str, np.dtype[Any]]
    ) -> None:
        """Make room for `n` rows of records of `columns`, and of `others` by name."""
        kinds = [column.kind for column in columns]
        self._columns = tuple(columns)
        shapes: list[tuple[tuple[int, ...], np.dtype[Any]]] = [
            ((n, kinds.count("number") + kinds.count("boolean")), np.dtype(np.float32)),
            ((n, kinds.count("date")), np.dtype(np.float64)),
            ((n, kinds.count("category")), np.dtype(np.int32)),
            ((n, kinds.count("precise")), np.dtype(np.float64)),
            *(((n,), dtype) for dtype in others.values()),
        ]
        size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes)
        stores = [Store(shape, dtype, in_file=size > IN_MEMORY) for shape, dtype in shapes]
        self._records = stores[: len(shapes) - len(others)]
        self._others = dict(zip(others, stores[len(self._records) :], strict=True))

    def append(self, records: Records, others: Mapping[str, NDArray[Any]]) -> None:
        """Write the next rows."""
        for store, block in zip(self._records, records.arrays, strict=True):
            store.append(block)
        for name, values in others.items():
            self._others[name].append(values)

    def arrays(self) -> tuple[Records, dict[str, NDArray[Any]]]:
        """All of them."""
        records = Records(self._columns, *(store.array() for store in self._records))
        return records, {name: store.array() for name, store in self._others.items()}

    def close(self) -> None:
        """Write no more; the arrays stay."""
        for store in (*self._records, *self._others.values()):
            store.close()
