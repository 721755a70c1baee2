"""Quantile scaling: columns transformed so that training rows are normally distributed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOTS = 65
# The lowest and highest training values are at the quantiles of half a knot's share: z = ±2.4.
EDGE = 0.5 / (KNOTS - 1)
SLICE_RAMPS = 2**22  # ramps computed at once


@dataclass(frozen=True)
class Quantiles:
    """A line through each column's quantiles: z = start + Σ rise · clip((x − knot) / run, 0, 1).

    Beyond the lowest and highest training value z is constant, so that an outlier counts no more
    than the largest value. Networks learn skewed columns better in this form (Gorishniy et al.
    2021, https://arxiv.org/abs/2106.11959, who use it throughout).

    All arrays have one dtype, float32 or float64.

    Attributes:
        offset: Mean of the training rows, `(n_columns,)`.
        scale: Standard deviation of the training rows, `(n_columns,)`; 1 where it is 0.
        start: Value of z at the lowest training value, `(n_columns,)`.
        knots: Values at which the ramps begin, `(n_columns, n_ramps)`.
        run: Length of each ramp, `(n_columns, n_ramps)`, above 0.
        rise: Height of each ramp, `(n_columns, n_ramps)`; 0 for ramps that a column does not need.
    """

    offset: NDArray[np.floating]
    scale: NDArray[np.floating]
    start: NDArray[np.floating]
    knots: NDArray[np.floating]
    run: NDArray[np.floating]
    rise: NDArray[np.floating]

    @classmethod
    def fit(cls, rows: NDArray[np.floating], dtype: type[np.floating] = np.float32) -> Quantiles:
        """Take the quantiles of training rows.

        Args:
            rows: Training rows, floats `(n, n_columns)`, without gaps.
            dtype: Dtype of the arrays.
        """
        from scipy.special import ndtri  # noqa: PLC0415 - slow to import

        shares = np.linspace(0, 1, KNOTS)
        normal_quantiles = ndtri(np.clip(shares, EDGE, 1 - EDGE))
        n_columns = rows.shape[1]
        start = np.zeros(n_columns, dtype)
        knots, rise = np.zeros((2, n_columns, KNOTS - 1), dtype)
        run = np.ones((n_columns, KNOTS - 1), dtype)
        for column in range(n_columns):
            values = np.quantile(rows[:, column].astype(np.float64), shares, method="lower")
            distinct, first, count = np.unique(values, return_index=True, return_counts=True)
            # A value that many rows have is at the mean of their quantiles.
            z = np.add.reduceat(normal_quantiles, first) / count
            start[column] = z[0]
            n_ramps = len(distinct) - 1
            knots[column, :n_ramps] = distinct[:-1]
            run[column, :n_ramps] = np.diff(distinct)
            rise[column, :n_ramps] = np.diff(z)
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
        """Bound of |z| in each column, float64 `(n_columns,)`, to which rounding is relative."""
        rise = self.rise.sum(axis=1, dtype=np.float64)
        return np.asarray(np.abs(self.start) + rise)

    def transform(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return z, float32 `(n, n_columns)`.

        Args:
            rows: Values of the quantiles' dtype, `(n, n_columns)`.
        """
        out = np.empty(rows.shape, np.float32)
        step = max(1, SLICE_RAMPS // max(1, self.knots.size))
        for first in range(0, len(rows), step):
            part = rows[first : first + step, :, None]
            ramps = ((part - self.knots) / self.run).clip(0, 1)
            out[first : first + step] = self.start + (ramps * self.rise).sum(axis=2)
        return out
