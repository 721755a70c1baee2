"""Numbers: gaps filled and flagged, columns scaled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.quantiles import Quantiles
from trainer.data.preprocess.scaler import Scaler, Scaling


@dataclass(frozen=True)
class Numbers:
    """Each column filled and scaled, then 1 or 0 for each flagged column: a gap or none.

    Attributes:
        fill: what a gap becomes, float32 `(n_columns,)`; NaN where a gap stays one.
        scaler: of the filled columns.
        flagged: places of the columns whose gaps are told to the network, int64 `(n_flags,)`.
    """

    fill: NDArray[np.float32]
    scaler: Scaler | Quantiles
    flagged: NDArray[np.int64]

    @classmethod
    def fit(cls, known: NDArray[np.float32], scaling: Scaling, gaps: NDArray[np.bool_]) -> Numbers:
        """Medians of what is there, and the scale of the filled columns.

        Args:
            known: training rows, `(n, n_columns)`.
            scaling: as of `Scaler.fit`, or `quantile`.
            gaps: columns in which a gap is to be filled, `(n_columns,)`.
        """
        missing = np.isnan(known)
        fill = np.full(known.shape[1], np.nan, np.float32)
        for place in np.flatnonzero(gaps):
            there = known[~missing[:, place], place]
            fill[place] = np.median(there) if there.size else 0
        filled = np.where(missing, fill, known) if missing.any() else known
        # A gap that never came up in training must not meet a weight that was never trained.
        flagged = np.flatnonzero(missing.any(axis=0) & gaps)
        return cls(fill, _scaler(filled, scaling), flagged)

    @property
    def fills(self) -> bool:
        """Whether there is a column whose gaps are filled."""
        return not np.isnan(self.fill).all()

    @property
    def width(self) -> int:
        """Numbers that a row becomes."""
        return len(self.fill) + len(self.flagged)

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(n, n_columns)` to `(n, width)`."""
        if not self.fills:
            return self.scaler.transform(rows)
        missing = np.isnan(rows)
        scaled = self.scaler.transform(np.where(missing, self.fill, rows))
        return np.concatenate([scaled, missing[:, self.flagged].astype(np.float32)], axis=1)


def _scaler(rows: NDArray[np.float32], scaling: Scaling) -> Scaler | Quantiles:
    return Quantiles.fit(rows) if scaling == "quantile" else Scaler.fit(rows, scaling)
