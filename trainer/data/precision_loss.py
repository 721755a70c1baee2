"""Precision loss: how many different numbers of a column float32 cannot tell apart.

A network computes in float32, but its inputs can be scaled before that. A column whose values lie
close together and far from zero, such as coordinates in metres or times in milliseconds, keeps its
digits if an offset is subtracted from it in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MAX_LOST_SHARE = 0.01  # of a column's different values that float32 may lose without a remedy
MAX_UNCURED_SHARE = 0.25  # of the lost values that may stay lost after scaling in float64
MIN_CROWD = 16  # different values that are one in float32: more than meet by chance
MAX_TABLE_VALUES = 2**18  # different values of all columns in a sample, of 8 bytes each
MIN_COLUMN_VALUES, MAX_COLUMN_VALUES = 2**10, 2**14  # different values of one column in a sample
SETTLED_RATIO = 8  # different values for each one in float32 from which a sample need not grow
MAX_DEVIATIONS = 4  # standard deviations of an estimate that chance explains
SLICE_ROWS = 2**16  # rows counted at once
MIN_OFFSET_RATIO = 16  # distance from zero, as a multiple of the spread, of columns worth counting
MAX_LISTED = 5  # columns in a warning


@dataclass(frozen=True)
class PrecisionLoss:
    """Number of different values of a column that float32 merges with others.

    Attributes:
        name: Name of the column.
        distinct: Number of different values, in float64.
        lost: How many fewer different values there would be in float32.
        exactness: Word before the two numbers: empty if they are exact, `about ` if they are
            estimated from a sample of the values, `at least ` if they are lower bounds.
        is_curable: Whether most of the lost values differ in float32 once an offset and a scale are
            applied in float64.
        is_crowded: Whether float32 merges so many values into one that it is no chance. A column
            that is neither curable nor crowded has many values drawn from a wide range, some of
            which meet.
    """

    name: str
    distinct: int
    lost: int
    exactness: Literal["", "about ", "at least "] = ""
    is_curable: bool = False
    is_crowded: bool = False

    @property
    def share(self) -> float:
        """Share of the different values that would be lost, 0 to 1."""
        return self.lost / self.distinct if self.distinct else 0.0

    @property
    def needs_float64(self) -> bool:
        """Whether the column should be a float64 input of its own."""
        return self.share > MAX_LOST_SHARE and (self.is_curable or self.is_crowded)

    @property
    def description(self) -> str:
        """The column and its numbers: "northing (1,000 different values, of which 997 lost)"."""
        lost = f"of which {self.lost:,} lost"
        if self.is_crowded and not self.is_curable:  # it spans very different magnitudes
            lost += ", and told apart by --scaling quantile alone"
        return f"{self.name} ({self.exactness}{self.distinct:,} different values, {lost})"


class DistinctNumbers:
    """Counts the different values of a column in float64 and in float32, in bounded memory.

    All values are kept until there are too many. Then two samples of them are kept: one is drawn by
    a hash of the value, and says how many values there are; the other is drawn by a hash of the
    value in float32, so that values which float32 merges are in it together or not at all.

    Args:
        max_values: Number of values in each sample.
    """

    def __init__(self, max_values: int) -> None:
        self._max_values = max_values
        self._by_value = _Sample(max_values, _hash_float64)
        self._by_float32 = _Sample(max_values, _hash_as_float32, can_settle=True)

    @classmethod
    def of_table(cls, columns: int) -> DistinctNumbers:
        """Return a counter for one column of a table with `columns` columns."""
        share = MAX_TABLE_VALUES // max(columns, 1)
        return cls(min(max(share, MIN_COLUMN_VALUES), MAX_COLUMN_VALUES))

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values, float64 `(n,)`; NaN and infinity are left out."""
        values = values[np.isfinite(values)]
        self._by_value.add(values)
        self._by_float32.add(values)

    def loss(self, name: str) -> PrecisionLoss:
        """Return what float32 loses of the values added so far.

        Args:
            name: Name of the column.
        """
        sample = self._by_value
        sample.merge()
        distinct = sample.weight * len(sample.values)
        if not distinct:
            return PrecisionLoss(name, 0, 0)
        if sample.weight == 1:
            lost, is_curable, is_crowded = _count_lost(sample.values)
            return PrecisionLoss(name, distinct, lost, "", is_curable, is_crowded)
        return self._estimate(name, distinct)

    def _estimate(self, name: str, distinct: int) -> PrecisionLoss:
        """Return the loss of a column of which only samples are kept.

        Args:
            name: Name of the column.
            distinct: Estimated number of its different values.
        """
        sample = self._by_float32
        sample.merge()
        n_values = len(sample.values)
        lost, is_curable, is_crowded = _count_lost(sample.values)
        if sample.is_settled:
            return PrecisionLoss(name, n_values, lost, "at least ", is_curable, is_crowded)
        share = lost / max(n_values, 1)
        # One value of float32 into which very many are merged is most likely not in the sample.
        total_share = 1 - sample.weight * (n_values - lost) / distinct
        if total_share - share > MAX_DEVIATIONS * (2 / self._max_values) ** 0.5:
            _, is_curable, is_crowded = _count_lost(self._by_value.values)
            share = total_share
        lost = round(share * distinct)
        return PrecisionLoss(name, distinct, lost, "about ", is_curable, is_crowded)


class _Sample:
    """Different values, of which half are dropped whenever there are more than `max_values`.

    Args:
        max_values: Number of values kept.
        hash_of: Function from values, float64 `(n,)`, to hashes, uint32 `(n,)`. The hash of a value
            decides in which halving it is dropped.
        can_settle: Whether the sample stops growing once float32 merges most of its values.

    Attributes:
        values: The values, float64 `(n,)`, in ascending order.
        weight: Number of values that each of them stands for.
        is_settled: Whether no more values are added.
    """

    def __init__(
        self,
        max_values: int,
        hash_of: Callable[[NDArray[np.float64]], NDArray[np.uint32]],
        *,
        can_settle: bool = False,
    ) -> None:
        self.values = np.empty(0)
        self.is_settled = False
        self._max_values, self._hash_of, self._can_settle = max_values, hash_of, can_settle
        self._halvings = 0
        self._pending: list[NDArray[np.float64]] = []
        self._n_pending = 0

    @property
    def weight(self) -> int:
        return int(2**self._halvings)

    def add(self, values: NDArray[np.float64]) -> None:
        if self.is_settled:
            return
        if self._halvings:
            values = self._select(values)
        self._pending.append(values)
        self._n_pending += len(values)
        if self._n_pending > self._max_values:
            self.merge()

    def merge(self) -> None:
        """Merge the values added since the last merge, and halve the sample while it is too big."""
        self.values = np.unique(np.concatenate([self.values, *self._pending]))
        self._pending, self._n_pending = [], 0
        while len(self.values) > self._max_values and not self.is_settled:
            n_values = len(self.values)
            if self._can_settle and _count_as_float32(self.values) * SETTLED_RATIO < n_values:
                self.is_settled = True
                return
            self._halvings += 1
            self.values = self._select(self.values)

    def _select(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values that are kept after the present number of halvings."""
        selected: NDArray[np.float64] = values[
            self._hash_of(values) >> np.uint32(32 - self._halvings) == 0
        ]
        return selected


def _count_lost(values: NDArray[np.float64]) -> tuple[int, bool, bool]:
    """Count the values that float32 loses.

    Args:
        values: Different values, float64 `(n,)`.

    Returns:
        Their number, whether the loss is curable, and whether the values are crowded, as
        `PrecisionLoss` has them.
    """
    if _count_as_float32(values) == len(values):
        return 0, False, False
    with np.errstate(over="ignore", invalid="ignore"):
        _, counts = np.unique(values.astype(np.float32), return_counts=True)
        scale = values.std()
        scaled = ((values - values.mean()) / (scale if scale > 0 else 1)).astype(np.float32)
    lost, lost_after_scaling = len(values) - len(counts), len(values) - len(np.unique(scaled))
    is_curable = lost_after_scaling <= MAX_UNCURED_SHARE * lost
    return lost, is_curable, bool(counts.max() >= MIN_CROWD)


def _count_as_float32(values: NDArray[np.float64]) -> int:
    with np.errstate(over="ignore"):
        return len(np.unique(values.astype(np.float32)))


def _hash_as_float32(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    with np.errstate(over="ignore"):
        # The sum turns −0 into 0, so that both have one hash.
        return _mix((values.astype(np.float32) + np.float32(0)).view(np.uint32))


def _hash_float64(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    bits = (values + 0.0).view(np.uint64)
    upper = (bits >> np.uint64(32)).astype(np.uint32)
    return _mix(bits.astype(np.uint32) ^ _mix(upper))


def _mix(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread numbers over all of 32 bits (the finalizer of MurmurHash3, A. Appleby)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    mixed: NDArray[np.uint32] = bits ^ (bits >> np.uint32(16))
    return mixed


def measure_precision_losses(names: Sequence[str], rows: NDArray[Any]) -> dict[str, PrecisionLoss]:
    """Return what float32 loses of each column that loses a value.

    Args:
        names: Names of the columns.
        rows: Numbers, `(n, len(names))`. Arrays of float32 and of short integers lose nothing.
    """
    if rows.dtype.kind not in "fiu" or np.can_cast(rows.dtype, np.float32):
        return {}
    found = {}
    for name, column in zip(names, rows.T, strict=True):
        counter = DistinctNumbers.of_table(len(names))
        for start in range(0, len(column), SLICE_ROWS):
            counter.add(column[start : start + SLICE_ROWS].astype(np.float64))
        loss = counter.loss(name)
        if loss.lost:
            found[name] = loss
    return found


def warn_of_precision_losses(
    names: Sequence[str], rows: NDArray[Any], remedy: str, stacklevel: int
) -> None:
    """Warn of columns in which float32 merges different values.

    Args:
        names: Names of the columns.
        rows: Features as they are given, `(n, len(names))`.
        remedy: Advice, the last part of the warning.
        stacklevel: Number of calls between the user and this function, as of `warnings.warn`.
    """
    if not len(rows) or rows.dtype.kind not in "fiu" or np.can_cast(rows.dtype, np.float32):
        return
    # Counting takes time, and is only worth it where values lie close together and far from zero.
    low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        is_close = (high - low) * MIN_OFFSET_RATIO < np.maximum(np.abs(low), np.abs(high))
    places = np.flatnonzero(is_close)
    losses = measure_precision_losses([names[int(place)] for place in places], rows[:, places])
    reported = [loss for loss in losses.values() if loss.needs_float64]
    if reported:
        more = f" and {len(reported) - MAX_LISTED} more" if len(reported) > MAX_LISTED else ""
        warnings.warn(
            f"expected features whose different values float32 can tell apart; got "
            f"{', '.join(loss.description for loss in reported[:MAX_LISTED])}{more}; {remedy}",
            stacklevel=stacklevel + 1,
        )
