"""Write tables to a CSV, Parquet or JSON Lines file, batch by batch."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trainer.train_extra  # noqa: F401 - says which extra to install

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet


class TableWriter(ABC):
    """Writes tables with the same columns to a file, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> TableWriter:
        return self

    @abstractmethod
    def write(self, table: pa.Table) -> None:
        """Write the rows of a table."""

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...


class ArrowWriter(TableWriter):
    """Writes with one of pyarrow's writers, which is opened with the first table's schema."""

    def __init__(self, path: Path, open_writer: Callable[[Path, pa.Schema], Any]) -> None:
        super().__init__(path)
        self._open_writer = open_writer
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        """Write the rows of a table."""
        if self._writer is None:
            self._writer = self._open_writer(self.path, table.schema)
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


class JSONLinesWriter(TableWriter):
    """Writes a JSON object for each row."""

    def __enter__(self) -> TableWriter:
        self._file = self.path.open("w", encoding="utf-8")
        return self

    def write(self, table: pa.Table) -> None:
        """Write a line for each row of a table."""
        for row in to_json_floats(table).to_pylist():
            self._file.write(
                json.dumps(row, default=str, ensure_ascii=False, allow_nan=False) + "\n"
            )

    def __exit__(self, *_: object) -> None:
        self._file.close()


def to_json_floats(table: pa.Table) -> pa.Table:
    """Return a table with floats that JSON can hold: NaN and infinity become null.

    A float32 becomes the float64 with the fewest digits that reads back as the same float32.
    """
    for index, column in enumerate(table.schema):
        values = table.column(index)
        if pa.types.is_float32(column.type):
            values = pc.cast(pc.cast(values, pa.string()), pa.float64())
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
            table = table.set_column(index, column.name, values)
    return table


# The class or function that makes the writer of a file with each suffix.
WRITERS: dict[str, Callable[[Path], TableWriter]] = {
    ".csv": lambda path: ArrowWriter(path, pa.csv.CSVWriter),
    ".parquet": lambda path: ArrowWriter(path, pa.parquet.ParquetWriter),
    ".jsonl": JSONLinesWriter,
}
