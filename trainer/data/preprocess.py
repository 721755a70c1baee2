"""Preprocessing, fitted on training rows only and exported inside the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Standardizer:
    """(x − mean) / scale, column by column, in float32 as the graph does it for features.

    A column that never varies has scale 1, so it comes out as 0 in training.

    Attributes:
        mean: float32 `(n_columns,)`.
        scale: float32 `(n_columns,)`, the population standard deviation.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def fit(cls, rows: NDArray[Any]) -> Standardizer:
        """Means and deviations of `rows`, `(n, n_columns)`, computed in float64."""
        mean = rows.mean(axis=0, dtype=np.float64)
        scale = rows.std(axis=0, dtype=np.float64)
        scale[scale <= 1e-7 * np.abs(mean)] = 1  # what is left of a constant is float32 rounding
        scale[scale < np.finfo(np.float32).tiny] = 1
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def transform(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Standardised rows, float32 of the same shape; float64 rows are so until the end."""
        return ((rows - self.mean) / self.scale).astype(np.float32, copy=False)

    def inverse(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `transform` was given: x = z · scale + mean."""
        return rows * self.scale + self.mean
