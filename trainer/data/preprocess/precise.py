"""Precise numbers: scaled in float64, where float32 would make one number of several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.quantiles import Quantiles
from trainer.data.preprocess.scaler import Scaling, offset_and_scale

CONSTANT = 1e-15  # spread, relative to the offset, that is but float64 rounding


@dataclass(frozen=True)
class Precise:
    """One column filled and scaled in float64, then float32; and 1 or 0 if its gaps are flagged.

    Attributes:
        name: Name of the column.
        fill: Value that replaces a gap, float64; NaN if gaps are kept.
        offset: Number subtracted first.
        scale: Number divided by then, above 0.
        quantiles: Float64 quantiles of the column; they take the place of offset and scale. None
            for the other scalings.
        flagged: Whether the network has an input that is 1 for a gap and 0 otherwise.
    """

    name: str
    fill: float
    offset: float
    scale: float
    quantiles: Quantiles | None
    flagged: bool

    @classmethod
    def fit(cls, name: str, known: NDArray[np.float64], scaling: Scaling, *, gaps: bool) -> Precise:
        """Take the statistics of training rows.

        Args:
            name: Name of the column.
            known: Values of the training rows, float64 `(n,)`, NaN for a gap.
            scaling: As of `Scaler.fit`, or `quantile`. By `range`, lowest and highest value of this
                column alone become 0 and 1: it has other units than the pixels it may stand beside.
            gaps: Whether a gap is to be filled.
        """
        missing = np.isnan(known)
        there = known[~missing]
        fill = (float(np.median(there)) if there.size else 0.0) if gaps else np.nan
        rows = np.where(missing, fill, known)[:, None]
        offset, scale = offset_and_scale(rows, scaling, CONSTANT)
        return cls(
            name,
            fill,
            float(offset[0]),
            float(scale[0]),
            quantiles=Quantiles.fit(rows, np.float64) if scaling == "quantile" else None,
            flagged=gaps and bool(missing.any()),
        )

    @property
    def width(self) -> int:
        """How many numbers a value becomes."""
        return 1 + self.flagged

    @property
    def span(self) -> float:
        """How far the quantiles reach; 0 without them."""
        return 0.0 if self.quantiles is None else float(self.quantiles.span[0])

    def transform(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Turn values, float64 `(n,)`, into network inputs, `(n, width)`."""
        missing = np.isnan(values)
        filled = np.where(missing, self.fill, values)[:, None]
        with np.errstate(over="ignore"):  # far outliers are infinite, as in the graph
            if self.quantiles is not None:
                scaled = self.quantiles.transform(filled)
            else:
                scaled = ((filled - self.offset) / self.scale).astype(np.float32)
        if not self.flagged:
            return scaled
        return np.concatenate([scaled, missing[:, None].astype(np.float32)], axis=1)
