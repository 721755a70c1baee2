"""Splits: rows to learn from, rows to choose with, rows to be judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from trainer.data.tables import DataError, Table


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, each int64 `(n_part,)`; together every row once."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split(table: Table, *, validation: float, test: float, seed: int) -> Split:
    """Split at random, with the classes in the same proportions in each part.

    Args:
        table: the rows.
        validation: share of all rows kept for choosing, in (0, 1).
        test: share of all rows kept for judging, in (0, 1); not asked where the table says which.
        seed: same seed, same split; below 2³².

    Raises:
        DataError: too few rows are left to learn from, or none of some class.
    """
    rows = np.arange(len(table))
    if table.judged:
        rest, judged = np.split(rows, [len(table) - table.judged])
    else:
        rest, judged = _cut(table, rows, round(test * len(table)), seed)
    learned, chosen = _cut(table, rest, round(validation * len(table)), seed)
    return Split(train=learned, validation=chosen, test=judged)


def hold_out(
    table: Table, rows: NDArray[np.int64], *, share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part some rows of a table in two, as `split` does all of them.

    Args:
        table: the rows.
        rows: numbers of those that are parted, int64 `(n,)`.
        share: of these rows, the part that is held out, in (0, 1).
        seed: same seed, same parts; below 2³².

    Returns:
        The rows that are left to learn from, and those held out.

    Raises:
        DataError: as `split` does.
    """
    return _cut(table, rows, round(share * len(rows)), seed)


def _cut(
    table: Table, rows: NDArray[np.int64], size: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    classes: NDArray[Any] | None = None if table.task == "regression" else table.target[rows]
    # Each class once; of quantities two, lest there be nothing to explain.
    fewest = 2 if classes is None else len(np.unique(classes))
    size = max(size, fewest)
    if len(rows) - size < fewest:
        raise DataError(
            f"expected at least {fewest} rows to learn from; got {len(rows) - size} of "
            f"{len(table)}; ask for smaller shares of validation and test rows"
        )
    first, second = train_test_split(rows, test_size=size, stratify=classes, random_state=seed)
    if classes is not None:
        lost = np.setdiff1d(classes, table.target[first])
        if lost.size:
            raise DataError(
                f"expected rows of every class to learn from; got none of "
                f"{', '.join(map(str, lost[:10]))}; ask for smaller shares of validation and test "
                f"rows, or merge rare classes"
            )
    return first, second
