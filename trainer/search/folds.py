"""Folds: rows to learn from and rows to score on, parted as the table asks for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from trainer.data.tables import DataError, Table
from trainer.data.targets import class_codes

Pair = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Folds:
    """A splitter for scikit-learn, of row numbers of one table.

    Classes have the same proportions in every fold. Where the table has groups, each is in one fold
    as a whole. Where it has times, rows are scored by what was learned from earlier ones.

    Attributes:
        table: whose rows they are.
        count: folds, at least 2.
        seed: same seed, same folds.
    """

    table: Table
    count: int
    seed: int

    def __sklearn_clone__(self) -> Folds:
        """Itself: a table is not copied for each search."""
        return self

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many there are."""
        return self.count

    def split(self, X: NDArray[np.int64], y: Any = None, groups: Any = None) -> Iterator[Pair]:
        """Places in `X`, int64 `(n, 1)` of row numbers, to learn from and to score on.

        Raises:
            DataError: so many folds cannot be made of the rows.
        """
        rows, codes = X[:, 0], None
        if self.table.task != "regression":
            # Small whole numbers instead of texts, of which there may be millions.
            classes, codes = class_codes(self.table.target[rows])
        try:
            pairs = list(self._pairs(rows, codes))
        except ValueError as error:
            raise DataError(
                f"{self.table.source}: expected rows for {self.count} folds; got too few of "
                f"{len(rows)}: {error}; ask for fewer folds"
            ) from error
        for known, scored in pairs:
            if codes is not None:
                self._check(classes, codes[known])
            yield known, scored

    def _pairs(self, rows: NDArray[np.int64], codes: NDArray[np.int32] | None) -> Iterator[Pair]:
        table, placeholder = self.table, np.zeros(len(rows))
        if table.times is not None:
            yield from _in_time(table.times[rows], self.count)
        elif table.groups is not None:
            yield from GroupKFold(self.count).split(placeholder, groups=table.groups[rows])
        elif codes is None:
            yield from KFold(self.count, shuffle=True, random_state=self.seed).split(placeholder)
        else:
            folds = StratifiedKFold(self.count, shuffle=True, random_state=self.seed)
            with warnings.catch_warnings():
                # A class of fewer rows than folds is in as many folds as it can be.
                warnings.filterwarnings("ignore", message="The least populated class")
                yield from folds.split(placeholder, codes)

    def _check(self, classes: NDArray[Any], known: NDArray[np.int32]) -> None:
        lost = classes[np.bincount(known, minlength=len(classes)) == 0]
        if lost.size:
            raise DataError(
                f"{self.table.source}: expected rows of every class to learn from in each fold; "
                f"got none of {', '.join(map(str, lost[:10]))} in one; ask for other folds, or "
                f"merge rare classes"
            )


def _in_time(times: NDArray[np.float64], count: int) -> Iterator[Pair]:
    order = np.argsort(times, kind="stable")
    for known, scored in TimeSeriesSplit(count).split(times):
        known, scored = order[known], order[scored]  # noqa: PLW2901 - the same, by place
        # Nothing is learned from rows as late as those it is scored on.
        known = known[times[known] < times[scored].min()]  # noqa: PLW2901
        if not len(known):
            raise ValueError("the earliest fold has no rows before it")
        yield known, scored
