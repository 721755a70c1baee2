"""Records: rows of typed columns as they are read, before any preprocessing.

The columns of one kind are in one array, so that rows are taken with one gather for each kind. The
arrays may be in memory or mapped from files. Gaps, that is missing values, stay gaps.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, ISO8601, OUTPUT_NAMES

# A precise number is kept in float64, since float32 would merge it with others.
Kind = Literal["number", "precise", "boolean", "category", "date"]
MISSING = -1  # the code of a gap in a column of categories
SLICE_BYTES = 2**20  # bytes of rows read at once


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Name in the header.
        kind: Kind of its values.
        words: Texts of a category, distinct and not empty; a code is a position in them.
        texts: Truth value of each text of a boolean, in lower case, besides `true` and `false`.
        format: Date format of texts besides ISO 8601, as `Date.format` of the manifest.
    """

    name: str
    kind: Kind = "number"
    words: tuple[str, ...] = ()
    # How a value is written is no part of a table's fingerprint, which is made of the repr.
    texts: Mapping[str, bool] = field(default_factory=dict, repr=False, hash=False)
    format: str = field(default=ISO8601, repr=False)


def input_names(columns: Sequence[Column]) -> dict[str, str]:
    """Return the graph's input for each column, where each column is an input of its own.

    Returns:
        Name of the input by name of the column, all distinct. Both are the same, except where an
        output has that name: `label_input` for `label`.
    """
    used = {*OUTPUT_NAMES, *(column.name for column in columns)}
    inputs = {}
    for column in columns:
        name = column.name
        if name in OUTPUT_NAMES:
            name += "_input"
            while name in used:
                name += "_"
            used.add(name)
        inputs[column.name] = name
    return inputs


@dataclass(frozen=True)
class Records:
    """Rows of typed columns.

    Attributes:
        columns: Columns, in the order of a row.
        numbers: Values of the columns of numbers and booleans (0 and 1), in order, float32
            `(n, …)`; NaN is a gap.
        dates: Values of the columns of dates, in seconds since 1970-01-01 UTC, float64 `(n, …)`;
            NaN is a gap.
        codes: Values of the columns of categories, positions in their words, int32 `(n, …)`;
            `MISSING` is a gap.
        precise: Values of the float64 columns, in order, float64 `(n, …)`; NaN is a gap.
    """

    columns: tuple[Column, ...]
    numbers: NDArray[np.float32]
    dates: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    codes: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    precise: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    def __post_init__(self) -> None:
        """Give the kinds without columns arrays of as many rows as the others have."""
        n = max(map(len, self.arrays))
        for name, array in zip(("numbers", "dates", "codes", "precise"), self.arrays, strict=True):
            if array.size == 0 and len(array) != n:
                object.__setattr__(self, name, np.empty((n, 0), array.dtype))

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of_numbers(cls, names: Sequence[str], rows: NDArray[Any]) -> Records:
        """Return records whose columns are all numbers that float32 can hold.

        Args:
            names: Names of the columns.
            rows: Numbers, `(n, len(names))`.
        """
        return cls.of_matrix(names, rows, ())

    @classmethod
    def of_matrix(
        cls, names: Sequence[str], rows: NDArray[Any], precise: Collection[str]
    ) -> Records:
        """Return records whose columns are all numbers.

        Args:
            names: Names of the columns.
            rows: Numbers, `(n, len(names))`.
            precise: Names of the columns that are kept in float64.
        """
        precise = set(precise)
        columns = tuple(Column(name, "precise" if name in precise else "number") for name in names)
        is_precise = np.array([column.kind == "precise" for column in columns], bool)
        if not is_precise.any():
            return cls(columns, np.ascontiguousarray(rows, dtype=np.float32))
        return cls(
            columns,
            rows[:, ~is_precise].astype(np.float32, order="C"),
            precise=rows[:, is_precise].astype(np.float64, order="C"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in the order of a row."""
        return tuple(column.name for column in self.columns)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays of the kinds, in the order of the arguments of `Records`."""
        return self.numbers, self.dates, self.codes, self.precise

    @property
    def all_numbers(self) -> bool:
        """Whether a row is a vector: every column is a number or a boolean."""
        return len(self.of_kind("number", "boolean")) == len(self.columns)

    def of_kind(self, *kinds: Kind) -> tuple[Column, ...]:
        """Return the columns of some kinds, in the order of a row, which their array has too."""
        return tuple(column for column in self.columns if column.kind in kinds)

    def take(self, rows: NDArray[np.int64] | slice) -> Records:
        """Return some rows, in the given order; a slice of arrays in memory is a view."""
        return Records(self.columns, *(_gather(array, rows) for array in self.arrays))

    def column(self, name: str) -> NDArray[Any]:
        """Return one column's values, `(n,)`: float32, float64, or the codes of a category, int32.

        Raises:
            KeyError: If there is no column of that name.
        """
        array, place = self._places[name]
        values: NDArray[Any] = self.arrays[array][:, place]
        return values

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """The position of each column's array in `arrays`, and its position in that array."""
        array_of_kind = {"number": 0, "boolean": 0, "date": 1, "category": 2, "precise": 3}
        n_columns = [0] * len(self.arrays)
        places = {}
        for column in self.columns:
            array = array_of_kind[column.kind]
            places[column.name] = (array, n_columns[array])
            n_columns[array] += 1
        return places

    def inputs(self, names: Mapping[str, str] | None = None) -> dict[str, NDArray[Any]]:
        """Return the rows as the inputs of a graph.

        Args:
            names: Names of the graph's inputs by column [default: those of `input_names`].

        Returns:
            Where all columns are numbers: `features`, float32 `(n, n_columns)`. Otherwise each
            column under the name of its input, `(n, 1)`: numbers in float32, dates and precise
            numbers in float64, both with NaN for a gap, and the texts of a category as objects,
            with "" for a gap.
        """
        if self.all_numbers:
            return {FEATURES_INPUT: self.numbers}
        names = input_names(self.columns) if names is None else names
        inputs: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            values = self.column(column.name)
            if column.kind == "category":
                # The code of a gap is −1, and so stands for the last.
                values = np.array([*column.words, ""], dtype=object)[values]
            inputs[names[column.name]] = np.ascontiguousarray(values[:, None])
        return inputs


def _gather(array: NDArray[Any], rows: NDArray[np.int64] | slice) -> NDArray[Any]:
    if isinstance(rows, slice) or not isinstance(array, np.memmap):
        return array[rows]
    # In ascending order, so that each page of the file is read once.
    order = np.argsort(rows)
    out = np.empty((len(rows), *array.shape[1:]), array.dtype)
    out[order] = array[rows[order]]
    return out


def concatenate(parts: Sequence[Records]) -> Records:
    """Return the rows of all parts, one part after the other; their columns must be equal."""
    arrays = zip(*(part.arrays for part in parts), strict=True)
    return Records(parts[0].columns, *(np.concatenate(of_kind) for of_kind in arrays))


def iter_slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield the rows of an array, about `SLICE_BYTES` at a time.

    The pages of a mapped file are released after each slice, so that the file need not fit into
    memory.
    """
    base: object = array.base
    rows = max(1, SLICE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)
