"""Read a CSV file as batches of rows, in bounded memory, each cell as it is written.

The encoding and the header are checked first; `csv_header` tells a header from data. Messages name
rows by the numbers that a spreadsheet and an editor show.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv

from serving.bundle import DEFAULT_GAP_TEXTS, pluralize, to_nfc
from trainer.data.files.cell_texts import remove_zero_fractions
from trainer.data.files.csv_header import (
    DELIMITER_NAMES,
    SEPARATOR_LINE,
    is_split_by_another_sign,
    require_header,
    suggest_delimiter,
)
from trainer.data.tables import DataError, match_column_names

# Bytes of text that are parsed at a time. A row must fit into them. Files of many columns get more,
# since every column of a block has a fixed cost.
BLOCK_BYTES = 2**20
BLOCK_BYTES_PER_COLUMN = 2**15
DECODED_BYTES = 2**20  # bytes that are decoded at a time to check an encoding
SAMPLE_BYTES = 2**16  # bytes at the beginning of a file that show its encoding and its delimiter
MAX_COUNTED_ROWS = 5_000_000  # rows that are counted again to find the line of a row
UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# pyarrow's message about a row with too many or too few cells.
RAGGED_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


class CsvFile:
    """A `.csv` or `.csv.gz` file; its columns are texts, its empty cells null. See `FileSource`.

    Args:
        path: Path of the file.
        names: Names of the columns, if the file has no header; a first line of exactly these names
            is a header nevertheless.
        gaps: Lower-case texts that stand for a gap.
        delimiter: Character between two cells [default: a comma]. A first line such as `sep=;`, as
            Excel writes it, overrides it.
        encoding: Encoding of the text [default: UTF-8].
        decimal: Decimal sign of numbers; with a comma, whole numbers such as `1,0` become `1`.

    Raises:
        DataError: If the file cannot be read, or its encoding, delimiter or header seem wrong.
    """

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
        self.name = path.name
        self.gaps = tuple(gaps)
        self.index: tuple[str, ...] = ()
        self._path, self._decimal = path, decimal
        self._encoding = encoding or "utf-8"
        self._given_names: list[str] = []
        self._block_bytes = BLOCK_BYTES
        self._sample, self._delimiter, self._n_skipped = "", delimiter or ",", 0
        with self._explain_errors():
            if encoding is None:
                _refuse_utf16(self.name, path)
            else:
                _refuse_utf8(self.name, path, encoding)
            self._sample = _read_sample(path, self._encoding)
        separator = SEPARATOR_LINE.match(self._sample)
        if separator is not None:
            self._sample = self._sample[separator.end() :]
            self._delimiter, self._n_skipped = separator[1], 1
        with self._explain_errors(), self._open_reader({}) as reader:
            self._raw_names = reader.schema.names
        if names and [to_nfc(name.strip()) for name in self._raw_names] != list(names):
            self._given_names = list(names)
            with self._explain_errors(), self._open_reader({}) as reader:
                self._raw_names = reader.schema.names
        self.columns = match_column_names(self.name, [name.strip() for name in self._raw_names])
        self._block_bytes = max(BLOCK_BYTES, BLOCK_BYTES_PER_COLUMN * len(self.columns))
        if not names:
            self._check_header(is_delimiter_sure=delimiter is not None or separator is not None)

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order; see `FileSource`."""
        texts = dict.fromkeys(self._raw_names, pa.string())
        with self._explain_errors(), self._open_reader(texts) as reader:
            for batch in reader:
                renamed_batch = batch.rename_columns(list(self.columns))
                yield remove_zero_fractions(renamed_batch, self._decimal)

    def name_rows(self, *rows: int) -> list[str]:
        """Return "row 5", or "row 5 (line 8 of the file)" where the numbers differ.

        Row 1 is the first row of the file, so with a header the first row of data is row 2. Blank
        lines count, as in a spreadsheet. The file is read once more, up to the last of the rows.
        Beyond `MAX_COUNTED_ROWS` rows, blank lines and line breaks inside cells are not counted.

        Args:
            rows: Indices of rows of data, from 0.
        """
        first = 0 if self._given_names else 1
        indices = {row + first for row in rows}  # among the rows of the file that are not blank
        found: dict[int, str] = {}
        if indices and max(indices) < MAX_COUNTED_ROWS:
            found = self._find_rows(indices)
        return [found.get(row + first, f"row {row + first + 1}") for row in rows]

    def _find_rows(self, indices: set[int]) -> dict[int, str]:
        """Return the names of rows by their indices among the rows that are not blank."""
        found: dict[int, str] = {}
        index, last = 0, max(indices)
        with _open_text(self._path, self._encoding) as file:
            for _ in range(self._n_skipped):
                file.readline()
            reader, line = csv.reader(file, delimiter=self._delimiter), 1
            try:
                for number, cells in enumerate(reader, 1):
                    if cells:
                        if index in indices:
                            file_line = line + self._n_skipped
                            is_same = file_line == number
                            suffix = "" if is_same else f" (line {file_line} of the file)"
                            found[index] = f"row {number}{suffix}"
                        index += 1
                    if index > last:
                        break
                    line = reader.line_num + 1
            except csv.Error:  # the module limits the length of a cell
                pass
        return found

    @contextmanager
    def _open_reader(self, types: dict[str, pa.DataType]) -> Iterator[pa.csv.CSVStreamingReader]:
        """Open the file at its first row; columns without a type get an inferred one."""
        with (
            _open_bytes(self._path) as stream,
            pa.csv.open_csv(
                stream,
                # With one thread, errors have row numbers, and few blocks are in memory.
                pa.csv.ReadOptions(
                    use_threads=False,
                    block_size=self._block_bytes,
                    column_names=self._given_names or None,
                    skip_rows=self._n_skipped,
                    encoding=self._encoding,
                ),
                pa.csv.ParseOptions(newlines_in_values=True, delimiter=self._delimiter),
                pa.csv.ConvertOptions(
                    column_types=types, null_values=[""], strings_can_be_null=True
                ),
            ) as reader,
        ):
            yield reader

    def _check_header(self, *, is_delimiter_sure: bool) -> None:
        """Refuse a first line that is not a header, or seems to be split by another sign."""
        advice = suggest_delimiter(self._sample, self._delimiter)
        if advice and len(self.columns) == 1:
            raise DataError(
                f"{self.name}: expected columns beside the target, separated by "
                f"{self._get_delimiter_name()}s; got only {self.columns[0]!r}{advice}"
            )
        if (
            advice
            and not is_delimiter_sure
            and is_split_by_another_sign(self._sample, self.columns)
        ):
            raise DataError(
                f"{self.name}: expected columns separated by commas; got names such as "
                f"{self.columns[0]!r}{advice}, or --delimiter , if it is not"
            )
        texts = dict.fromkeys(self._raw_names, pa.string())
        with self._explain_errors(), self._open_reader(texts) as reader:
            require_header(self.name, self.columns, next(iter(reader), None))

    def _get_delimiter_name(self) -> str:
        return DELIMITER_NAMES.get(self._delimiter, f"{self._delimiter!r}")

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Raise DataError for errors of reading, decoding and parsing."""
        try:
            try:
                yield
            except (pa.ArrowInvalid, UnicodeError) as error:
                _refuse_undecodable(self.name, self._path, self._encoding)
                raise DataError(
                    f"{self.name}: expected a {self._get_delimiter_name()}-separated file with a "
                    f"header and as many columns in every row; {self._describe_error(str(error))}"
                    f"{suggest_delimiter(self._sample, self._delimiter)}"
                ) from error
        except OSError as error:
            raise DataError(f"{self.name}: expected a readable file; {error}") from error

    def _describe_error(self, message: str) -> str:
        """Return what pyarrow's message says is wrong, with the row as a spreadsheet numbers it."""
        if match := RAGGED_ROW.search(message):
            number, n_expected, n_cells = map(int, match.groups())
            row = number - 1 - self._n_skipped - (0 if self._given_names else 1)
            (row_name,) = self.name_rows(row)
            return (
                f"got {pluralize(n_cells, 'column')} instead of {n_expected} in {row_name}; "
                f"correct that row: a cell that contains a {self._get_delimiter_name()} needs "
                f"quotation marks"
            )
        if "straddl" in message:
            limit = self._block_bytes
            return f"got a row of more than {limit} bytes: is a quotation mark left open?"
        return f"got none: {message}"


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open_bytes(path: Path) -> pa.NativeFile:
    """Return a stream of the bytes of a file, decompressed if its name ends in `.gz`."""
    return pa.input_stream(str(path), compression="gzip" if _is_packed(path) else None)


@contextmanager
def _open_text(path: Path, encoding: str) -> Iterator[IO[str]]:
    """Open a file as text with all its line ends; bytes that cannot be decoded are replaced."""
    if _is_packed(path):
        with gzip.open(path, "rt", encoding=encoding, errors="replace", newline="") as file:
            yield file
    else:
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            yield file


def _read_sample(path: Path, encoding: str) -> str:
    """Return the beginning of a file as text; bytes that cannot be decoded are replaced."""
    with _open_bytes(path) as stream:
        start = stream.read(SAMPLE_BYTES)
    return codecs.getincrementaldecoder(encoding)("replace").decode(start)


def _refuse_utf16(name: str, path: Path) -> None:
    """Raise DataError if a file begins with UTF-16's mark, or every other byte of it is a NUL."""
    with _open_bytes(path) as stream:
        start = stream.read(SAMPLE_BYTES)
    encoding = UTF16_MARKS.get(start[:2])
    if encoding is None and len(start) > 3:
        for candidate, high, low in (
            ("utf-16-le", start[1::2], start[::2]),
            ("utf-16-be", start[::2], start[1::2]),
        ):
            if high.count(0) > len(high) / 2 and low.count(0) < len(low) / 4:
                encoding = candidate
    if encoding:
        raise DataError(
            f"{name}: expected text in UTF-8; got what looks like UTF-16; use --encoding "
            f"{encoding}, or save the file as UTF-8"
        )


def _refuse_utf8(name: str, path: Path, encoding: str) -> None:
    """Raise DataError if a file in a stated encoding is UTF-8 throughout, and not only ASCII.

    An encoding of one byte per character decodes any bytes, so wrong characters would cause no
    error. Text in such an encoding is valid UTF-8 only by an unlikely coincidence.
    """
    if codecs.lookup(encoding).name.startswith("utf"):
        return
    decoder, is_ascii = codecs.getincrementaldecoder("utf-8")(), True
    try:
        with _open_bytes(path) as stream:
            while block := stream.read(DECODED_BYTES):
                is_ascii &= block.isascii()
                decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return
    if not is_ascii:
        raise DataError(
            f"{name}: expected text in {encoding}; got a file that is UTF-8 throughout; use "
            f"--encoding utf-8"
        )


def _refuse_undecodable(name: str, path: Path, encoding: str) -> None:
    """Raise DataError, with the line, if a byte of a file cannot be decoded."""
    decoder, line = codecs.getincrementaldecoder(encoding)(), 1
    with _open_bytes(path) as stream:
        while True:
            block = stream.read(DECODED_BYTES)
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, "replace")
                raise DataError(
                    f"{name}: expected text in {encoding.upper()}; got an invalid byte in line "
                    f"{line + before.count(chr(10))}; {_suggest_encoding(error, encoding)}"
                ) from None
            except UnicodeError as error:  # it lacks the mark of its encoding
                raise DataError(
                    f"{name}: expected text in {encoding.upper()}; {error}; choose another "
                    f"with --encoding, such as utf-8"
                ) from None
            if not block:
                return


def _suggest_encoding(error: UnicodeDecodeError, encoding: str) -> str:
    """Return advice on the encoding, with the word around the invalid byte as cp1252 decodes it."""
    if codecs.lookup(encoding).name != "utf-8":
        return "choose another with --encoding, such as utf-8, cp1252 or utf-16"
    # The bytes 0x80 to 0x9f are control characters in Latin-1, letters and signs in cp1252.
    start = max(0, error.start - 20)
    before = error.object[start : error.start].decode("cp1252", "replace")
    after = error.object[error.start : error.start + 20].decode("cp1252", "replace")
    word = re.split(r"[\s,;|\"]", before)[-1] + re.split(r"[\s,;|\"]", after)[0]
    return (
        f"if it reads {word!r}, use --encoding cp1252 (Windows, Western European; latin-1 "
        f"is much the same), or save the file as UTF-8"
    )
