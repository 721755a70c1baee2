"""Dates: seconds to what a network can learn from: time that passes, and the calendar's parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOUR, DAY = 3600, 86400  # seconds
# Of the first day of the year 1 and of the last of 9999, as ISO 8601 writes dates.
FIRST, LAST = -62135596800.0, 253402300799.0
MIDDLE_OF_MONTH, HALF_MONTH = np.float32(15.5), np.float32(8.5)  # of days, for a scale near 1


@dataclass(frozen=True)
class Dates:
    """One column: time scaled, the day of the month, and one-hot month, weekday and, if any, hour.

    Attributes:
        name: the column.
        fill: what a gap becomes, in seconds; NaN where a gap stays one.
        offset: of the seconds.
        scale: of the seconds, above 0.
        hours: whether dates have a time of day.
        flagged: whether gaps are told to the network.
    """

    name: str
    fill: float
    offset: float
    scale: float
    hours: bool
    flagged: bool

    @classmethod
    def fit(cls, name: str, known: NDArray[np.float64], *, gaps: bool) -> Dates:
        """Statistics of training rows, `(n,)`; `gaps` says whether a gap is to be filled."""
        there = known[~np.isnan(known)]
        fill = (float(np.median(there)) if there.size else 0.0) if gaps else np.nan
        offset, scale = (float(there.mean()), float(there.std())) if there.size else (0.0, 1.0)
        return cls(
            name,
            fill,
            offset,
            scale if scale > 0 else 1.0,
            hours=bool((there % DAY != 0).any()),
            flagged=gaps and there.size < known.size,
        )

    @property
    def width(self) -> int:
        """Numbers that a date becomes."""
        return 2 + 12 + 7 + 24 * self.hours + self.flagged

    def transform(self, seconds: NDArray[np.float64]) -> NDArray[np.float32]:
        """`(n,)` to `(n, width)`; a gap that is not filled is NaN in time and first in the rest."""
        missing = np.isnan(seconds)
        filled = np.where(missing, self.fill, seconds)
        time = ((filled - self.offset) / self.scale).astype(np.float32)
        whole = np.floor(np.nan_to_num(filled).clip(FIRST, LAST)).astype(np.int64)
        date = whole.astype("datetime64[s]")
        month = date.astype("datetime64[M]")
        day = (date.astype("datetime64[D]") - month).astype(np.int64) + 1
        parts = [
            time[:, None],
            ((day.astype(np.float32) - MIDDLE_OF_MONTH) / HALF_MONTH)[:, None],
            np.eye(12, dtype=np.float32)[month.astype(np.int64) % 12],
            np.eye(7, dtype=np.float32)[(whole // DAY + 3) % 7],  # 1970-01-01 was a Thursday
        ]
        if self.hours:
            parts.append(np.eye(24, dtype=np.float32)[whole % DAY // HOUR])
        if self.flagged:
            parts.append(missing[:, None].astype(np.float32))
        return np.concatenate(parts, axis=1)
