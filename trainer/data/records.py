"""Records: rows as they came, of typed columns, before anything is done to them.

Columns of a kind lie side by side in one array, so that rows are taken with one gather a kind, and
arrays mapped from files serve as well as arrays in memory. A gap stays a gap here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, ISO8601, OUTPUT_NAMES

# A precise number is one that float32 cannot tell from others; it is kept in float64.
Kind = Literal["number", "precise", "boolean", "category", "date"]
MISSING = -1  # the code of a category that is not there


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as in the header.
        kind: what its values are.
        words: of a category, the texts that its codes stand for, distinct, none empty.
        texts: Truth value of each text, in lower case, beside `true` and `false`.
        format: Date format of texts beside ISO 8601, as `Date.format` of the manifest.
    """

    name: str
    kind: Kind = "number"
    words: tuple[str, ...] = ()
    # How a value is written is no part of a table's fingerprint, which is made of this text.
    texts: Mapping[str, bool] = field(default_factory=dict, repr=False, hash=False)
    format: str = field(default=ISO8601, repr=False)


def input_names(columns: Sequence[Column]) -> dict[str, str]:
    """Names of a graph's inputs where each column is one: the column's own, unless an output's.

    Returns:
        By the column's name that of its input, all distinct: `label_input` for `label`.
    """
    taken = {*OUTPUT_NAMES, *(column.name for column in columns)}
    found = {}
    for column in columns:
        name = column.name
        if name in OUTPUT_NAMES:
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
        precise: Values of the float64 columns, in order, float64 `(n, …)`; NaN is a gap.
    """

    columns: tuple[Column, ...]
    numbers: NDArray[np.float32]
    dates: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    codes: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), np.int32))
    precise: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    def __post_init__(self) -> None:
        """Give the kinds of which there are no columns arrays of their own length."""
        n = max(map(len, self.arrays))
        for name, array in zip(("numbers", "dates", "codes", "precise"), self.arrays, strict=True):
            if array.size == 0 and len(array) != n:
                object.__setattr__(self, name, np.empty((n, 0), array.dtype))

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of_numbers(cls, names: Sequence[str], rows: NDArray[Any]) -> Records:
        """Records whose columns are all numbers that float32 can hold, `(n, len(names))`."""
        return cls.of_matrix(names, rows, ())

    @classmethod
    def of_matrix(
        cls, names: Sequence[str], rows: NDArray[Any], precise: Collection[str]
    ) -> Records:
        """Records of numbers, `(n, len(names))`, those of the names in `precise` in float64."""
        columns = tuple(Column(name, "precise" if name in precise else "number") for name in names)
        kept = np.array([column.kind == "precise" for column in columns], bool)
        if not kept.any():
            return cls(columns, np.ascontiguousarray(rows, dtype=np.float32))
        return cls(
            columns,
            rows[:, ~kept].astype(np.float32, order="C"),
            precise=rows[:, kept].astype(np.float64, order="C"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in the order of a row."""
        return tuple(column.name for column in self.columns)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays of the kinds, in the order in which `Records` takes them."""
        return self.numbers, self.dates, self.codes, self.precise

    @property
    def all_numbers(self) -> bool:
        """Whether a row is a vector: every column is a number or a boolean."""
        return len(self.of_kind("number", "boolean")) == len(self.columns)

    def of_kind(self, *kinds: Kind) -> tuple[Column, ...]:
        """The columns of those kinds, in the order of their array."""
        return tuple(column for column in self.columns if column.kind in kinds)

    def take(self, rows: NDArray[np.int64] | slice) -> Records:
        """Those rows, in that order; a slice of arrays in memory is a view."""
        return Records(self.columns, *(_gather(array, rows) for array in self.arrays))

    def column(self, name: str) -> NDArray[Any]:
        """One column's values, `(n,)`: float32, float64 or, of a category, its codes.

        Raises:
            KeyError: there is none of that name.
        """
        arrays: list[tuple[tuple[Kind, ...], NDArray[Any]]] = [
            (("number", "boolean"), self.numbers),
            (("date",), self.dates),
            (("category",), self.codes),
            (("precise",), self.precise),
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
            names: Names of the graph's inputs by column [default: those of `input_names`].

        Returns:
            Where all columns are numbers `features`, float32 `(n, n_columns)`; else each column
            under the name of its input, `(n, 1)`: float32 with NaN for a gap, float64 likewise
            for a date or a precise number, and of a category its text with "" for a gap, as
            objects.
        """
        if self.all_numbers:
            return {FEATURES_INPUT: self.numbers}
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
    arrays = zip(*(part.arrays for part in parts), strict=True)
    return Records(parts[0].columns, *(np.concatenate(of_kind) for of_kind in arrays))
