"""Drift: how fast a figure moves over the hours, and how its end compares with its beginning.

The slope is that of Theil and Sen, the median of the slopes of all pairs of samples, with Sen's
interval (Sen 1968, doi:10.1080/01621459.1968.10480934): a single jump, as of an allocator that
takes a block, is no slope.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

HOUR = 3600.0  # seconds
QUARTERS = 4  # fewest samples, one for each
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Drift:
    """A figure over time.

    Attributes:
        slope: its growth in an hour, in its own unit.
        low: lower end of the slope's interval of 95 %.
        high: upper end.
        first: median of the first quarter.
        last: median of the last quarter.
        hours: from the first sample to the last.
    """

    slope: float
    low: float
    high: float
    first: float
    last: float
    hours: float

    @property
    def ratio(self) -> float:
        """Last quarter to first quarter."""
        return self.last / self.first

    def in_percent(self) -> Drift:
        """The slope and its interval in percent of the first quarter, an hour."""
        share = 100 / self.first
        return Drift(
            self.slope * share,
            self.low * share,
            self.high * share,
            self.first,
            self.last,
            self.hours,
        )

    def as_json(self) -> dict[str, float]:
        """For the results, with figures that count."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def drift(at: NDArray[np.float64], values: NDArray[np.float64]) -> Drift:
    """How a figure moves.

    Args:
        at: seconds, ascending, `(n,)`.
        values: of the figure, `(n,)`.

    Raises:
        ValueError: there are fewer than four samples.
    """
    if len(at) < QUARTERS:
        raise ValueError(f"expected {QUARTERS} samples or more; got {len(at)}; soak for longer")
    found = theilslopes(values, at / HOUR, CONFIDENCE)
    quarters = np.array_split(values, QUARTERS)
    return Drift(
        slope=float(found.slope),
        low=float(found.low_slope),
        high=float(found.high_slope),
        first=float(np.median(quarters[0])),
        last=float(np.median(quarters[-1])),
        hours=float(at[-1] - at[0]) / HOUR,
    )
