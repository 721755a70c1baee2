"""Precision: how many different numbers of a column float32 cannot tell apart.

A network computes in float32, but its scaling can be done before that: a column whose values lie
close together and far from zero, as coordinates in metres or times in milliseconds do, keeps its
digits if an offset is subtracted from it in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

LOST = 0.01  # share of a column's different values that float32 may lose without a remedy
CURED = 0.25  # share of the lost values that may stay lost after scaling in float64
CROWDED = 16  # different values in one of float32, more than meet there by chance
MOST_VALUES = 2**18  # different values of all columns together in a sample, 8 bytes each
FEWEST_VALUES, MOST_OF_COLUMN = 2**10, 2**14  # of one column
SETTLED = 8  # values to one of float32 from which on a sample need not grow
DEVIATIONS = 4  # of an estimate, that chance does not explain
SLICE = 2**16  # rows looked at in one go
CLOSE = 16  # times the spread of a column that it must be away from zero
NAMED = 5  # columns in a warning


@dataclass(frozen=True)
class PrecisionLoss:
    """What float32 would make of a column.

    Attributes:
        name: Name of the column.
        distinct: Number of different values, in float64.
        lost: How many fewer different values there would be in float32.
        exactness: What the two numbers are, in words: exact if empty, estimated from a sample of
            the values, or the least they can be.
        is_curable: Whether most of the lost values are told apart once an offset and a scale are
            applied in float64.
        is_crowded: Whether float32 makes one of so many values that it is no chance. Where it is
            neither of the two, many values were drawn that lie everywhere, and some of them meet.
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
        """Whether the column is worth an input of its own in float64."""
        return self.share > LOST and (self.is_curable or self.is_crowded)

    @property
    def in_words(self) -> str:
        """The column and its numbers: "northing (1,000 different values, of which 997 lost)"."""
        lost = f"of which {self.lost:,} lost"
        if self.is_crowded and not self.is_curable:  # it spans very different magnitudes
            lost += ", and told apart by --scaling quantile alone"
        return f"{self.name} ({self.exactness}{self.distinct:,} different values, {lost})"


class DistinctNumbers:
    """Counts the different values of a column in float64 and in float32, in bounded memory.

    All values are held until they are too many. Then there are two samples of them: one of values
    drawn by a hash of themselves, which says how many there are; and one drawn by a hash of what
    float32 makes of them, so that values that meet are in it together or not at all.

    Args:
        most: Number of values in a sample.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values = _Sample(most, _hash_of_double)
        self._meeting = _Sample(most, _hash_of_single, settles=True)

    @classmethod
    def of_table(cls, columns: int) -> DistinctNumbers:
        """Return a counter for one of so many columns."""
        return cls(min(max(MOST_VALUES // max(columns, 1), FEWEST_VALUES), MOST_OF_COLUMN))

    def add(self, values: NDArray[np.float64]) -> None:
        """Take in values, float64 `(n,)`; NaN and infinity are no values."""
        values = values[np.isfinite(values)]
        self._values.add(values)
        self._meeting.add(values)

    def loss(self, name: str) -> PrecisionLoss:
        """Return the verdict on the column `name`."""
        self._values.merge()
        self._meeting.merge()
        values, meeting = self._values, self._meeting
        distinct = values.times * len(values.kept)
        if not distinct:
            return PrecisionLoss(name, 0, 0)
        if values.times == 1:
            lost, cured, crowded = _lost(values.kept)
            return PrecisionLoss(name, distinct, lost, "", cured, crowded)
        lost, cured, crowded = _lost(meeting.kept)
        if meeting.is_settled:
            return PrecisionLoss(name, len(meeting.kept), lost, "at least ", cured, crowded)
        share = lost / max(len(meeting.kept), 1)
        # One value of float32 that very many meet in is most likely not in the sample.
        others = 1 - meeting.times * (len(meeting.kept) - lost) / distinct
        if others - share > DEVIATIONS * (2 / self._most) ** 0.5:
            _, cured, crowded = _lost(values.kept)
            share = others
        return PrecisionLoss(name, distinct, round(share * distinct), "about ", cured, crowded)


class _Sample:
    """Different values, of which half are left out whenever they are more than `most`.

    Attributes:
        kept: The values, float64, rising.
        times: Number of values for each one kept.
        is_settled: Whether float32 makes one of so many that no more are taken in.
    """

    def __init__(
        self,
        most: int,
        hash_of: Callable[[NDArray[np.float64]], NDArray[np.uint32]],
        *,
        settles: bool = False,
    ) -> None:
        self.kept = np.empty(0)
        self.is_settled = False
        self._most, self._hash, self._settles = most, hash_of, settles
        self._halvings = 0
        self._waiting: list[NDArray[np.float64]] = []
        self._n_waiting = 0

    @property
    def times(self) -> int:
        return int(2**self._halvings)

    def add(self, values: NDArray[np.float64]) -> None:
        if self.is_settled:
            return
        if self._halvings:
            values = self._half(values)
        self._waiting.append(values)
        self._n_waiting += len(values)
        if self._n_waiting > self._most:
            self.merge()

    def merge(self) -> None:
        """Take in what waits."""
        self.kept = np.unique(np.concatenate([self.kept, *self._waiting]))
        self._waiting, self._n_waiting = [], 0
        while len(self.kept) > self._most and not self.is_settled:
            if self._settles and _singles(self.kept) * SETTLED < len(self.kept):
                self.is_settled = True
                return
            self._halvings += 1
            self.kept = self._half(self.kept)

    def _half(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        half: NDArray[np.float64] = values[
            self._hash(values) >> np.uint32(32 - self._halvings) == 0
        ]
        return half


def _lost(values: NDArray[np.float64]) -> tuple[int, bool, bool]:
    """Return how many of some different values float32 loses, whether curably, and in a crowd."""
    if not len(values):
        return 0, False, False
    with np.errstate(over="ignore", invalid="ignore"):
        _, together = np.unique(values.astype(np.float32), return_counts=True)
        scale = values.std()
        scaled = ((values - values.mean()) / (scale if scale > 0 else 1)).astype(np.float32)
    lost, still_lost = len(values) - len(together), len(values) - len(np.unique(scaled))
    return lost, lost > 0 and still_lost <= CURED * lost, bool(together.max() >= CROWDED)


def _singles(values: NDArray[np.float64]) -> int:
    with np.errstate(over="ignore"):
        return len(np.unique(values.astype(np.float32)))


def _hash_of_single(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    with np.errstate(over="ignore"):
        return _mix((values.astype(np.float32) + np.float32(0)).view(np.uint32))  # one zero


def _hash_of_double(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    bits = (values + 0.0).view(np.uint64)
    upper = (bits >> np.uint64(32)).astype(np.uint32)
    return _mix(bits.astype(np.uint32) ^ _mix(upper))


def _mix(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread numbers over all of 32 bits (the finalizer of MurmurHash3, A. Appleby)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    found: NDArray[np.uint32] = bits ^ (bits >> np.uint32(16))
    return found


def measure_precision_losses(names: Sequence[str], rows: NDArray[Any]) -> dict[str, PrecisionLoss]:
    """Return what float32 would make of the columns of `rows`, `(n, len(names))`.

    Only columns that lose a value are in it: of arrays in float32 and of short integers none is.
    """
    if rows.dtype.kind not in "fiu" or np.can_cast(rows.dtype, np.float32):
        return {}
    found = {}
    for name, column in zip(names, rows.T, strict=True):
        counter = DistinctNumbers.of_table(len(names))
        for start in range(0, len(column), SLICE):
            counter.add(column[start : start + SLICE].astype(np.float64))
        loss = counter.loss(name)
        if loss.lost:
            found[name] = loss
    return found


def warn_of_precision_losses(
    names: Sequence[str], rows: NDArray[Any], remedy: str, stacklevel: int
) -> None:
    """Warn of columns whose different values a network of float32 takes for the same.

    Args:
        names: Names of the columns.
        rows: Features as they came, `(n, len(names))`.
        remedy: Advice, the last part of the warning.
        stacklevel: Number of calls between the user and this function, as of `warnings.warn`.
    """
    if not len(rows) or rows.dtype.kind not in "fiu" or np.can_cast(rows.dtype, np.float32):
        return
    # Only where values lie close together and far from zero is it worth to count them.
    low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
    with np.errstate(invalid="ignore"):
        close = np.flatnonzero((high - low) * CLOSE < np.maximum(np.abs(low), np.abs(high)))
    found = measure_precision_losses([names[int(place)] for place in close], rows[:, close])
    lossy = [loss for loss in found.values() if loss.needs_float64]
    if lossy:
        more = f" and {len(lossy) - NAMED} more" if len(lossy) > NAMED else ""
        warnings.warn(
            f"expected features whose different values float32 can tell apart; got "
            f"{', '.join(loss.in_words for loss in lossy[:NAMED])}{more}; {remedy}",
            stacklevel=stacklevel + 1,
        )
