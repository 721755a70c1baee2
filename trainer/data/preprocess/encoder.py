"""The encoder: records to rows of numbers, one column's preprocessing beside the other's.

numbers, scaled | their flags | precise numbers | dates | categories, one-hot |
places for embeddings to look up
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

# Of numbers and dates, the statistics of so many training rows, evenly spaced, are those of all.
STATISTICS = 100_000
SLICE = 2**16  # rows looked at in one go


@dataclass(frozen=True)
class Encoding:
    """How columns are to be encoded.

    Attributes:
        scaling: of the numbers.
        rare: texts in fewer training rows than this share the bucket of unseen ones.
        one_hot: categories with more places than this get an embedding.
        fill_all: whether gaps are filled in columns that have none, too.
    """

    scaling: Scaling = "standard"
    rare: int = 10
    one_hot: int = 32
    fill_all: bool = False


@dataclass(frozen=True)
class Encoder:
    """What makes network inputs of records; fitted on training rows and nothing else.

    Attributes:
        columns: what a record holds, in order.
        filled: names of those whose gaps are filled; in others there must be none.
        numbers: of numbers and booleans together.
        precise: Preprocessing of each float64 column.
        dates: of each date.
        categories: of each category.
    """

    columns: tuple[Column, ...]
    filled: frozenset[str]
    numbers: Numbers
    precise: tuple[Precise, ...]
    dates: tuple[Dates, ...]
    categories: tuple[Categories, ...]

    @classmethod
    def fit(
        cls, records: Records, train: NDArray[np.int64], encoding: Encoding | None = None
    ) -> Encoder:
        """Take the statistics of the rows `train`.

        Of the other rows only one thing is asked: whether a column has gaps there, which are then
        filled and not refused.
        """
        encoding = encoding or Encoding()
        filled = frozenset(records.names if encoding.fill_all else _columns_with_gaps(records))
        every = np.sort(train)
        if len(train) > STATISTICS:
            train = every[np.linspace(0, len(train) - 1, STATISTICS).astype(np.int64)]
        known = records.take(train)
        return cls(
            records.columns,
            filled,
            Numbers.fit(
                known.numbers,
                encoding.scaling,
                np.array([c.name in filled for c in records.of_kind("number", "boolean")], bool),
            ),
            tuple(
                Precise.fit(
                    column.name,
                    known.precise[:, place],
                    encoding.scaling,
                    gaps=column.name in filled,
                )
                for place, column in enumerate(records.of_kind("precise"))
            ),
            tuple(
                Dates.fit(column.name, known.dates[:, place], gaps=column.name in filled)
                for place, column in enumerate(records.of_kind("date"))
            ),
            tuple(
                Categories.fit(
                    column,
                    # All of them: which texts are rare no sample tells.
                    np.asarray(records.codes[:, place])[every],
                    rare=encoding.rare,
                    one_hot=encoding.one_hot,
                )
                for place, column in enumerate(records.of_kind("category"))
            ),
        )

    @property
    def width(self) -> int:
        """Numbers that a record becomes."""
        precise = sum(precise.width for precise in self.precise)
        dates = sum(dates.width for dates in self.dates)
        return self.numbers.width + precise + dates + sum(c.width for c in self.categories)

    @property
    def embedded(self) -> tuple[Categories, ...]:
        """The categories whose places come last, for an embedding to look up."""
        return tuple(c for c in self.categories if c.embedded)

    @property
    def span(self) -> NDArray[np.float64]:
        """What the rounding of each input is to be measured by beside its size, `(width,)`."""
        span = np.zeros(self.width)
        if isinstance(self.numbers.scaler, Quantiles):
            span[: len(self.numbers.fill)] = self.numbers.scaler.span
        place = self.numbers.width
        for precise in self.precise:
            span[place] = precise.span
            place += precise.width
        return span

    def transform(self, records: Records) -> NDArray[np.float32]:
        """Records to network inputs, `(n, width)`; their words may be others than the fitted."""
        parts = list(self._parts(records))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _parts(self, records: Records) -> Iterator[NDArray[np.float32]]:
        if len(self.numbers.fill):
            yield self.numbers.transform(records.numbers)
        for place, precise in enumerate(self.precise):
            yield precise.transform(records.precise[:, place])
        for place, dates in enumerate(self.dates):
            yield dates.transform(records.dates[:, place])
        encoded = [
            (categories.embedded, categories.transform(column, records.codes[:, place]))
            for place, (categories, column) in enumerate(
                zip(self.categories, records.of_kind("category"), strict=True)
            )
        ]
        yield from (part for embedded, part in encoded if not embedded)
        yield from (part for embedded, part in encoded if embedded)


def _columns_with_gaps(records: Records) -> list[str]:
    found: set[str] = set()
    for start in range(0, len(records), SLICE):
        part = records.take(slice(start, start + SLICE))
        for columns, gaps in (
            (records.of_kind("number", "boolean"), np.isnan(part.numbers)),
            (records.of_kind("precise"), np.isnan(part.precise)),
            (records.of_kind("date"), np.isnan(part.dates)),
            (records.of_kind("category"), part.codes == MISSING),
        ):
            found.update(columns[place].name for place in np.flatnonzero(gaps.any(axis=0)))
    return sorted(found)
