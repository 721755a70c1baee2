"""Drift: how fast a quantity changes per hour, and how its last values compare with its first.

The slope is the estimator of Theil and Sen, the median of the slopes of all pairs of samples, with
Sen's interval (Sen 1968, doi:10.1080/01621459.1968.10480934). A single step, such as an allocator
that requests another block, hardly changes it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

HOUR_SECONDS = 3600.0
QUARTERS = 4  # and the least number of samples: one for each quarter
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Drift:
    """A quantity over time.

    Attributes:
        slope: Growth per hour, in the unit of the quantity.
        low: Lower end of the slope's interval of 95 %.
        high: Upper end of that interval.
        first: Median of the first quarter of the samples.
        last: Median of the last quarter of the samples.
        hours: Time from the first sample to the last, in hours.
    """

    slope: float
    low: float
    high: float
    first: float
    last: float
    hours: float

    @property
    def ratio(self) -> float:
        """Last quarter relative to the first."""
        return self.last / self.first

    def to_percent(self) -> Drift:
        """Return the drift with its slope and interval in percent of the first quarter."""
        factor = 100 / self.first
        return Drift(
            self.slope * factor,
            self.low * factor,
            self.high * factor,
            self.first,
            self.last,
            self.hours,
        )

    def as_json(self) -> dict[str, float]:
        """Return all attributes, rounded to three decimals, for the results."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def measure_drift(at: NDArray[np.float64], values: NDArray[np.float64]) -> Drift:
    """Measure how a quantity changes.

    Args:
        at: Times of the samples in seconds, ascending, float64 `(n,)`.
        values: Values of the quantity, float64 `(n,)`.

    Raises:
        ValueError: If there are fewer than four samples.
    """
    if len(at) < QUARTERS:
        raise ValueError(f"expected {QUARTERS} samples or more; got {len(at)}; soak for longer")
    estimate = theilslopes(values, at / HOUR_SECONDS, CONFIDENCE)
    quarters = np.array_split(values, QUARTERS)
    return Drift(
        slope=float(estimate.slope),
        low=float(estimate.low_slope),
        high=float(estimate.high_slope),
        first=float(np.median(quarters[0])),
        last=float(np.median(quarters[-1])),
        hours=float(at[-1] - at[0]) / HOUR_SECONDS,
    )
