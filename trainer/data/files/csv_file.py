"""CSV: delimited text, streamed, each cell as it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from serving.bundle import DEFAULT_GAP_TEXTS, pluralize, to_nfc
from trainer.data.files.csv_dialect import (
    SEPARATOR_LINE,
    SIGNS,
    first_lines,
    is_split_by_another,
    opened,
    other_delimiter,
    refuse_undecodable,
    refuse_utf8,
    refuse_utf16,
)
from trainer.data.files.csv_header import refuse_data_as_header
from trainer.data.files.csv_rows import name_rows
from trainer.data.files.cell_texts import remove_zero_fractions
from trainer.data.tables import DataError, match_column_names

BLOCK = 2**20  # bytes of text in memory at a time; a row must fit in
COLUMN = 2**15  # and more where columns are many: each is looked at block by block
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")  # as the parser says it


class CsvText:
    """A `.csv` or `.csv.gz` file: batches of text columns, whose empty cells are null."""

    def __init__(
        self,
        path: Path,
        names: Sequence[str] = (),
        gaps: Sequence[str] = DEFAULT_GAP_TEXTS,
        *,
        delimiter: str | None = None,
        encoding: str | None = None,
        decimal: str | None = None,
    ) -> None:
        """Read the header.

        Args:
            path: The file.
            names: Names of its columns, if it has no header; a first line of just these names is
                a header all the same.
            gaps: Texts that stand for a gap, in lower case.
            delimiter: Character between two cells [default: a comma]; what a first line `sep=;`
                says, as Excel writes it, counts for more.
            encoding: Encoding of the text [default: UTF-8].
            decimal: Decimal sign; with a comma whole numbers come without a fraction: `1,0` as `1`.
        """
        self._decimal = decimal
        self.gaps = tuple(gaps)
        self.name = path.name
        self.index: tuple[str, ...] = ()
        self._path = path
        self._encoding = encoding or "utf-8"
        self._names: list[str] = []
        self._block = BLOCK
        self._start, self._delimiter, self._skipped = "", delimiter or ",", 0
        with self._faults_named():
            if encoding is None:
                refuse_utf16(self.name, path)
            else:
                refuse_utf8(self.name, path, encoding)
            self._start = first_lines(path, self._encoding)
        separator = SEPARATOR_LINE.match(self._start)
        if separator is not None:
            self._start = self._start[separator.end() :]
            self._delimiter, self._skipped = separator[1], 1
        with self._faults_named(), self._stream({}) as reader:
            self._raw = reader.schema.names
        if names and [to_nfc(name.strip()) for name in self._raw] != list(names):
            self._names = list(names)
            with self._faults_named(), self._stream({}) as reader:
                self._raw = reader.schema.names
        self.columns = match_column_names(self.name, [name.strip() for name in self._raw])
        self._block = max(BLOCK, COLUMN * len(self.columns))
        if not names:
            self._require_header(is_sure=delimiter is not None or separator is not None)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order; see `Source`."""
        text = dict.fromkeys(self._raw, pa.string())
        with self._faults_named(), self._stream(text) as reader:
            for batch in reader:
                named = batch.rename_columns(list(self.columns))
                yield remove_zero_fractions(named, self._decimal)

    def row_names(self, *rows: int) -> list[str]:
        """What rows are called; see `Source`."""
        return name_rows(
            self._path,
            rows,
            delimiter=self._delimiter,
            encoding=self._encoding,
            header=not self._names,
            skipped=self._skipped,
        )

    @contextmanager
    def _stream(self, types: dict[str, pa.DataType]) -> Iterator[pa.csv.CSVStreamingReader]:
        with (
            opened(self._path) as stream,
            pa.csv.open_csv(
                stream,
                # One thread: rows can be numbered, and blocks are not read far ahead.
                pa.csv.ReadOptions(
                    use_threads=False,
                    block_size=self._block,
                    column_names=self._names or None,
                    skip_rows=self._skipped,
                    encoding=self._encoding,
                ),
                pa.csv.ParseOptions(newlines_in_values=True, delimiter=self._delimiter),
                pa.csv.ConvertOptions(
                    column_types=types, null_values=[""], strings_can_be_null=True
                ),
            ) as reader,
        ):
            yield reader

    def _require_header(self, *, is_sure: bool) -> None:
        """Refuse a first line that is none, and one that seems to be split by another sign."""
        hint = other_delimiter(self._start, self._delimiter)
        if hint and len(self.columns) == 1:
            raise DataError(
                f"{self.name}: expected columns beside the target, separated by {self._called()}s; "
                f"got only {self.columns[0]!r}{hint}"
            )
        if hint and not is_sure and is_split_by_another(self._start, list(self.columns)):
            raise DataError(
                f"{self.name}: expected columns separated by commas; got names such as "
                f"{self.columns[0]!r}{hint}, or --delimiter , if it is not"
            )
        text = dict.fromkeys(self._raw, pa.string())
        with self._faults_named(), self._stream(text) as reader:
            refuse_data_as_header(self.name, self.columns, next(iter(reader), None))

    def _called(self) -> str:
        return SIGNS.get(self._delimiter, f"{self._delimiter!r}")

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            try:
                yield
            except (pa.ArrowInvalid, UnicodeError) as error:
                refuse_undecodable(self.name, self._path, self._encoding)
                raise DataError(
                    f"{self.name}: expected a {self._called()}-separated file with a header and as "
                    f"many columns in every row; {self._fault(str(error))}"
                    f"{other_delimiter(self._start, self._delimiter)}"
                ) from error
        except OSError as error:
            raise DataError(f"{self.name}: expected a readable file; {error}") from error

    def _fault(self, said: str) -> str:
        if ragged := RAGGED.search(said):
            row, expected, came = map(int, ragged.groups())
            place = row - 1 - self._skipped - (0 if self._names else 1)
            (called,) = self.row_names(place)
            return f"got {pluralize(came, 'column')} instead of {expected} in {called}"
        if "straddl" in said:
            return f"got a row of more than {self._block} bytes: is a quotation mark left open?"
        return f"got none: {said}"
