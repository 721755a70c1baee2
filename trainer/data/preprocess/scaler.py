"""Scaling: columns brought to a common size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["standard", "minmax", "robust", "quantile", "range"]
CONSTANT = 1e-7  # spread, relative to the offset, that is but float32 rounding


@dataclass(frozen=True)
class Scaler:
    """(x − offset) / scale, column by column, in float32 as the graph does it for features.

    Attributes:
        offset: float32 `(n_columns,)`.
        scale: float32 `(n_columns,)`, above 0.
    """

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, rows: NDArray[Any], scaling: Scaling = "standard") -> Scaler:
        """What brings `rows`, `(n, n_columns)`, to a common scale; computed in float64.

        Args:
            rows: to be seen in training.
            scaling: `standard` takes mean and population standard deviation of each column;
                a column that never varies has scale 1, and so comes out as 0. `minmax` takes lowest
                and highest of each column to 0 and 1. `robust` takes the median and the distance of
                the quartiles, which outliers do not move; where the quartiles are one value, the
                standard deviation. `range` takes the lowest and the highest value of all columns
                together to 0 and 1: for pixels and other columns of one kind, whose differences in
                spread mean something.
        """
        offset, scale = offset_and_scale(rows, scaling, CONSTANT)
        return cls(offset.astype(np.float32), scale.astype(np.float32))

    def transform(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Scaled rows, float32 of the same shape; float64 rows are so until the end."""
        return ((rows - self.offset) / self.scale).astype(np.float32, copy=False)

    def inverse(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `transform` was given: x = z · scale + offset."""
        return rows * self.scale + self.offset


def offset_and_scale(
    rows: NDArray[Any], scaling: Scaling, constant: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each column is to be moved and divided by, float64 `(n_columns,)` each.

    Args:
        rows: Training rows, `(n, n_columns)`.
        scaling: As of `Scaler.fit`.
        constant: Spread, relative to the offset, that is what rounding leaves of a constant.
    """
    if scaling == "range" and rows.size:
        low, high = np.float64(rows.min()), np.float64(rows.max())
        offset, scale = np.full((2, rows.shape[1]), [[low], [high - low]])
    elif scaling == "minmax":
        offset = rows.min(axis=0).astype(np.float64)
        scale = rows.max(axis=0) - offset
    elif scaling == "robust":
        low, offset, high = np.quantile(rows.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
        scale = np.where(high > low, high - low, rows.std(axis=0, dtype=np.float64))
    else:
        offset = rows.mean(axis=0, dtype=np.float64)
        scale = rows.std(axis=0, dtype=np.float64)
    scale[scale <= constant * np.abs(offset)] = 1
    scale[scale < np.finfo(np.float32).tiny] = 1
    return offset, scale
