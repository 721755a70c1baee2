"""The sample of training rows that the checks look at.

Most properties of a column show in a sample as well as in all training rows. A check that must not
err, such as whether a column is constant, uses the sample to rule columns out, and reads all rows
of those that remain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.checks.finding import REMEDIES, Details, Finding, join_limited
from trainer.data.records import MISSING, SLICE_BYTES, Column, Records
from trainer.data.splits import Split
from trainer.data.tables import Table
from trainer.data.targets import class_codes

MAX_ROWS, MIN_ROWS = 50_000, 2_000
MAX_VALUES = 5_000_000  # rows × columns
SEED = 0  # fixed, so that the same table and split give the same findings

# A column and its values in the sample, `(n,)`, of the dtype that `Records.column` returns.
ColumnValues = tuple[Column, NDArray[Any]]


@dataclass(frozen=True)
class TableSample:
    """Training rows of a table, drawn at random, and the values of each column in them.

    Attributes:
        table: All rows of the data.
        split: Row numbers of the three parts.
        rows: Row numbers of the sample in ascending order, int64 `(n,)`.
        columns: Each column with its values in those rows, in the order of a row.
        is_fit_row: Rows of the sample from which a rule is fitted, bool `(n,)`; the rule is
            evaluated on the others. About half of the rows; rows of one group are on one side.
    """

    table: Table
    split: Split
    rows: NDArray[np.int64]
    columns: list[ColumnValues]
    is_fit_row: NDArray[np.bool_]

    @classmethod
    def draw(cls, table: Table, split: Split) -> TableSample:
        """Draw up to 50,000 training rows, fewer of a table with more than 100 columns."""
        rng = np.random.default_rng(SEED)
        rows, records = split.train, table.records
        size = min(MAX_ROWS, max(MIN_ROWS, MAX_VALUES // len(records.columns)))
        if len(rows) > size:
            rows = rng.choice(rows, size, replace=False)
        rows = np.sort(rows)  # in ascending order, since the arrays may be mapped from a file
        # Rows of one group are alike, so that a rule fitted on some of them knows the others.
        group = np.arange(len(rows)) if table.groups is None else class_codes(table.groups[rows])[1]
        n_groups = int(group.max()) + 1
        is_fit_row = rng.permutation(n_groups)[group] < n_groups / 2
        return cls(table, split, rows, list(_iter_columns(records.take(rows))), is_fit_row)

    def report(self, name: str, details: Details, sentence: str) -> Finding | None:
        """Put the columns that a check found into a sentence.

        Args:
            name: Kind of the finding, a key of `REMEDIES`.
            details: The columns found, by name.
            sentence: Text with `{}` for the list of columns. `{rows}` becomes the number of
                training rows in the sample, `{all}` the number of all training rows.

        Returns:
            The finding, or None where `details` is empty.
        """
        if not details:
            return None
        n_train = len(self.split.train)
        all_rows = f"all {n_train:,} training rows"
        sampled_rows = f"{len(self.rows):,} of {n_train:,} training rows, drawn at random"
        detail = sentence.format(
            join_limited(list(details.values())),
            rows=all_rows if len(self.rows) == n_train else sampled_rows,
            all=all_rows,
        )
        return Finding(name, tuple(details), detail, REMEDIES[name])

    def iter_train_values(self, *names: str) -> Iterator[list[NDArray[Any]]]:
        """Yield the values of some columns in all training rows, a slice of rows at a time."""
        columns = [self.table.records.column(name) for name in names]
        train = self.split.train
        for start in range(0, len(train), SLICE_BYTES):
            rows = train[start : start + SLICE_BYTES]
            yield [values[rows] for values in columns]


def _iter_columns(records: Records) -> Iterator[ColumnValues]:
    """Yield each column with its values, in the order of a row."""
    numbers, dates, codes, precise = (iter(array.T) for array in records.arrays)
    arrays = {"date": dates, "category": codes, "precise": precise}
    for column in records.columns:
        yield column, next(arrays.get(column.kind, numbers))


def find_gaps(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which values of a column are missing, bool `(n,)`.

    Args:
        values: Floats, of which NaN is a gap, or the codes of a category, `(n,)`.
    """
    gaps: NDArray[np.bool_] = values == MISSING if values.dtype.kind == "i" else np.isnan(values)
    return gaps
