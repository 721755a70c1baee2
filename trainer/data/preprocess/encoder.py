"""The encoder: records to rows of network inputs, by the preprocessing of each column.

The inputs are, in this order: scaled numbers and booleans, their gap flags, precise numbers, dates,
one-hot categories, and the indices of categories that are embedded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.categories import Categories
from trainer.data.preprocess.dates import Dates
from trainer.data.preprocess.numbers import Numbers
from trainer.data.preprocess.precise import Precise
from trainer.data.preprocess.quantiles import Quantiles
from trainer.data.preprocess.scaler import Scaling
from trainer.data.records import MISSING, Column, Records

# The statistics of numbers and dates are taken of at most so many training rows, evenly spaced.
MAX_STATISTICS_ROWS = 100_000
SLICE_ROWS = 2**16  # rows searched for gaps at once


@dataclass(frozen=True)
class Encoding:
    """Options of the encoding of columns.

    Attributes:
        scaling: Scaling of the numbers.
        rare: Number of training rows; texts in fewer rows share the bucket of unseen texts.
        one_hot: Largest number of indices of a category that are one-hot; with more, the category
            is embedded.
        fill_all: Whether gaps are also filled in columns that have none in the data.
    """

    scaling: Scaling = "standard"
    rare: int = 10
    one_hot: int = 32
    fill_all: bool = False


@dataclass(frozen=True)
class Encoder:
    """The preprocessing of all columns, fitted on training rows only.

    Attributes:
        columns: Columns of a record, in order.
        filled_columns: Names of the columns whose gaps are filled; in others gaps are refused.
        numbers: Preprocessing of all numbers and booleans together.
        precise: Preprocessing of each float64 column.
        dates: Preprocessing of each column of dates.
        categories: Preprocessing of each column of categories.
    """

    columns: tuple[Column, ...]
    filled_columns: frozenset[str]
    numbers: Numbers
    precise: tuple[Precise, ...]
    dates: tuple[Dates, ...]
    categories: tuple[Categories, ...]

    @classmethod
    def fit(
        cls, records: Records, train: NDArray[np.int64], encoding: Encoding | None = None
    ) -> Encoder:
        """Take the statistics of the training rows.

        The other rows are only searched for gaps, so that a column with gaps in them accepts gaps.

        Args:
            records: All rows.
            train: Row numbers of the training part, int64 `(n,)`.
            encoding: Options [default: those of `Encoding`].
        """
        encoding = encoding or Encoding()
        filled = frozenset(records.names if encoding.fill_all else _find_columns_with_gaps(records))
        ordered, rows = np.sort(train), train
        if len(train) > MAX_STATISTICS_ROWS:
            rows = ordered[np.linspace(0, len(train) - 1, MAX_STATISTICS_ROWS).astype(np.int64)]
        sample = records.take(rows)
        return cls(
            records.columns,
            filled,
            Numbers.fit(
                sample.numbers,
                encoding.scaling,
                np.array([c.name in filled for c in records.of_kind("number", "boolean")], bool),
            ),
            tuple(
                Precise.fit(column.name, values, encoding.scaling, gaps=column.name in filled)
                for column, values in zip(records.of_kind("precise"), sample.precise.T, strict=True)
            ),
            tuple(
                Dates.fit(column.name, values, gaps=column.name in filled)
                for column, values in zip(records.of_kind("date"), sample.dates.T, strict=True)
            ),
            tuple(
                # Of all training rows, since a sample does not show which texts are rare.
                Categories.fit(
                    column,
                    np.asarray(records.codes[:, place])[ordered],
                    rare=encoding.rare,
                    one_hot=encoding.one_hot,
                )
                for place, column in enumerate(records.of_kind("category"))
            ),
        )

    @property
    def width(self) -> int:
        """Number of network inputs that a record becomes."""
        precise = sum(precise.width for precise in self.precise)
        dates = sum(dates.width for dates in self.dates)
        return self.numbers.width + precise + dates + sum(c.width for c in self.categories)

    @property
    def n_scaled_numbers(self) -> int:
        """Number of scaled float32 numbers and booleans, which are the first inputs."""
        return len(self.numbers.fill)

    @property
    def embedded_categories(self) -> tuple[Categories, ...]:
        """The categories that are embedded; their indices are the last inputs."""
        return tuple(c for c in self.categories if c.is_embedded)

    @property
    def span(self) -> NDArray[np.float64]:
        """Magnitude to which the rounding of each input is relative, float64 `(width,)`.

        It is 0 for inputs whose rounding is relative to their own value.
        """
        span = np.zeros(self.width)
        if isinstance(self.numbers.scaler, Quantiles):
            span[: len(self.numbers.fill)] = self.numbers.scaler.span
        place = self.numbers.width
        for precise in self.precise:
            span[place] = precise.span
            place += precise.width
        return span

    def transform(self, records: Records) -> NDArray[np.float32]:
        """Return network inputs, float32 `(n, width)`.

        Args:
            records: Rows of the fitted columns; the texts of categories may be others.
        """
        parts = list(self._iter_parts(records))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _iter_parts(self, records: Records) -> Iterator[NDArray[np.float32]]:
        if len(self.numbers.fill):
            yield self.numbers.transform(records.numbers)
        for precise, values in zip(self.precise, records.precise.T, strict=True):
            yield precise.transform(values)
        for dates, values in zip(self.dates, records.dates.T, strict=True):
            yield dates.transform(values)
        encoded = [
            (categories.is_embedded, categories.transform(column, records.codes[:, place]))
            for place, (categories, column) in enumerate(
                zip(self.categories, records.of_kind("category"), strict=True)
            )
        ]
        yield from (part for is_embedded, part in encoded if not is_embedded)
        yield from (part for is_embedded, part in encoded if is_embedded)


def _find_columns_with_gaps(records: Records) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(records), SLICE_ROWS):
        part = records.take(slice(start, start + SLICE_ROWS))
        for columns, gaps in (
            (records.of_kind("number", "boolean"), np.isnan(part.numbers)),
            (records.of_kind("precise"), np.isnan(part.precise)),
            (records.of_kind("date"), np.isnan(part.dates)),
            (records.of_kind("category"), part.codes == MISSING),
        ):
            found.update(columns[place].name for place in np.flatnonzero(gaps.any(axis=0)))
    return found
