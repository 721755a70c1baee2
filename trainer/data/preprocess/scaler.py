"""Linear scaling: columns shifted and divided so that their values are near 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["standard", "minmax", "robust", "robust_clip", "quantile", "range"]
CONSTANT_SPREAD = 1e-7  # relative to the offset: no more than float32 rounding
LIMIT = 3.0  # which the magnitude of limited values approaches
# Values are first cut here, where they are LIMIT in float32 already, so that no square overflows.
LARGEST_UNLIMITED = 1e6


@dataclass(frozen=True)
class Scaler:
    """(x − offset) / scale, column by column, in float32 as the graph computes it for features.

    Attributes:
        offset: Number subtracted first, float32 `(n_columns,)`.
        scale: Number divided by then, float32 `(n_columns,)`, above 0.
        is_limited: Whether `limit_smoothly` is applied to the result; there is no inverse then.
    """

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    is_limited: bool = False

    @classmethod
    def fit(cls, rows: NDArray[Any], scaling: Scaling = "standard") -> Scaler:
        """Compute offset and scale of each column, in float64.

        Args:
            rows: Training rows, numbers `(n, n_columns)`.
            scaling: Kind of scaling. `standard` uses mean and population standard deviation; a
                constant column has scale 1, and so becomes 0. `minmax` maps lowest and highest
                value of each column to 0 and 1. `robust` uses the median and the distance of the
                quartiles, which outliers do not move, or the standard deviation where both
                quartiles are equal. `robust_clip` is `robust` with `limit_smoothly`. `range` maps
                lowest and highest value of all columns together to 0 and 1, for pixels and other
                columns of one unit, whose differences in spread have a meaning.
        """
        offset, scale = offset_and_scale(rows, scaling, CONSTANT_SPREAD)
        is_limited = scaling == "robust_clip"
        return cls(offset.astype(np.float32), scale.astype(np.float32), is_limited)

    def transform(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return scaled rows, float32 of the same shape; float64 rows are cast at the end."""
        if not self.is_limited:
            return ((rows - self.offset) / self.scale).astype(np.float32, copy=False)
        with np.errstate(over="ignore"):  # an infinite quotient becomes ±LIMIT
            scaled = ((rows - self.offset) / self.scale).astype(np.float32, copy=False)
        return limit_smoothly(scaled)

    def inverse(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rows that `transform` maps to these: x = z · scale + offset."""
        return rows * self.scale + self.offset


def limit_smoothly(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return z / √(1 + (z/3)²), float32 of the same shape, between -3 and 3.

    Values near 0 hardly change, and outliers keep their order. Holzmüller et al. 2024,
    https://arxiv.org/abs/2407.04491, section 3.
    """
    z = z.clip(-LARGEST_UNLIMITED, LARGEST_UNLIMITED)
    # The graph has the same operations, each of which is rounded alike: the results are equal.
    limited: NDArray[np.float32] = z / np.sqrt(z * z * np.float32(1 / LIMIT**2) + np.float32(1))
    return limited


def offset_and_scale(
    rows: NDArray[Any], scaling: Scaling, constant_spread: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the offset and the scale of each column, float64 `(n_columns,)` each.

    Args:
        rows: Training rows, numbers `(n, n_columns)`.
        scaling: Kind of scaling; see `Scaler.fit`.
        constant_spread: Largest spread of a constant column, relative to its offset.
    """
    if scaling == "range" and rows.size:
        low, high = np.float64(rows.min()), np.float64(rows.max())
        offset, scale = np.full((2, rows.shape[1]), [[low], [high - low]])
    elif scaling == "minmax":
        offset = rows.min(axis=0).astype(np.float64)
        scale = rows.max(axis=0) - offset
    elif scaling in ("robust", "robust_clip"):
        low, offset, high = np.quantile(rows.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
        scale = np.where(high > low, high - low, rows.std(axis=0, dtype=np.float64))
    else:
        offset = rows.mean(axis=0, dtype=np.float64)
        scale = rows.std(axis=0, dtype=np.float64)
    scale[scale <= constant_spread * np.abs(offset)] = 1
    scale[scale < np.finfo(np.float32).tiny] = 1
    return offset, scale
