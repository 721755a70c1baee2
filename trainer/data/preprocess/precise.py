"""Preprocessing of a float64 column, whose values float32 would merge: scaled before the cast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.quantiles import Quantiles
from trainer.data.preprocess.scaler import Scaling, limit_smoothly, offset_and_scale

CONSTANT_SPREAD = 1e-15  # relative to the offset: no more than float64 rounding


@dataclass(frozen=True)
class Precise:
    """One column filled and scaled in float64, then cast to float32; with a flag for gaps.

    Attributes:
        name: Name of the column.
        fill: Value that replaces a gap, float64; NaN if gaps are kept.
        offset: Number subtracted first.
        scale: Number divided by then, above 0.
        quantiles: Float64 quantiles of the column, used instead of offset and scale; None for the
            other scalings.
        has_gap_flag: Whether the network has an input that is 1 for a gap and 0 otherwise.
        is_limited: Whether `limit_smoothly` is applied after the cast to float32.
    """

    name: str
    fill: float
    offset: float
    scale: float
    quantiles: Quantiles | None
    has_gap_flag: bool
    is_limited: bool = False

    @classmethod
    def fit(
        cls, name: str, values: NDArray[np.float64], scaling: Scaling, *, gaps: bool
    ) -> Precise:
        """Take the statistics of training rows.

        Args:
            name: Name of the column.
            values: Values of the training rows, float64 `(n,)`, NaN for a gap.
            scaling: Scaling of the column; see `Scaler.fit`, or `quantile` for `Quantiles`. For
                `range`, lowest and highest value of this column alone become 0 and 1, since it has
                other units than pixels have.
            gaps: Whether a gap is to be filled.
        """
        is_gap = np.isnan(values)
        present = values[~is_gap]
        fill = (float(np.median(present)) if present.size else 0.0) if gaps else np.nan
        rows = np.where(is_gap, fill, values)[:, None]
        offset, scale = offset_and_scale(rows, scaling, CONSTANT_SPREAD)
        return cls(
            name,
            fill,
            float(offset[0]),
            float(scale[0]),
            quantiles=Quantiles.fit(rows, np.float64) if scaling == "quantile" else None,
            has_gap_flag=gaps and bool(is_gap.any()),
            is_limited=scaling == "robust_clip",
        )

    @property
    def width(self) -> int:
        """Number of network inputs that a value becomes."""
        return 1 + self.has_gap_flag

    @property
    def span(self) -> float:
        """Largest magnitude that the quantiles can return; 0 without quantiles."""
        return 0.0 if self.quantiles is None else float(self.quantiles.span[0])

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return network inputs, float32 `(n, width)`, of values, float64 `(n,)`."""
        is_gap = np.isnan(values)
        filled = np.where(is_gap, self.fill, values)[:, None]
        with np.errstate(over="ignore"):  # far outliers are infinite, as in the graph
            if self.quantiles is not None:
                scaled = self.quantiles.transform(filled)
            else:
                scaled = ((filled - self.offset) / self.scale).astype(np.float32)
        if self.is_limited:
            scaled = limit_smoothly(scaled)
        if not self.has_gap_flag:
            return scaled
        return np.concatenate([scaled, is_gap[:, None].astype(np.float32)], axis=1)
