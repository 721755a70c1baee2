"""Preprocessing of the columns of numbers and booleans: gaps filled and flagged, values scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.quantiles import Quantiles
from trainer.data.preprocess.scaler import Scaler, Scaling


@dataclass(frozen=True)
class Numbers:
    """All columns of numbers and booleans.

    A row becomes its values, filled and scaled, and then for each flagged column 1 or 0: whether
    the value is a gap.

    Attributes:
        fill: Value that replaces a gap, float32 `(n_columns,)`; NaN in columns that keep gaps.
        scaler: Scaling of the filled columns.
        flagged_columns: Positions of the columns that have a flag, int64 `(n_flags,)`.
    """

    fill: NDArray[np.float32]
    scaler: Scaler | Quantiles
    flagged_columns: NDArray[np.int64]

    @classmethod
    def fit(cls, rows: NDArray[np.float32], scaling: Scaling, gaps: NDArray[np.bool_]) -> Numbers:
        """Take the medians of the values that are present, and the scale of the filled columns.

        Args:
            rows: Training rows, float32 `(n, n_columns)`, NaN for a gap.
            scaling: Scaling of the columns; see `Scaler.fit`, or `quantile` for `Quantiles`.
            gaps: Columns in which a gap is to be filled, bool `(n_columns,)`.
        """
        is_gap = np.isnan(rows)
        fill = np.full(rows.shape[1], np.nan, np.float32)
        for place in np.flatnonzero(gaps):
            present = rows[~is_gap[:, place], place]
            fill[place] = np.median(present) if present.size else 0
        filled = np.where(is_gap, fill, rows) if is_gap.any() else rows
        # Only columns with gaps in training rows: the weight of another flag would stay untrained.
        flagged_columns = np.flatnonzero(is_gap.any(axis=0) & gaps)
        return cls(fill, _fit_scaler(filled, scaling), flagged_columns)

    @property
    def fills_gaps(self) -> bool:
        """Whether there is a column whose gaps are filled."""
        return not np.isnan(self.fill).all()

    @property
    def width(self) -> int:
        """Number of network inputs that a row becomes."""
        return len(self.fill) + len(self.flagged_columns)

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return network inputs, float32 `(n, width)`, of rows, float32 `(n, n_columns)`."""
        if not self.fills_gaps:
            return self.scaler.transform(rows)
        is_gap = np.isnan(rows)
        scaled = self.scaler.transform(np.where(is_gap, self.fill, rows))
        return np.concatenate([scaled, is_gap[:, self.flagged_columns].astype(np.float32)], axis=1)


def _fit_scaler(rows: NDArray[np.float32], scaling: Scaling) -> Scaler | Quantiles:
    return Quantiles.fit(rows) if scaling == "quantile" else Scaler.fit(rows, scaling)
