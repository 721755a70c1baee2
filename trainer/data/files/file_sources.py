"""Open a file of rows and columns by its suffix: CSV, Parquet, or Arrow's own format (Feather).

A `FileSource` is the interface of all of them: batches of rows, as often as they are asked for.
CSV is in `csv_file`. Parquet and Arrow files have typed columns, and nulls for gaps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet

from serving.bundle import DEFAULT_GAP_TEXTS
from trainer.data.files.csv_file import CsvFile
from trainer.data.tables import DataError, join_names, match_column_names

CSV_SUFFIXES = (".csv", ".csv.gz")
FILE_SUFFIXES = (*CSV_SUFFIXES, ".parquet", ".arrow", ".feather")
MAX_BATCH_CELLS = 2**19
MAX_BATCH_ROWS = 2**16
PARQUET_BUFFER_BYTES = 2**20  # bytes that are read ahead for each column
ARROW_FILE_MARK = b"ARROW1"  # an Arrow stream, unlike an Arrow file, begins without it

RowNames = Callable[..., list[str]]  # the signature of `FileSource.name_rows`


class FileSource(Protocol):
    """A file of rows and columns, read in batches."""

    @property
    def name(self) -> str:
        """Name of the file, for messages and the manifest."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Distinct names of the columns, in NFC; at most one is empty, and cannot be a feature."""

    @property
    def index(self) -> tuple[str, ...]:
        """Columns that the file itself declares to be an index of its rows."""

    @property
    def gaps(self) -> tuple[str, ...]:
        """Lower-case texts that stand for a gap; the empty text always does."""

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order, a few megabytes at a time.

        Raises:
            DataError: If the file is damaged.
        """

    def name_rows(self, *rows: int) -> list[str]:
        """Return the names of rows for messages, such as "row 5".

        Rows of a CSV file have the numbers that a spreadsheet shows, with the header as row 1, and
        the line of the file where that is another number. Rows of other files count from 1.

        Args:
            rows: Indices of rows, from 0.
        """


def open_file(
    path: Path,
    names: Sequence[str] = (),
    missing: Sequence[str] | None = None,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
) -> FileSource:
    """Open a file with one of `FILE_SUFFIXES`.

    Args:
        path: Path of the file.
        names: Names of the columns of a CSV file without a header.
        missing: Lower-case texts of a CSV file that stand for a gap; None for `DEFAULT_GAP_TEXTS`.
        delimiter: Character between two cells of a CSV file [default: a comma].
        encoding: Encoding of a CSV file [default: UTF-8].
        decimal: Decimal sign of numbers in a CSV file; see `CsvFile`.

    Raises:
        DataError: If the file is of another type or damaged, if its header cannot be used, or if an
            option does not apply to its type.
    """
    lower_name = path.name.lower()
    if lower_name.endswith(CSV_SUFFIXES):
        gaps = DEFAULT_GAP_TEXTS if missing is None else missing
        return CsvFile(path, names, gaps, delimiter=delimiter, encoding=encoding, decimal=decimal)
    if not lower_name.endswith(FILE_SUFFIXES):
        raise DataError(f"expected a file ending in {', '.join(FILE_SUFFIXES)}; got {path.name}")
    if names:
        raise DataError(
            f"{path.name}: expected no names: the file holds those of its columns; got "
            f"{len(names)}; leave them out"
        )
    if missing:
        raise DataError(
            f"{path.name}: expected no texts that stand for a gap: the file has nulls of its own; "
            f"got {join_names(missing)}; leave out --missing, and write nulls for them"
        )
    for option, value in (("delimiter", delimiter), ("encoding", encoding)):
        if value is not None:
            raise DataError(
                f"{path.name}: expected no {option}, which only a CSV file has; got {value!r}; "
                f"leave it out"
            )
    return ParquetFile(path) if lower_name.endswith(".parquet") else ArrowFile(path)


class ParquetFile:
    """A `.parquet` file; see `FileSource`.

    Args:
        path: Path of the file.

    Raises:
        DataError: If the file is damaged, or has no usable column names.
    """

    gaps = ()  # the file has nulls

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        with self._open() as file:
            self.columns = match_column_names(self.name, file.schema_arrow.names)
            self.index = read_pandas_index(file.schema_arrow)

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order; see `FileSource`."""
        with self._open() as file:
            n_rows = _compute_batch_rows(len(self.columns))
            for batch in file.iter_batches(batch_size=n_rows, use_threads=False):
                yield simplify_types(batch).rename_columns(list(self.columns))

    def name_rows(self, *rows: int) -> list[str]:
        """Return the names of rows for messages; see `FileSource`."""
        return number_rows(*rows)

    @contextmanager
    def _open(self) -> Iterator[pa.parquet.ParquetFile]:
        with (
            _explain_errors(self.name, "Parquet"),
            # Without a buffer, whole row groups would be in memory, which can be the whole file.
            pa.parquet.ParquetFile(
                self._path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False
            ) as file,
        ):
            yield file


class ArrowFile:
    """An `.arrow` or `.feather` file: Arrow's IPC format, as a file or as a stream.

    Args:
        path: Path of the file.

    Raises:
        DataError: If the file is damaged, or has no usable column names.
    """

    gaps = ()  # the file has nulls

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        with self._open() as (schema, _):
            self.columns = match_column_names(self.name, schema.names)
            self.index = read_pandas_index(schema)

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order; see `FileSource`."""
        n_rows = _compute_batch_rows(len(self.columns))
        with self._open() as (_, batches):
            for batch in batches:
                for start in range(0, batch.num_rows, n_rows):
                    part = simplify_types(batch.slice(start, n_rows))
                    yield part.rename_columns(list(self.columns))

    def name_rows(self, *rows: int) -> list[str]:
        """Return the names of rows for messages; see `FileSource`."""
        return number_rows(*rows)

    @contextmanager
    def _open(self) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        with _explain_errors(self.name, "Arrow"), pa.memory_map(str(self._path)) as stream:
            if stream.read(len(ARROW_FILE_MARK)) == ARROW_FILE_MARK:
                file = pa.ipc.open_file(stream)
                yield file.schema, map(file.get_batch, range(file.num_record_batches))
            else:
                stream.seek(0)
                reader = pa.ipc.open_stream(stream)
                yield reader.schema, iter(reader)


def number_rows(*rows: int) -> list[str]:
    """Return the names of rows of a file without a header: "row 1" for the index 0."""
    return [f"row {row + 1}" for row in rows]


def read_pandas_index(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that pandas' metadata in a schema declare to be an index.

    A range index has no column in the file, so there is nothing to return for it.
    """
    try:
        index_columns = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    columns = index_columns if isinstance(index_columns, list) else []
    return tuple(name for name in columns if isinstance(name, str) and name in schema.names)


def simplify_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with dictionaries decoded, and texts of any layout as `string`.

    Raises:
        pa.ArrowInvalid: If the batch is inconsistent, or its texts are not UTF-8.
    """
    batch.validate(full=True)  # otherwise a damaged file can crash the process
    arrays = []
    for column in batch.columns:
        array = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        is_text = pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type)
        arrays.append(array.cast(pa.string()) if is_text else array)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _compute_batch_rows(n_columns: int) -> int:
    """Return the number of rows of a batch, so that it has at most `MAX_BATCH_CELLS` cells."""
    return min(MAX_BATCH_ROWS, max(1, MAX_BATCH_CELLS // max(n_columns, 1)))


@contextmanager
def _explain_errors(source: str, file_type: str) -> Iterator[None]:
    """Raise DataError for errors of reading a Parquet or Arrow file."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{source}: expected a whole {file_type} file; got one that cannot be read; {error}"
        ) from error
