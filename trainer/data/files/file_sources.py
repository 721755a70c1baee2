"""A source: what every file of rows and columns is, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from serving.bundle import DEFAULT_GAP_TEXTS
from trainer.data.files.columnar import ArrowFile, ParquetFile
from trainer.data.files.csv_file import CsvText
from trainer.data.tables import DataError, join_names

CSV = (".csv", ".csv.gz")
SUFFIXES = (*CSV, ".parquet", ".arrow", ".feather")


class FileSource(Protocol):
    """Rows in batches, as often as one asks for them."""

    @property
    def name(self) -> str:
        """Where the rows come from, for messages and the manifest."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their columns' names: distinct; one may be empty, which is no feature then."""

    @property
    def index(self) -> tuple[str, ...]:
        """The columns that the file itself says are an index of its rows."""

    @property
    def gaps(self) -> tuple[str, ...]:
        """The texts that stand for a gap, in lower case, beside the empty one."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order, a few megabytes at a time.

        Raises:
            DataError: the file is damaged.
        """

    def row_names(self, *rows: int) -> list[str]:
        """Return how messages call rows, given by their places from 0.

        Rows of a CSV file go by the numbers that a spreadsheet shows, the header being row 1, with
        the line of the file where that is another; rows of other files count from 1.
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
    """The source in a file of one of `SUFFIXES`.

    Args:
        path: the file.
        names: of the columns of a CSV file that has no header.
        missing: texts of a CSV file that stand for a gap, in lower case; None for all of
            `DEFAULT_GAP_TEXTS`.
        delimiter: Character between two cells of a CSV file [default: a comma].
        encoding: Encoding of a CSV file [default: UTF-8].
        decimal: Decimal sign of numbers in a CSV file, as `CsvText` takes it.

    Raises:
        DataError: it is none of these, its header cannot be used, or it is damaged.
    """
    ending = path.name.lower()
    if ending.endswith(CSV):
        gaps = DEFAULT_GAP_TEXTS if missing is None else missing
        return CsvText(path, names, gaps, delimiter=delimiter, encoding=encoding, decimal=decimal)
    if not ending.endswith(SUFFIXES):
        raise DataError(f"expected a file ending in {', '.join(SUFFIXES)}; got {path.name}")
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
    for option, said in (("delimiter", delimiter), ("encoding", encoding)):
        if said is not None:
            raise DataError(
                f"{path.name}: expected no {option}, which only a CSV file has; got {said!r}; "
                f"leave it out"
            )
    return ParquetFile(path) if ending.endswith(".parquet") else ArrowFile(path)
