"""Check the first lines of a CSV file: its delimiter, and whether it has a header.

The first line has to name the columns. It may be a row of data already, in a file without a header.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trainer.data.column_names import format_column_option
from trainer.data.files.cell_parsing import parse_numbers
from trainer.data.files.cell_texts import to_texts
from trainer.data.tables import DataError, join_names

# The line in which Excel writes the delimiter of the file.
SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=([^\r\n"])"?(?:\r\n?|\n|$)')
DELIMITER_NAMES = {";": "semicolon", "\t": "tab", "|": "bar", ",": "comma"}
DECIMAL_COMMA = re.compile(r"\s*\"?[+-]?\d+,\d+\"?\s*")
LINE_END = re.compile(r"\r\n?|\n")
MAX_COMPARED_LINES = 50
MIN_COMPARED_LINES = 3  # fewer lines can have the same number of a sign by chance
MAX_COMPARED_ROWS = 1000
MIN_RECURRING_ROWS = 10  # rows in which a column can show that its texts recur
YEARS = range(1900, 2101)


def suggest_delimiter(text: str, delimiter: str) -> str:
    """Return advice if another sign seems to delimit the header; else "".

    Args:
        text: Beginning of the file.
        delimiter: Character by which the file is split.
    """
    lines = _select_filled_lines(text)
    for sign, name in DELIMITER_NAMES.items():
        if lines and sign != delimiter and sign in lines[0]:
            cells = [cell for line in lines[1:] for cell in line.split(sign)]
            has_commas = sign != "," and any(DECIMAL_COMMA.fullmatch(cell) for cell in cells)
            return (
                f"; it seems to be separated by {name}s: use --delimiter "
                f"{'tab' if sign == chr(9) else shlex.quote(sign)}"
                f"{' --decimal ,' if has_commas else ''}"
            )
    return ""


def is_split_by_another_sign(text: str, header: Sequence[str]) -> bool:
    """Return whether a column name has a sign that every one of the first lines has as often.

    Args:
        text: Beginning of the file.
        header: Column names as the comma separates them.
    """
    lines = _select_filled_lines(text)[:-1]  # the last one may be cut off
    if len(lines) < MIN_COMPARED_LINES:
        return False
    for sign in (";", "\t", "|"):
        counts = {len(re.sub(r'"[^"]*"', "", line).split(sign)) for line in lines}
        if len(counts) == 1 and counts != {1} and any(sign in name for name in header):
            return True
    return False


def _select_filled_lines(text: str) -> list[str]:
    """Return the first lines that are not blank."""
    return [line for line in LINE_END.split(text)[:MAX_COMPARED_LINES] if line.strip()]


def require_header(source: str, names: Sequence[str], sample: pa.RecordBatch | None) -> None:
    """Refuse a first line that seems to be data, or cannot be told from data.

    It is compared with the rows below, column by column. A text above numbers, or above few texts
    that recur without it, is a name. A text that also occurs below is data, and so are numbers,
    unless they count columns or years.

    Args:
        source: Name of the file, for messages.
        names: Cells of the first line.
        sample: Rows below it, all texts; None if there are none.

    Raises:
        DataError: If the first line is not a header, or may not be one.
    """
    numbers = [name for name in names if _parse_float(name) is not None]
    if _is_header(numbers, _compare_with_rows(names, sample)):
        return
    got = (
        f"the numbers {join_names(numbers)}"
        if numbers
        else f"{join_names(names)}, values that these columns have in other rows"
    )
    raise DataError(
        f"{source}: expected column names in the first line; got {got}, as in a row of data; "
        f"if it is one, add a header, or give the names with --names; if these are the names, "
        f"use {format_column_option('names', names)}"
    )


@dataclass(frozen=True)
class _Comparison:
    """The differences between the first line and the rows below it.

    Attributes:
        n_unlike: Number of texts that do not look like a value of their column.
        n_alike: Number of texts that occur in their column.
        are_outside: Whether every number is outside the range of its column.
        are_repeated: Whether the line consists of one or two numbers that occur in their columns.
    """

    n_unlike: int = 0
    n_alike: int = 0
    are_outside: bool = False
    are_repeated: bool = False


def _is_header(numbers: Sequence[str], comparison: _Comparison) -> bool:
    """Return whether the first line names the columns.

    Args:
        numbers: The cells of the line that are numbers.
        comparison: Comparison of the line with the rows below it.
    """
    alike, unlike = comparison.n_alike, comparison.n_unlike
    if not numbers:
        return alike < 2 or unlike > 0
    if not all(name.isdecimal() for name in numbers):
        return False
    if _are_column_numbers(numbers):
        return not comparison.are_repeated and (not alike or unlike > 0)
    if _are_evenly_spaced(numbers) or all(int(name) in YEARS for name in numbers):
        return not alike and (unlike > 0 or comparison.are_outside)
    return False


def _compare_with_rows(names: Sequence[str], sample: pa.RecordBatch | None) -> _Comparison:
    """Compare the first line with the rows below it; see `require_header` for the arguments."""
    if sample is None or not sample.num_rows:
        return _Comparison(are_outside=True)
    n_unlike = n_alike = 0
    is_inside, is_repeated = [], []  # for each number of the line
    is_gap = to_texts(pa.array(names)).is_null().to_pylist()
    for name, is_name_gap, column in zip(names, is_gap, sample.columns, strict=True):
        cells = column.slice(0, MAX_COMPARED_ROWS)
        values = parse_numbers(cells)  # most columns are numbers, whose texts are not needed
        texts: list[str] = []
        if values is None:
            texts = to_texts(cells).drop_null().to_pylist()
        else:
            values = values[~np.isnan(values)]
        if is_name_gap or not len(texts if values is None else values):
            continue  # there is nothing to compare
        number = _parse_float(name)
        if number is not None:
            is_repeated.append(values is not None and bool((values == number).any()))
            is_inside.append(values is not None and values.min() <= number <= values.max())
        elif values is not None:
            n_unlike += 1
        elif name in texts:
            n_alike += 1
        elif len(texts) >= MIN_RECURRING_ROWS and 2 * len(set(texts)) <= len(texts):
            n_unlike += 1
    return _Comparison(
        n_unlike,
        n_alike,
        bool(is_inside) and not any(is_inside),
        len(names) == len(is_repeated) <= 2 and all(is_repeated),
    )


def _are_column_numbers(numbers: Sequence[str]) -> bool:
    """Return whether numbers count from 0 or 1, as programs number columns without names."""
    integers = [int(number) for number in numbers]
    first = integers[0]
    return first in (0, 1) and integers == list(range(first, first + len(integers)))


def _are_evenly_spaced(numbers: Sequence[str]) -> bool:
    """Return whether numbers rise by equal steps, as names of columns do and values rarely."""
    steps = np.diff([int(number) for number in numbers])
    return bool(len(steps) == 0 or (steps[0] > 0 and (steps == steps[0]).all()))


def _parse_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
