"""Splits of a table's rows into a training, a validation and a test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize
from trainer.data.group_choice import choose_groups
from trainer.data.tables import DataError, Table
from trainer.data.targets import class_codes

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts, int64 `(n_part,)` each; every row is in one part.

    Attributes:
        train: Rows that the network is fitted on.
        validation: Rows by which training stops and models are compared.
        test: Rows on which the final model is evaluated.
    """

    train: Rows
    validation: Rows
    test: Rows


def subsample(rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return at most `size` of some rows, evenly spaced, in ascending order, as files are read."""
    if len(rows) <= size:
        return rows
    return np.sort(rows[np.linspace(0, len(rows) - 1, size).astype(np.int64)])


def split_table(table: Table, *, validation: float, test: float, seed: int) -> Split:
    """Split at random, with the same proportions of classes in each part.

    If the table has groups, each group is in one part, and sizes and proportions are as near to the
    requested ones as groups allow. If it has times, the latest rows are the test part, those before
    them the validation part, and rows of equal time are in one part.

    Apart from the table, the memory needed is that of a few row numbers per row.

    Args:
        table: All rows.
        validation: Share of all rows in the validation part, in (0, 1).
        test: Share of all rows in the test part, in (0, 1); ignored if the table has test rows.
        seed: Seed of the random numbers, below 2³²; the same seed gives the same split.

    Raises:
        DataError: If the training part would have too few rows, or none of some class; if groups or
            times cannot be divided into such parts; or if the table has both.
    """
    n, rows, splitter = len(table), np.arange(len(table)), _make_splitter(table, seed)
    if table.test_rows:
        rest, test_part = np.split(rows, [n - table.test_rows])
        _check_test_rows(table)
    else:
        rest, test_part = splitter.split(rows, round(test * n), n_remaining=2)
    train, validation_part = splitter.split(rest, round(validation * n), n_remaining=1)
    return Split(train=train, validation=validation_part, test=test_part)


def hold_out(table: Table, rows: Rows, *, share: float, seed: int) -> tuple[Rows, Rows]:
    """Split some rows of a table in two, by the rules of `split_table`.

    Args:
        table: All rows.
        rows: Row numbers of those that are split, int64 `(n,)`.
        share: Share of these rows that is held out, in (0, 1).
        seed: Seed of the random numbers, below 2³²; the same seed gives the same parts.

    Returns:
        The rows to learn from, and those held out.

    Raises:
        DataError: If the rows cannot be split; see `split_table`.
    """
    return _make_splitter(table, seed).split(rows, round(share * len(rows)), n_remaining=1)


def class_shares(table: Table, rows: NDArray[np.int64]) -> list[float]:
    """Return the share of each class among some rows of a table, in the order of sorted classes."""
    classes, codes = class_codes(table.target)
    counts = np.bincount(codes[rows], minlength=len(classes))
    shares: list[float] = (counts / max(len(rows), 1)).tolist()
    return shares


def _make_splitter(table: Table, seed: int) -> _Splitter:
    if table.groups is not None and table.times is not None:
        raise DataError(
            "expected rows with groups or with times; got both, and a group that lasts long fits "
            "into no part; leave out --group or --time"
        )
    if table.times is not None and np.isnan(table.times).any():
        raise DataError(
            f"expected a time in every row; got none in {np.count_nonzero(np.isnan(table.times))} "
            f"of {len(table)}; fill them in, drop those rows, or leave out --time"
        )
    return _Splitter(table, None if table.task == "regression" else class_codes(table.target), seed)


def _check_test_rows(table: Table) -> None:
    """Refuse test rows of a group that other rows have too, or that are not later than them."""
    start = len(table) - table.test_rows
    if table.groups is not None:
        shared = np.intersect1d(table.groups[:start], table.groups[start:])
        if shared.size:
            raise DataError(
                f"expected no group in both the training rows and the test rows; got {len(shared)} "
                f"in both; move their rows to one of the two, or leave out --group"
            )
    if table.times is not None:
        early = np.count_nonzero(table.times[start:] <= table.times[:start].max())
        if early:
            raise DataError(
                f"expected test rows that are later than all the others; got {early} of "
                f"{table.test_rows} that are not; move them, or leave out --time"
            )


@dataclass(frozen=True)
class _Splitter:
    """Splits rows of one table.

    Attributes:
        table: All rows.
        classes: The sorted classes, and the position of each row's class; None for quantities.
        seed: Seed of the random numbers.
    """

    table: Table
    classes: tuple[NDArray[Any], NDArray[np.int32]] | None
    seed: int

    def split(self, rows: Rows, size: int, n_remaining: int) -> tuple[Rows, Rows]:
        """Split rows into two parts.

        Args:
            rows: Row numbers, int64 `(n,)`.
            size: Number of rows in the second part, about.
            n_remaining: Number of parts into which the first part will be divided in the end.
        """
        codes = None if self.classes is None else self.classes[1][rows]
        counts = None if codes is None else np.bincount(codes)
        # One row of each class; two rows of quantities, since a single one does not vary.
        min_size = 2 if counts is None else int(np.count_nonzero(counts))
        size = max(size, min_size)
        if len(rows) - size < min_size:
            raise DataError(
                f"expected at least {pluralize(min_size, 'row')} to learn from; got "
                f"{len(rows) - size} of {len(self.table)}; ask for smaller shares of validation "
                f"and test rows"
            )
        if self.table.times is not None:
            is_second = _choose_latest(self.table.times[rows], size, n_remaining)
        elif self.table.groups is not None:
            is_second = choose_groups(self.table.groups[rows], codes, size, n_remaining, self.seed)
        else:
            first, second = _split_at_random(len(rows), codes, size, self.seed)
            self._check_classes(codes, first)
            return rows[first], rows[second]
        _check_size(is_second, size)
        self._check_classes(codes, ~is_second)
        # In random order, as after a random split, so that the first rows are a fair sample.
        rng = np.random.default_rng(self.seed)
        return rng.permutation(rows[~is_second]), rng.permutation(rows[is_second])

    def _check_classes(self, codes: NDArray[np.int32] | None, first: NDArray[Any]) -> None:
        """Refuse a first part that lacks a class.

        Args:
            codes: Class of each row that is split, int32 `(n,)`; None for quantities.
            first: Index of the rows of the first part.
        """
        if codes is None or self.classes is None:
            return
        absent = np.setdiff1d(codes, codes[first])
        if absent.size:
            raise DataError(
                f"expected rows of every class to learn from; got none of "
                f"{', '.join(map(str, self.classes[0][absent[:10]]))}; ask for smaller shares of "
                f"validation and test rows, or merge rare classes"
            )


def _check_size(is_second: NDArray[np.bool_], size: int) -> None:
    """Refuse a split in which either part has less than half of the rows requested for it."""
    got, n = int(np.count_nonzero(is_second)), len(is_second)
    if 2 * got < size or 2 * (n - got) < n - size:
        raise DataError(
            f"expected about {size} of {n} rows for validation or testing; got {got} as the "
            f"nearest number when rows of one group or time stay together; ask for other shares, "
            f"or leave out --group or --time"
        )


def _split_at_random(
    n: int, codes: NDArray[np.int32] | None, size: int, seed: int
) -> tuple[Rows, Rows]:
    """Return the positions of the first and the second part, each in random order.

    Equals `train_test_split` of scikit-learn 1.9 to the bit, without its lists of Python objects,
    one per row. It draws from the same generator, which NumPy has frozen, so that models can be
    reproduced.

    Args:
        n: Number of rows.
        codes: Class of each row, int32 `(n,)`; None for quantities.
        size: Number of rows in the second part.
        seed: Seed of the random numbers.
    """
    rng = np.random.RandomState(seed)
    if codes is None:
        order: Rows = rng.permutation(n)
        return order[size:], order[:size]
    counts = np.bincount(codes)
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    present = np.flatnonzero(counts)
    first_counts = _allocate(counts[present], n - size, rng)
    second_counts = _allocate(counts[present] - first_counts, size, rng)
    first_parts, second_parts = [], []
    for code, n_first, n_second in zip(present, first_counts, second_counts, strict=True):
        shuffled = members[code][rng.permutation(counts[code])]
        first_parts.append(shuffled[:n_first])
        second_parts.append(shuffled[n_first : n_first + n_second])
    first, second = np.concatenate(first_parts), np.concatenate(second_parts)
    rng.shuffle(first)
    rng.shuffle(second)
    return first, second


def _allocate(counts: Rows, size: int, rng: np.random.RandomState) -> Rows:
    """Return the rows of each class in a sample: its share, rounded by largest remainder.

    Args:
        counts: Number of rows of each class, int64.
        size: Number of rows in the sample.
        rng: Generator that breaks ties.
    """
    exact = counts / counts.sum() * size
    allocated: NDArray[np.float64] = np.floor(exact)
    left, remainder = int(size - allocated.sum()), exact - allocated
    for value in np.unique(remainder)[::-1]:
        if left <= 0:
            break
        (tied,) = np.where(remainder == value)
        tied = rng.choice(tied, size=min(len(tied), left), replace=False)
        allocated[tied] += 1
        left -= len(tied)
    return allocated.astype(np.int64)


def _choose_latest(times: NDArray[np.float64], size: int, n_remaining: int) -> NDArray[np.bool_]:
    """Return which rows are the latest, about `size` of them; no other row has a time of theirs.

    Args:
        times: Time of each row, float64 `(n,)`.
        size: Number of rows, about.
        n_remaining: Number of different times that the other rows must have at least.
    """
    ordered = np.sort(times)
    starts = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1  # of each time but the earliest
    if len(starts) < n_remaining:
        raise DataError(
            f"expected rows of at least {n_remaining + 1} different times, one for each part; got "
            f"{len(starts) + 1} in {pluralize(len(times), 'row')}; leave out --time"
        )
    starts = starts[n_remaining - 1 :]
    start = starts[np.argmin(np.abs(starts - (len(times) - size)))]
    is_late: NDArray[np.bool_] = times >= ordered[start]
    return is_late
