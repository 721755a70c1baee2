"""Turn batches of rows into records, and store them in memory or in temporary files.

A `RowStore` is one array that is filled from its first row to its last. `RecordsStore` has one for
each array of the records of a file. Large ones are mapped from files, so that memory is bounded.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import IO, Any, NoReturn

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
from trainer.data.files.cell_parsing import Parser, create_parser, find_first_refused
from trainer.data.files.cell_texts import find_gaps, suggest_correction, to_codes, to_texts
from trainer.data.files.file_sources import RowNames, number_rows
from trainer.data.records import MISSING, Column, Kind, Records
from trainer.data.tables import DataError, join_names

MAX_MEMORY_BYTES = 2**26  # bytes of all rows; larger stores are temporary files
VALUE_NAMES: dict[Kind, str] = {
    "number": "a number that float32 can hold",
    "precise": "a number",
    "boolean": "true or false",
    "date": "an ISO 8601 date",
}
# Returns the column, of a category with its words, and its values, of a category as codes.
ColumnReader = Callable[[pa.Array, Column], tuple[Column, NDArray[Any]]]


def to_records(
    batch: pa.RecordBatch,
    columns: Sequence[Column],
    row: int = 0,
    *,
    gaps: Collection[str] = DEFAULT_GAP_TEXTS,
    decimal: str | None = None,
    row_names: RowNames = number_rows,
    read: ColumnReader | None = None,
) -> Records:
    """Return the rows of a batch as records.

    Args:
        batch: Rows with typed columns or with texts to parse. Columns without a `Column` are
            ignored.
        columns: Columns of the records. A category without words gets those of the batch, sorted.
        row: Number of rows before the batch, for messages.
        gaps: Lower-case texts that stand for a gap.
        decimal: Decimal sign of numbers in texts; None for a plain point.
        row_names: Function that names rows for messages, as `FileSource.name_rows` does.
        read: Function that reads a column, instead of the one that uses the options above.

    Raises:
        DataError: If the batch lacks a column, or a value is not of its column's kind.
    """
    batch_names = set(batch.schema.names)
    missing_names = [column.name for column in columns if column.name not in batch_names]
    if missing_names:
        raise DataError(
            f"expected the columns {join_names([column.name for column in columns])}; "
            f"got none called {join_names(missing_names)}"
            f"{suggest_name(missing_names[0], batch_names)}; add them"
        )

    def read_by_options(array: pa.Array, column: Column) -> tuple[Column, NDArray[Any]]:
        if column.kind == "category":
            return _read_category(array, column, row, gaps, row_names)
        parse = create_parser(column, gaps, decimal)
        return column, _read_numbers(array, column, row, parse, row_names)

    numbers, dates, codes, precise = (
        np.empty((batch.num_rows, width), dtype) for width, dtype in _get_widths(columns)
    )
    # The next free column of the array of each kind.
    slots = {
        "number": iter(numbers.T),
        "date": iter(dates.T),
        "category": iter(codes.T),
        "precise": iter(precise.T),
    }
    slots["boolean"] = slots["number"]
    final_columns: list[Column] = []
    for column in columns:
        final_column, values = (read or read_by_options)(batch[column.name], column)
        next(slots[column.kind])[:] = values
        final_columns.append(final_column)
    return Records(tuple(final_columns), numbers, dates, codes, precise)


def _get_widths(columns: Sequence[Column]) -> list[tuple[int, np.dtype[Any]]]:
    """Return the number of columns and the dtype of each array of `Records`, in its order."""
    kinds = [column.kind for column in columns]
    return [
        (kinds.count("number") + kinds.count("boolean"), np.dtype(np.float32)),
        (kinds.count("date"), np.dtype(np.float64)),
        (kinds.count("category"), np.dtype(np.int32)),
        (kinds.count("precise"), np.dtype(np.float64)),
    ]


def _read_numbers(
    array: pa.Array, column: Column, row: int, parse: Parser, row_names: RowNames
) -> NDArray[Any]:
    """Return the values of a column that is not a category, float64 `(n,)`, NaN for a gap.

    Raises:
        DataError: If a value cannot be parsed, or is too large for the dtype of its column.
    """
    if column.kind == "precise":
        require_float64(array, column.name)
    limit = math.inf if column.kind == "date" else FLOAT32_LIMIT
    limit = FLOAT64_LIMIT if column.kind == "precise" else limit

    def parse_within_limit(array: pa.Array) -> NDArray[Any] | None:
        values = parse(array)
        return None if values is None or (np.abs(values) >= limit).any() else values

    values = parse_within_limit(array)
    if values is None:
        index, text = find_first_refused(array, parse_within_limit)
        refuse_cell(describe_column(column), column.name, text, row_names(row + index)[0])
    return values


def _read_category(
    array: pa.Array, column: Column, row: int, gaps: Collection[str], row_names: RowNames
) -> tuple[Column, NDArray[np.int32]]:
    """Return a column of categories with its words, and the codes of its values, int32 `(n,)`.

    Raises:
        DataError: If a text is not among the words.
    """
    if not column.words:
        words = to_texts(array.unique(), gaps).drop_null().unique()
        column = Column(column.name, column.kind, tuple(sorted(words.to_pylist())))
    codes = to_codes(array, pa.array(column.words, pa.string()), gaps)
    is_unknown = codes == MISSING
    if is_unknown.any():
        is_unknown &= ~find_gaps(array, gaps)
    if is_unknown.any():
        index = int(is_unknown.argmax())
        (row_name,) = row_names(row + index)
        raise DataError(
            f"expected one of {len(column.words)} texts in {column.name!r}; got "
            f"{array[index].as_py()!r} in {row_name}: the file is being changed"
        )
    return column, codes


def require_float64(array: pa.Array, name: str) -> None:
    """Refuse an array of shorter floats for a column of float64.

    Args:
        array: Column of a batch, `(n,)`.
        name: Name of the column.

    Raises:
        DataError: If the array is of float16 or float32.
    """
    if pa.types.is_floating(array.type) and array.type.bit_width < 64:
        raise DataError(
            f"expected float64 in {name!r}, since float32 makes the same of different "
            f"values; got a column of {array.type}; write it in float64"
        )


def refuse_cell(expected: str, name: str, text: str, row_name: str) -> NoReturn:
    """Raise DataError for a value that its column cannot have.

    Args:
        expected: Description of the column's values.
        name: Name of the column.
        text: Text of the value.
        row_name: Name of its row.
    """
    raise DataError(
        f"expected {expected} in {name!r}; got {text!r} in {row_name}; "
        f"{suggest_correction(text) or 'correct it, or leave that cell empty'}"
    )


def describe_column(column: Column) -> str:
    """Return a description, for messages, of the values of a column that is not a category."""
    if column.kind == "date" and column.format != ISO8601:
        return f"a date written {column.format}, or in ISO 8601,"
    texts = f", or {join_names(list(column.texts))}" if column.texts else ""
    return f"{VALUE_NAMES[column.kind]}{texts}"


class RowStore:
    """An array that is filled from its first row to its last.

    Args:
        shape: Shape of the array.
        dtype: Dtype of the array.
        in_file: Whether the array is mapped from a temporary file, in the folder that `TMPDIR`
            names. The file has no name, and its space is freed with the array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, in_file: bool) -> None:
        self._shape, self._dtype, self._n_rows = shape, dtype, 0
        self._file: IO[bytes] | None = None
        if in_file and 0 not in shape:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._array = np.empty(shape if self._file is None else 0, dtype)

    def append(self, block: NDArray[Any]) -> None:
        """Write the next rows.

        Args:
            block: Rows, `(n, …)`.

        Raises:
            DataError: If the array has no more rows, or the disk has no space.
        """
        start, self._n_rows = self._n_rows, self._n_rows + len(block)
        if self._n_rows > self._shape[0]:
            raise DataError(f"expected {self._shape[0]} rows; got more: the file is being changed")
        if self._file is None:
            self._array[start : self._n_rows] = block
            return
        try:
            self._file.write(np.ascontiguousarray(block, self._dtype).data)
        except OSError as error:
            raise DataError(
                f"expected room for {np.prod(self._shape) * self._dtype.itemsize} bytes in "
                f"{tempfile.gettempdir()}; {error}; set TMPDIR to a folder with more"
            ) from error

    def get_array(self) -> NDArray[Any]:
        """Return the whole array.

        Raises:
            DataError: If not all rows were written.
        """
        if self._n_rows < self._shape[0]:
            raise DataError(
                f"expected {self._shape[0]} rows; got {self._n_rows}: the file is being changed"
            )
        if self._file is not None and not self._array.size:
            self._file.flush()
            self._array = np.memmap(self._file, self._dtype, "r+", shape=self._shape)
        return self._array

    def close(self) -> None:
        """Close the file. The array can still be used."""
        if self._file is not None:
            self._file.close()  # the mapping keeps the space of the file


class RecordsStore:
    """The records of a file and other arrays, such as the target, filled batch by batch.

    Args:
        n_rows: Number of rows.
        columns: Columns of the records.
        dtypes: Dtype of each other array `(n_rows,)`, by name.
    """

    def __init__(
        self, n_rows: int, columns: Sequence[Column], dtypes: Mapping[str, np.dtype[Any]]
    ) -> None:
        self._columns = tuple(columns)
        shapes: list[tuple[tuple[int, ...], np.dtype[Any]]] = [
            *(((n_rows, width), dtype) for width, dtype in _get_widths(columns)),
            *(((n_rows,), dtype) for dtype in dtypes.values()),
        ]
        n_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype in shapes)
        in_file = n_bytes > MAX_MEMORY_BYTES
        stores = [RowStore(shape, dtype, in_file=in_file) for shape, dtype in shapes]
        self._record_stores = stores[: len(shapes) - len(dtypes)]
        self._other_stores = dict(zip(dtypes, stores[len(self._record_stores) :], strict=True))

    def append(self, records: Records, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the next rows.

        Args:
            records: Records of the rows.
            arrays: The same rows, `(n,)`, of each other array, by name.

        Raises:
            DataError: If there are more rows than the store has, or the disk has no space.
        """
        for store, block in zip(self._record_stores, records.arrays, strict=True):
            store.append(block)
        for name, values in arrays.items():
            self._other_stores[name].append(values)

    def get_arrays(self) -> tuple[Records, dict[str, NDArray[Any]]]:
        """Return the records of all rows, and the other arrays by name.

        Raises:
            DataError: If not all rows were written.
        """
        records = Records(self._columns, *(store.get_array() for store in self._record_stores))
        return records, {name: store.get_array() for name, store in self._other_stores.items()}

    def close(self) -> None:
        """Close the files. The arrays can still be used."""
        for store in (*self._record_stores, *self._other_stores.values()):
            store.close()
