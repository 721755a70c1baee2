"""Columnar files: Parquet, and Arrow's own (Feather), whose columns have types already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from trainer.data.tables import DataError, match_column_names

CELLS = 2**19  # in memory at a time
BUFFER = 2**20  # bytes read ahead for a column


class ParquetFile:
    """A `.parquet` file."""

    gaps = ()  # it has nulls for them

    def __init__(self, path: Path) -> None:
        """Read the schema."""
        self.name = path.name
        self._path = path
        with self._opened() as file:
            self.columns = match_column_names(self.name, file.schema_arrow.names)
            self.index = index_of_pandas(file.schema_arrow)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order; see `Source`."""
        with self._opened() as file:
            rows = _rows_in_one_go(len(self.columns))
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                yield plain(batch).rename_columns(list(self.columns))

    def row_names(self, *rows: int) -> list[str]:
        """What rows are called; see `Source`."""
        return check_row_count(*rows)

    @contextmanager
    def _opened(self) -> Iterator[pa.parquet.ParquetFile]:
        with (
            _faults_named(self.name, "Parquet"),
            # Unbuffered it would hold whole row groups, which can be as large as the file.
            pa.parquet.ParquetFile(self._path, buffer_size=BUFFER, pre_buffer=False) as file,
        ):
            yield file


class ArrowFile:
    """An `.arrow` or `.feather` file: Arrow's IPC format, as a file or as a stream."""

    gaps = ()  # it has nulls for them

    def __init__(self, path: Path) -> None:
        """Read the schema."""
        self.name = path.name
        self._path = path
        with self._opened() as (schema, _):
            self.columns = match_column_names(self.name, schema.names)
            self.index = index_of_pandas(schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order; see `Source`."""
        rows = _rows_in_one_go(len(self.columns))
        with self._opened() as (_, found):
            for batch in found:
                for start in range(0, batch.num_rows, rows):
                    part = plain(batch.slice(start, rows))
                    yield part.rename_columns(list(self.columns))

    def row_names(self, *rows: int) -> list[str]:
        """What rows are called; see `Source`."""
        return check_row_count(*rows)

    @contextmanager
    def _opened(self) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        with _faults_named(self.name, "Arrow"), pa.memory_map(str(self._path)) as stream:
            if stream.read(6) == b"ARROW1":  # else it is a stream
                file = pa.ipc.open_file(stream)
                yield file.schema, map(file.get_batch, range(file.num_record_batches))
            else:
                stream.seek(0)
                reader = pa.ipc.open_stream(stream)
                yield reader.schema, iter(reader)


def check_row_count(*rows: int) -> list[str]:
    """Return what rows are called where there is no header, given by their places from 0."""
    return [f"row {row + 1}" for row in rows]


def index_of_pandas(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that pandas' metadata of a schema call its index.

    An index that only counts is described there without a column, and needs none.
    """
    try:
        said = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    columns = said if isinstance(said, list) else []
    return tuple(name for name in columns if isinstance(name, str) and name in schema.names)


def plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with dictionaries decoded, and texts of whatever layout as `string`.

    Raises:
        pa.ArrowInvalid: its parts do not fit together, or its texts are not UTF-8.
    """
    batch.validate(full=True)  # Arrow trusts a file to the point of crashing
    arrays = []
    for column in batch.columns:
        array = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        wide = pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type)
        arrays.append(array.cast(pa.string()) if wide else array)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _rows_in_one_go(columns: int) -> int:
    return min(2**16, max(1, CELLS // max(columns, 1)))


@contextmanager
def _faults_named(source: str, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{source}: expected a whole {kind} file; got one that cannot be read; {error}"
        ) from error
