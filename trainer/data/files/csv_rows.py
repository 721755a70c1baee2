"""Rows of a CSV file by the numbers that a spreadsheet and an editor show."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FARTHEST = 5_000_000  # rows of a file that are counted again to find a line


def name_rows(
    path: Path,
    rows: Sequence[int],
    *,
    delimiter: str,
    encoding: str,
    header: bool,
    skipped: int,
) -> list[str]:
    """Return how rows are called: "row 5", or "row 5 (line 8 of the file)" where lines differ.

    Row 1 is the first of the file, so that with a header the first row of data is row 2. Blank
    lines count, as they do in a spreadsheet. The file is read once more, up to the last of the
    rows; beyond `FARTHEST` rows, blank lines and line breaks inside cells are not counted.

    Args:
        path: The file.
        rows: Places of rows of data, from 0.
        delimiter: Character between two cells.
        encoding: Encoding of the file.
        header: Whether the first row holds the names.
        skipped: Lines before the header that hold neither names nor data.
    """
    first = 1 if header else 0
    wanted = {row + first for row in rows}
    found: dict[int, str] = {}
    if wanted and max(wanted) < FARTHEST:
        found = _search(path, wanted, delimiter, encoding, skipped)
    return [found.get(row + first, f"row {row + first + 1}") for row in rows]


def _search(
    path: Path, wanted: set[int], delimiter: str, encoding: str, skipped: int
) -> dict[int, str]:
    found: dict[int, str] = {}
    place, last = 0, max(wanted)  # among the rows that are not blank
    with _text(path, encoding) as file:
        for _ in range(skipped):
            file.readline()
        reader, line = csv.reader(file, delimiter=delimiter), 1
        try:
            for number, cells in enumerate(reader, 1):
                if cells:
                    if place in wanted:
                        in_file = line + skipped
                        differs = f" (line {in_file} of the file)" if in_file != number else ""
                        found[place] = f"row {number}{differs}"
                    place += 1
                if place > last:
                    break
                line = reader.line_num + 1
        except csv.Error:  # a cell that the module finds too long
            pass
    return found


@contextmanager
def _text(path: Path, encoding: str) -> Iterator[IO[str]]:
    if path.suffix.lower() == ".gz":
        with gzip.open(path, "rt", encoding=encoding, errors="replace", newline="") as packed:
            yield packed
    else:
        with path.open(encoding=encoding, errors="replace", newline="") as plain:
            yield plain
