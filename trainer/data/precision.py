"""Precision: how many different numbers of a column float32 would make the same.

A network computes in float32, but its scaling can be done before that: a column whose values lie
close together and far from zero, as coordinates in metres or times in milliseconds do, keeps its
digits if an offset is subtracted from it in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOST = 0.01  # share of a column's different values that float32 may lose without a remedy
CURED = 0.25  # share of the lost values that may stay lost after scaling in float64
MOST_VALUES = 2**22  # different values of all columns together that are held, 8 bytes each
FEWEST_VALUES, MOST_OF_COLUMN = 2**10, 2**16  # of one column
CROWDED = 8  # values to one of float32 from which on the sample need not grow
SLICE = 2**16  # rows looked at in one go
NAMED = 5  # columns in a warning


@dataclass(frozen=True)
class Loss:
    """What float32 would make of a column.

    Attributes:
        name: Name of the column.
        distinct: Number of different values, in float64; an estimate if `is_sampled`.
        lost: How many fewer different values there would be in float32; likewise.
        is_sampled: Whether the numbers are of a sample of the values.
        is_curable: Whether most of the lost values are told apart once an offset and a scale are
            applied in float64. They are not where one column spans very different magnitudes, or
            where so many values were drawn that some of them meet by chance.
    """

    name: str
    distinct: int
    lost: int
    is_sampled: bool = False
    is_curable: bool = False

    @property
    def share(self) -> float:
        """Share of the different values that would be lost, 0 to 1."""
        return self.lost / self.distinct if self.distinct else 0.0

    @property
    def needs_float64(self) -> bool:
        """Whether the column is worth an input of its own in float64."""
        return self.share > LOST and self.is_curable

    @property
    def in_words(self) -> str:
        """The column and its numbers: "northing (1,000 different values, of which 997 lost)"."""
        about = "about " if self.is_sampled else ""
        lost = f"of which {self.lost:,} lost"
        return f"{self.name} ({about}{self.distinct:,} different values, {lost})"


class DistinctNumbers:
    """Counts the different values of a column in float64 and in float32, in bounded memory.

    Values are kept by a hash of what float32 makes of them, so that those that meet are kept or
    left out together; once there are more than `most`, half of them are left out, again and again.

    Args:
        most: Number of values to hold.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = np.empty(0)
        self._waiting: list[NDArray[np.float64]] = []
        self._n_waiting = 0
        self._halvings = 0
        self._is_settled = False  # so crowded that no further value can change the verdict

    @classmethod
    def of_table(cls, columns: int) -> DistinctNumbers:
        """Return a counter for one of so many columns."""
        return cls(min(max(MOST_VALUES // max(columns, 1), FEWEST_VALUES), MOST_OF_COLUMN))

    def add(self, values: NDArray[np.float64]) -> None:
        """Take in values, float64 `(n,)`; NaN and infinity are no values."""
        if self._is_settled:
            return
        values = values[np.isfinite(values)]
        if self._halvings:
            values = values[_hash(values) >> np.uint32(32 - self._halvings) == 0]
        self._waiting.append(values)
        self._n_waiting += len(values)
        if self._n_waiting > self._most:
            self._merge()

    def loss(self, name: str) -> Loss:
        """Return the verdict on the column `name`."""
        self._merge()
        values, n = self._kept, len(self._kept)
        if not n:
            return Loss(name, 0, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            lost = n - len(np.unique(values.astype(np.float32)))
            scale = values.std()
            scaled = ((values - values.mean()) / (scale if scale > 0 else 1)).astype(np.float32)
        still_lost = n - len(np.unique(scaled))
        times = 2**self._halvings
        return Loss(
            name, n * times, lost * times,
            is_sampled=self._halvings > 0 or self._is_settled,
            is_curable=lost > 0 and still_lost <= CURED * lost,
        )  # fmt: skip

    def _merge(self) -> None:
        self._kept = np.unique(np.concatenate([self._kept, *self._waiting]))
        self._waiting, self._n_waiting = [], 0
        while len(self._kept) > self._most and not self._is_settled:
            with np.errstate(over="ignore"):
                singles = len(np.unique(self._kept.astype(np.float32)))
            if singles * CROWDED < len(self._kept):
                self._is_settled = True
                return
            self._halvings += 1
            self._kept = self._kept[_hash(self._kept) >> np.uint32(32 - self._halvings) == 0]


def _hash(values: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Hash what float32 makes of values (the finalizer of MurmurHash3, A. Appleby)."""
    with np.errstate(over="ignore"):
        mixed = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # one zero
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    found: NDArray[np.uint32] = mixed ^ (mixed >> np.uint32(16))
    return found


def losses_of(names: Sequence[str], rows: NDArray[Any]) -> dict[str, Loss]:
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


def warn_of_losses(names: Sequence[str], rows: NDArray[Any], remedy: str, stacklevel: int) -> None:
    """Warn of columns whose different values a network of float32 takes for the same.

    Args:
        names: Names of the columns.
        rows: Features as they came, `(n, len(names))`.
        remedy: What to do, the last part of the warning.
        stacklevel: Number of calls between the user and this function, as of `warnings.warn`.
    """
    lossy = [loss for loss in losses_of(names, rows).values() if loss.needs_float64]
    if lossy:
        more = f" and {len(lossy) - NAMED} more" if len(lossy) > NAMED else ""
        warnings.warn(
            f"expected features whose different values float32 can tell apart; got "
            f"{', '.join(loss.in_words for loss in lossy[:NAMED])}{more}; {remedy}",
            stacklevel=stacklevel + 1,
        )
