"""When requests are due: of a Poisson process, as independent users come, or at equal distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals of a Poisson process, as MLPerf Inference's server scenario has them.

    Given their number, which is Poisson distributed, the times of such a process are uniform
    (Ross, Introduction to Probability Models, theorem 5.2).

    Args:
        rate: mean arrivals a second.
        seconds: to go on for.
        rng: what draws them.

    Returns:
        Seconds from the start, ascending, float64 `(n,)`.
    """
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def constant(rate: float, seconds: float) -> NDArray[np.float64]:
    """Arrivals at equal distances, the first at once; seconds, float64 `(n,)`."""
    return np.arange(round(rate * seconds)) / rate
