"""Preprocessing of a column of dates: seconds to the time passed and the parts of the calendar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOUR, DAY = 3600, 86400  # seconds
# First second of the year 1 and last of the year 9999, the dates that ISO 8601 can write.
FIRST, LAST = -62135596800.0, 253402300799.0
# Day of the month to about −1 to 1.
MIDDLE_OF_MONTH, HALF_MONTH = np.float32(15.5), np.float32(8.5)


@dataclass(frozen=True)
class Dates:
    """One column of dates.

    A date becomes its scaled time, its scaled day of the month, and one-hot codes of month, weekday
    and, if the dates have one, hour.

    Attributes:
        name: Name of the column.
        fill: Seconds that replace a gap; NaN if gaps are kept.
        offset: Seconds subtracted first.
        scale: Seconds divided by then, above 0.
        has_hours: Whether dates have a time of day.
        has_gap_flag: Whether the network has an input that is 1 for a gap and 0 otherwise.
    """

    name: str
    fill: float
    offset: float
    scale: float
    has_hours: bool
    has_gap_flag: bool

    @classmethod
    def fit(cls, name: str, seconds: NDArray[np.float64], *, gaps: bool) -> Dates:
        """Take the statistics of training rows.

        Args:
            name: Name of the column.
            seconds: Seconds since 1970-01-01 UTC of the training rows, float64 `(n,)`, NaN for a
                gap.
            gaps: Whether a gap is to be filled.
        """
        present = seconds[~np.isnan(seconds)]
        fill = (float(np.median(present)) if present.size else 0.0) if gaps else np.nan
        offset, scale = (
            (float(present.mean()), float(present.std())) if present.size else (0.0, 1.0)
        )
        return cls(
            name,
            fill,
            offset,
            scale if scale > 0 else 1.0,
            has_hours=bool((present % DAY != 0).any()),
            has_gap_flag=gaps and present.size < seconds.size,
        )

    @property
    def width(self) -> int:
        """Number of network inputs that a date becomes."""
        return 2 + 12 + 7 + 24 * self.has_hours + self.has_gap_flag

    def transform(self, seconds: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return network inputs, float32 `(n, width)`.

        Args:
            seconds: Seconds since 1970-01-01 UTC, float64 `(n,)`. A gap that is not filled is NaN
                as a time, and 1970-01-01 in the parts of the calendar.
        """
        is_gap = np.isnan(seconds)
        filled = np.where(is_gap, self.fill, seconds)
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
        if self.has_hours:
            parts.append(np.eye(24, dtype=np.float32)[whole % DAY // HOUR])
        if self.has_gap_flag:
            parts.append(is_gap[:, None].astype(np.float32))
        return np.concatenate(parts, axis=1)
