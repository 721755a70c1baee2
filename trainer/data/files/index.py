"""Index: columns that only number the rows, as pandas writes them beside the data."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from trainer.data.files import cell_parsing
from trainer.data.files.file_sources import FileSource
from trainer.data.read_options import ReadOptions

RESERVED = re.compile(r"__index_level_\d+__")  # pandas' names for an index without one
# What `to_csv` writes above an index without a name, and `read_csv` then calls it.
UNNAMED = re.compile(r"|Unnamed: \d+(\.\d+)*")


def find_index(source: FileSource, reading: ReadOptions) -> tuple[str, ...]:
    """Return the columns to leave out because they are an index.

    These are the index columns that a Parquet or Arrow file says pandas wrote, and columns without
    a name (or called `Unnamed: 0`) that count the rows from 0 or 1. A column that the reading names
    as target, group or time, or by its kind, is none.

    Args:
        source: The file; columns without a name are read from it once more.
        reading: Options for reading the file.
    """
    said = {reading.target, reading.group, reading.time, *reading.drop, *reading.kinds()}
    declared = [name for name in declared_index(source) if name not in said]
    asked = [name for name in source.columns if UNNAMED.fullmatch(name) and name not in said]
    counting = {*_counting(source, asked), *declared}
    return tuple(name for name in source.columns if name in counting)


def declared_index(source: FileSource) -> list[str]:
    """Return the columns that are an index by what the file or their names say."""
    return [n for n in source.columns if n in source.index or RESERVED.fullmatch(n)]


def _counting(source: FileSource, names: Sequence[str]) -> set[str]:
    """Return those columns whose values rise by 1 from row to row, from 0 or 1 on."""
    first: dict[str, float] = {}
    left, row = set(names), 0
    if not left:
        return left
    for batch in source.batches():
        for name in list(left):
            values = cell_parsing.numbers(batch[name])
            if values is None or not len(values):
                left -= {name} if len(batch) else set()
                continue
            start = first.setdefault(name, values[0])
            if start not in (0, 1) or (values != start + row + np.arange(len(values))).any():
                left.discard(name)
        row += batch.num_rows
        if not left:
            break
    return left & first.keys()
