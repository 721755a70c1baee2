"""Header: whether a CSV file's first line names its columns, or is a row of data already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trainer.data.column_names import column_option
from trainer.data.files import cell_parsing
from trainer.data.tables import DataError, join_names

ROWS = 1000  # of the sample a first line is compared with
YEARS = range(1900, 2101)
ENOUGH = 10  # rows in which a column shows that its values recur


def refuse_data_as_header(source: str, names: Sequence[str], sample: pa.RecordBatch | None) -> None:
    """Refuse a first line that seems to be data, or that cannot be told from data.

    A line is compared with the rows under it, column by column: a text over numbers, or over few
    texts that recur without it, is a name; a text that is a value of its own column is data, and
    so are numbers that nobody counts columns or years by.

    Args:
        source: Name of the file, for the message.
        names: Cells of the first line.
        sample: Rows under it, all texts; None if there are none.

    Raises:
        DataError: If it is no header, or may be none; the message says how to have it either way.
    """
    numbers = [name for name in names if _number(name) is not None]
    compared = _compare(names, sample)
    if not numbers:
        is_header = compared.like < 2 or compared.unlike > 0
    elif not all(name.isdecimal() for name in numbers):
        is_header = False
    elif _counted(numbers):
        is_header = not compared.repeats and (not compared.like or compared.unlike > 0)
    elif _rise(numbers) or all(int(name) in YEARS for name in numbers):
        is_header = not compared.like and (compared.unlike > 0 or compared.outside)
    else:
        is_header = False
    if not is_header:
        came = (
            f"the numbers {join_names(numbers)}"
            if numbers
            else f"{join_names(names)}, values of theirs"
        )
        raise DataError(
            f"{source}: expected column names in the first line; got {came}, as in a row of data; "
            f"if it is one, add a header, or say the names with --names; if these are the names, "
            f"say {column_option('names', names)}"
        )


@dataclass(frozen=True)
class _Compared:
    """How a first line compares with the rows under it.

    Attributes:
        unlike: Texts that are no values of their columns.
        like: Texts that are.
        outside: Whether every number is beyond what its column has.
        repeats: Whether a line of nothing but one or two numbers has values of its columns.
    """

    unlike: int = 0
    like: int = 0
    outside: bool = False
    repeats: bool = False


def _compare(names: Sequence[str], sample: pa.RecordBatch | None) -> _Compared:
    if sample is None or not sample.num_rows:
        return _Compared(outside=True)
    unlike = like = 0
    inside, repeated = [], []
    for name, column in zip(names, sample.columns, strict=True):
        texts = cell_parsing.texts(column.slice(0, ROWS)).drop_null()
        if not len(texts) or not len(cell_parsing.texts(pa.array([name])).drop_null()):
            continue  # nothing to compare with, or a word for a gap
        values, number = cell_parsing.numbers(texts), _number(name)
        if number is not None:
            repeated.append(values is not None and bool((values == number).any()))
            inside.append(values is not None and values.min() <= number <= values.max())
        elif values is not None:
            unlike += 1
        else:
            different = set(texts.to_pylist())
            if name in different:
                like += 1
            elif len(texts) >= ENOUGH and 2 * len(different) <= len(texts):
                unlike += 1
    few = len(names) == len(repeated) <= 2
    return _Compared(unlike, like, bool(inside) and not any(inside), few and all(repeated))


def _counted(numbers: Sequence[str]) -> bool:
    """Whether they count from 0 or 1, as tables without names number their columns, or alone."""
    found = [int(number) for number in numbers]
    return found[0] in (0, 1) and found == list(range(found[0], found[0] + len(found)))


def _rise(numbers: Sequence[str]) -> bool:
    """Whether they rise by equal steps, as labels of columns do and values hardly ever."""
    steps = np.diff([int(number) for number in numbers])
    return bool(len(steps) == 0 or (steps[0] > 0 and (steps == steps[0]).all()))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
