"""A source: what every file of rows and columns is, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from trainer.data.files.columnar import ArrowFile, ParquetFile
from trainer.data.files.csv_text import CsvText
from trainer.data.tables import DataError

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".arrow", ".feather")


class Source(Protocol):
    """Rows in batches, as often as one asks for them."""

    @property
    def name(self) -> str:
        """Where the rows come from, for messages and the manifest."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their columns' names: distinct, none empty."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order, a few megabytes at a time.

        Raises:
            DataError: the file is damaged.
        """


def open_file(path: Path, names: Sequence[str] = ()) -> Source:
    """The source in a file of one of `SUFFIXES`.

    Args:
        path: the file.
        names: of the columns of a CSV file that has no header.

    Raises:
        DataError: it is none of these, its header cannot be used, or it is damaged.
    """
    ending = path.name.lower()
    if ending.endswith((".csv", ".csv.gz")):
        return CsvText(path, names)
    if not ending.endswith(SUFFIXES):
        raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")
    if names:
        raise DataError(
            f"{path.name}: expected no names: the file holds those of its columns; got "
            f"{len(names)}; leave them out"
        )
    return ParquetFile(path) if ending.endswith(".parquet") else ArrowFile(path)
