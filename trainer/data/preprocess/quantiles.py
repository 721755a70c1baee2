"""Quantiles: columns bent until training rows are normally distributed, whatever they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOTS = 65
# The lowest and highest training values lie at the quantiles of half a knot's share: ±2.4.
EDGE = 0.5 / (KNOTS - 1)
SLICE = 2**22  # ramps computed in one go


@dataclass(frozen=True)
class Quantiles:
    """A line through each column's quantiles: z = start + Σ rise · clip((x − knot) / run, 0, 1).

    Beyond the lowest and highest training value it stays level, so that an outlier is no more than
    the largest value. Skewed columns come out as even as others, which networks learn from
    better (Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959, who use it throughout).

    Attributes:
        offset: the mean of the training rows, float32 or float64 `(n_columns,)`.
        scale: their standard deviation, or 1 if it is 0, likewise.
        start: z at the lowest value, likewise.
        knots: where ramps begin, `(n_columns, n_ramps)` of that dtype.
        run: how long they are, likewise, above 0.
        rise: how high they are, likewise, 0 of those that a column has no use for.
    """

    offset: NDArray[np.floating]
    scale: NDArray[np.floating]
    start: NDArray[np.floating]
    knots: NDArray[np.floating]
    run: NDArray[np.floating]
    rise: NDArray[np.floating]

    @classmethod
    def fit(cls, rows: NDArray[np.floating], dtype: type[np.floating] = np.float32) -> Quantiles:
        """The quantiles of training rows, `(n, n_columns)`, none missing; `dtype` is their own."""
        from scipy.special import ndtri  # noqa: PLC0415 - slow to import

        shares = np.linspace(0, 1, KNOTS)
        places = ndtri(np.clip(shares, EDGE, 1 - EDGE))
        columns = rows.shape[1]
        start = np.zeros(columns, dtype)
        knots, rise = np.zeros((2, columns, KNOTS - 1), dtype)
        run = np.ones((columns, KNOTS - 1), dtype)
        for column in range(columns):
            values = np.quantile(rows[:, column].astype(np.float64), shares, method="lower")
            at, first, count = np.unique(values, return_index=True, return_counts=True)
            # A value that many rows share lies in the middle of their quantiles.
            z = np.add.reduceat(places, first) / count
            start[column] = z[0]
            ramps = len(at) - 1
            knots[column, :ramps], run[column, :ramps] = at[:-1], np.diff(at)
            rise[column, :ramps] = np.diff(z)
        scale = rows.std(axis=0, dtype=np.float64)
        return cls(
            rows.mean(axis=0, dtype=np.float64).astype(dtype),
            np.where(scale > 0, scale, 1).astype(dtype),
            start,
            knots,
            run,
            rise,
        )

    @property
    def span(self) -> NDArray[np.float64]:
        """How far z reaches, `(n_columns,)`: what rounding in its sum is to be measured by."""
        rise = self.rise.sum(axis=1, dtype=np.float64)
        return np.asarray(np.abs(self.start) + rise)

    def transform(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """`(n, n_columns)` of the quantiles' dtype to float32 of the same shape."""
        out = np.empty(rows.shape, np.float32)
        step = max(1, SLICE // max(1, self.knots.size))
        for first in range(0, len(rows), step):
            part = rows[first : first + step, :, None]
            ramps = ((part - self.knots) / self.run).clip(0, 1)
            out[first : first + step] = self.start + (ramps * self.rise).sum(axis=2)
        return out
