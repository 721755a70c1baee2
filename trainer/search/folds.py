"""Cross-validation folds: pairs of training rows and scored rows.

Classes have the same proportions in every fold. If the table has groups, all rows of a group are in
the same fold. If it has times, rows are scored by a model that was trained on earlier rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from trainer.data.splits import class_codes
from trainer.data.tables import DataError, Table

# Indices of the training rows and of the scored rows, int64.
FoldIndices = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Folds:
    """A splitter for scikit-learn. The rows that it splits are row numbers of a table.

    Attributes:
        table: Table of the rows.
        count: Number of folds, at least 2.
        seed: Random seed. The same seed gives the same folds.
    """

    table: Table
    count: int
    seed: int

    def __sklearn_clone__(self) -> Folds:
        """Return the same object, so that scikit-learn does not copy the table."""
        return self

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return self.count

    def split(
        self, X: NDArray[np.int64], y: Any = None, groups: Any = None
    ) -> Iterator[FoldIndices]:
        """Yield the indices in `X` of the training rows and of the scored rows of each fold.

        Args:
            X: Row numbers of the table, int64 `(n, 1)`.
            y: Unused; the table has the targets.
            groups: Unused; the table has the groups.

        Raises:
            DataError: If the rows are too few for so many folds, or a class has no training row in
                one of them.
        """
        rows, codes = X[:, 0], None
        if self.table.task != "regression":
            # The classes can be texts of millions of rows. Their codes are small integers.
            classes, codes = class_codes(self.table.target[rows])
        try:
            folds = list(self._split_rows(rows, codes))
        except ValueError as error:
            raise DataError(
                f"{self.table.source}: expected rows for {self.count} folds; got too few of "
                f"{len(rows)}: {error}; ask for fewer folds"
            ) from error
        for training, scored in folds:
            if codes is not None:
                self._require_all_classes(classes, codes[training])
            yield training, scored

    def _split_rows(
        self, rows: NDArray[np.int64], codes: NDArray[np.int32] | None
    ) -> Iterator[FoldIndices]:
        """Yield the indices of each fold.

        Args:
            rows: Row numbers of the table, int64 `(n,)`.
            codes: Code of each row's class, int32 `(n,)`; None for a regression.
        """
        table, placeholder = self.table, np.zeros(len(rows))
        if table.times is not None:
            yield from _split_by_time(table.times[rows], self.count)
        elif table.groups is not None:
            yield from GroupKFold(self.count).split(placeholder, groups=table.groups[rows])
        elif codes is None:
            yield from KFold(self.count, shuffle=True, random_state=self.seed).split(placeholder)
        else:
            folds = StratifiedKFold(self.count, shuffle=True, random_state=self.seed)
            with warnings.catch_warnings():
                # A class with fewer rows than folds is missing in some of the folds.
                warnings.filterwarnings("ignore", message="The least populated class")
                yield from folds.split(placeholder, codes)

    def _require_all_classes(
        self, classes: NDArray[Any], training_codes: NDArray[np.int32]
    ) -> None:
        """Refuse a fold without training rows of some class.

        Args:
            classes: The distinct classes, `(n_classes,)`.
            training_codes: Code of each training row's class, int32 `(n_training,)`.

        Raises:
            DataError: If a class has no training row.
        """
        missing = classes[np.bincount(training_codes, minlength=len(classes)) == 0]
        if missing.size:
            raise DataError(
                f"{self.table.source}: expected training rows of every class in each fold; got "
                f"none of {', '.join(map(str, missing[:10]))} in one; ask for another number of "
                f"folds, or merge rare classes"
            )


def _split_by_time(times: NDArray[np.float64], count: int) -> Iterator[FoldIndices]:
    """Yield folds of which the training rows are earlier than the scored rows.

    Args:
        times: Time of each row, float64 `(n,)`.
        count: Number of folds.

    Raises:
        ValueError: If no row is earlier than those of the first fold.
    """
    order = np.argsort(times, kind="stable")
    for training_places, scored_places in TimeSeriesSplit(count).split(times):
        training, scored = order[training_places], order[scored_places]
        # Rows of equal time can be on both sides. They are not used for training.
        training = training[times[training] < times[scored].min()]
        if not len(training):
            raise ValueError("the earliest fold has no rows before it")
        yield training, scored
