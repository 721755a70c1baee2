"""CSV: comma-separated text in UTF-8, streamed, each cell as it is written."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from serving.bundle import GAPS, counted
from trainer.data.tables import DataError, columns_named, listed

BLOCK = 2**20  # bytes of text in memory at a time; a row must fit in
COLUMN = 2**15  # and more where columns are many: each is looked at block by block
RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")  # as the parser says it


class CsvText:
    """A `.csv` or `.csv.gz` file: batches of text columns, whose empty cells are null."""

    def __init__(self, path: Path, names: Sequence[str] = (), gaps: Sequence[str] = GAPS) -> None:
        """Read the header.

        Args:
            path: the file.
            names: of its columns, if the file has no header.
            gaps: texts that stand for a gap, in lower case.
        """
        self.gaps = tuple(gaps)
        self.name = path.name
        self._path = path
        self._names = list(names)
        self._block = BLOCK
        with self._faults_named(), self._stream({}) as reader:
            self._raw = reader.schema.names
        self.columns = columns_named(self.name, [name.strip() for name in self._raw])
        self._block = max(BLOCK, COLUMN * len(self.columns))
        if not names:
            _refuse_numbers(self.name, self.columns)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order; see `Source`."""
        text = dict.fromkeys(self._raw, pa.string())
        with self._faults_named(), self._stream(text) as reader:
            for batch in reader:
                yield batch.rename_columns(list(self.columns))

    @contextmanager
    def _stream(self, types: dict[str, pa.DataType]) -> Iterator[pa.csv.CSVStreamingReader]:
        with (
            _opened(self._path) as stream,
            pa.csv.open_csv(
                stream,
                # One thread: rows can be numbered, and blocks are not read far ahead.
                pa.csv.ReadOptions(
                    use_threads=False, block_size=self._block, column_names=self._names or None
                ),
                pa.csv.ParseOptions(newlines_in_values=True),
                pa.csv.ConvertOptions(
                    column_types=types, null_values=[""], strings_can_be_null=True
                ),
            ) as reader,
        ):
            yield reader

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            try:
                yield
            except (pa.ArrowInvalid, UnicodeDecodeError) as error:
                self._refuse_other_encodings()
                raise DataError(
                    f"{self.name}: expected a comma-separated file with a header and as many "
                    f"columns in every row; {self._fault(str(error))}{self._hint()}"
                ) from error
        except OSError as error:
            raise DataError(f"{self.name}: expected a readable file; {error}") from error

    def _fault(self, said: str) -> str:
        if ragged := RAGGED.search(said):
            row, expected, came = map(int, ragged.groups())
            row -= 0 if self._names else 1  # the header is the first
            return f"got {counted(came, 'column')} instead of {expected} in row {row}"
        if "straddl" in said:
            return f"got a row of more than {self._block} bytes: is a quotation mark left open?"
        return f"got none: {said}"

    def _refuse_other_encodings(self) -> None:
        decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
        with _opened(self._path) as stream:
            while True:
                block = stream.read(BLOCK)
                try:
                    line += decoder.decode(block, final=not block).count("\n")
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    raise DataError(
                        f"{self.name}: expected text in UTF-8; got a byte that is not in line "
                        f"{line}; save the file as UTF-8"
                    ) from None
                if not block:
                    return

    def _hint(self) -> str:
        with _opened(self._path) as stream:
            line = stream.read(2**16).split(b"\n", 1)[0]
        return _hint(line.decode("utf-8", errors="replace"))


def _opened(path: Path) -> pa.NativeFile:
    packed = path.suffix.lower() == ".gz"
    return pa.input_stream(str(path), compression="gzip" if packed else None)


def _hint(header: str) -> str:
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if sign in header:
            return f"; it seems to be separated by {name}: save it with commas"
    return ""


def _refuse_numbers(source: str, names: Sequence[str]) -> None:
    if len(names) == 1 and (hint := _hint(names[0])):
        raise DataError(
            f"{source}: expected columns beside the target, separated by commas; got only "
            f"{names[0]!r}{hint}"
        )
    numbers = [name for name in names if _is_number(name)]
    counted = all(name.isdecimal() for name in numbers) and (
        [int(name) for name in numbers] == list(range(int(numbers[0]), int(numbers[-1]) + 1))
        if numbers
        else True
    )
    if not counted:  # 0, 1, 2 … are names that people give
        raise DataError(
            f"{source}: expected column names in the first line; got the numbers "
            f"{listed(numbers)}; add a header, or say the names with --names"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
