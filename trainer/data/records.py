"""Records: rows as they came, of typed columns, before anything is done to them.

Columns of a kind lie side by side in one array, so that rows are taken with one gather a kind, and
arrays mapped from files serve as well as arrays in memory. A gap stays a gap here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES, OUTPUTS

Kind = Literal["number", "boolean", "category", "date"]
MISSING = -1  # the code of a category that is not there


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as in the header.
        kind: what its values are.
        words: of a category, the texts that its codes stand for, distinct, none empty.
    """

    name: str
    kind: Kind = "number"
    words: tuple[str, ...] = ()


def input_names(columns: Sequence[Column]) -> dict[str, str]:
    """Names of a graph's inputs where each column is one: the column's own, unless an output's.

    Returns:
        By the column's name that of its input, all distinct: `label_input` for `label`.
    """
    taken = {*OUTPUTS, *(column.name for column in columns)}
    found = {}
    for column in columns:
        name = column.name
        if name in OUTPUTS:
            name += "_input"
            while name in taken:
                name += "_"
            taken.add(name)
        found[column.name] = name
    return found


@dataclass(frozen=True)
class Records:
    """Rows of typed columns.

    Attributes:
        columns: in the order of a row.
        numbers: of the columns of numbers and booleans (0 and 1), in order, float32 `(n, …)`;
            NaN is a gap.
        dates: of the dates, seconds since 1970-01-01 UTC, float64 `(n, …)`; NaN is a gap.
        codes: of the categories, places in their words, int32 `(n, …)`; `MISSING` is a gap.
    """

    columns: tuple[Column, ...]
    numbers: NDArray[np.float32]
    dates: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    codes: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))

    def __post_init__(self) -> None:
        """Give the kinds of which there are no columns arrays of their own length."""
        n = max(len(self.numbers), len(self.dates), len(self.codes))
        for name in ("numbers", "dates", "codes"):
            array = getattr(self, name)
            if array.size == 0 and len(array) != n:
                object.__setattr__(self, name, np.empty((n, 0), array.dtype))

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of_numbers(cls, names: Sequence[str], rows: NDArray[Any]) -> Records:
        """Records whose columns are all numbers, `(n, len(names))`."""
        single = np.ascontiguousarray(rows, dtype=np.float32)
        return cls(tuple(Column(name) for name in names), single)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in the order of a row."""
        return tuple(column.name for column in self.columns)

    @property
    def all_numbers(self) -> bool:
        """Whether a row is a vector: every column is a number or a boolean."""
        return len(self.of_kind("number", "boolean")) == len(self.columns)

    def of_kind(self, *kinds: Kind) -> tuple[Column, ...]:
        """The columns of those kinds, in the order of their array."""
        return tuple(column for column in self.columns if column.kind in kinds)

    def take(self, rows: NDArray[np.int64] | slice) -> Records:
        """Those rows, in that order; a slice of arrays in memory is a view."""
        taken = (_gather(array, rows) for array in (self.numbers, self.dates, self.codes))
        return Records(self.columns, *taken)

    def column(self, name: str) -> NDArray[Any]:
        """One column's values, `(n,)`: float32, float64 or, of a category, its codes.

        Raises:
            KeyError: there is none of that name.
        """
        arrays: list[tuple[tuple[Kind, ...], NDArray[Any]]] = [
            (("number", "boolean"), self.numbers),
            (("date",), self.dates),
            (("category",), self.codes),
        ]
        for kinds, array in arrays:
            for place, column in enumerate(self.of_kind(*kinds)):
                if column.name == name:
                    values: NDArray[Any] = array[:, place]
                    return values
        raise KeyError(name)

    def inputs(self, names: Mapping[str, str] | None = None) -> dict[str, NDArray[Any]]:
        """The rows as a graph takes them.

        Args:
            names: of the graph's inputs by column; those of `input_names` if left out.

        Returns:
            Where all columns are numbers `features`, float32 `(n, n_columns)`; else each column
            under the name of its input, `(n, 1)`: float32 with NaN for a gap, float64 likewise
            for a date, and of a category its text with "" for a gap, as objects.
        """
        if self.all_numbers:
            return {FEATURES: self.numbers}
        names = input_names(self.columns) if names is None else names
        found: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            values = self.column(column.name)
            if column.kind == "category":
                values = np.array([*column.words, ""], dtype=object)[values]  # −1 is the last
            found[names[column.name]] = np.ascontiguousarray(values[:, None])
        return found


def _gather(array: NDArray[Any], rows: NDArray[np.int64] | slice) -> NDArray[Any]:
    if isinstance(rows, slice) or not isinstance(array, np.memmap):
        return array[rows]
    # Forwards through the file, so that each page is read once.
    order = np.argsort(rows)
    out = np.empty((len(rows), *array.shape[1:]), array.dtype)
    out[order] = array[rows[order]]
    return out


def concatenate(parts: Sequence[Records]) -> Records:
    """The rows of all parts, one after the other; their columns are alike."""
    return Records(
        parts[0].columns,
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.dates for part in parts]),
        np.concatenate([part.codes for part in parts]),
    )
