"""The load generator: runs a load of a given rate or number of users, and summarizes it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator_health import GeneratorHealth, assess_generator, measure_max_rate
from serving.loadtest.open_loop import generate_constant_arrivals, generate_poisson_arrivals
from serving.loadtest.run_record import RunRecord
from serving.loadtest.statistics import RunStatistics, compute_statistics

ArrivalProcess = Literal["poisson", "constant"]
MAX_PROBE_SECONDS = 30.0
REQUESTS_BEYOND = 12  # requests expected beyond a percentile: the ten it needs, and two more


class LoadGenerator:
    """Runs loads against a server.

    Args:
        engine: Engine that sends the requests; each is one of the engine's, drawn at random.
        arrivals: Arrival process of open loops: "poisson", or "constant" for equal intervals.
        seed: Seed of the arrival times and of the choice of requests.
        max_rate: Result of `measure_max_rate` for the engine's requests; None to measure it now.

    Attributes:
        max_rate: Requests per second that the generator can send on one core.
    """

    def __init__(
        self,
        engine: LoadEngine,
        *,
        arrivals: ArrivalProcess = "poisson",
        seed: int = 0,
        max_rate: float | None = None,
    ) -> None:
        self._engine = engine
        self._arrivals = arrivals
        self._rng = np.random.default_rng(seed)
        self.max_rate = max_rate or measure_max_rate(engine.requests)

    def run_open_loop(self, rate: float, seconds: float) -> tuple[RunStatistics, GeneratorHealth]:
        """Send requests at a rate, whether or not earlier ones have been answered.

        Args:
            rate: Requests per second.
            seconds: Duration of the load, in seconds.

        Raises:
            LoadEngineError: If the server does not accept the connections.
        """
        due_at = (
            generate_poisson_arrivals(rate, seconds, self._rng)
            if self._arrivals == "poisson"
            else generate_constant_arrivals(rate, seconds)
        )
        record = self._engine.run_open_loop(due_at, self._draw_requests(len(due_at)), seconds)
        return self._summarize(record, rate)

    def run_closed_loop(self, users: int, seconds: float) -> tuple[RunStatistics, GeneratorHealth]:
        """Let users send a request each time they are answered.

        Args:
            users: Number of users.
            seconds: Duration of the load, in seconds.

        Raises:
            LoadEngineError: If the server does not accept the connections.
        """
        drawn = self._draw_requests(16 * len(self._engine.requests))
        return self._summarize(self._engine.run_closed_loop(users, seconds, drawn), None)

    def _draw_requests(self, count: int) -> np.ndarray:
        return self._rng.integers(len(self._engine.requests), size=count, dtype=np.int32)

    def _summarize(
        self, record: RunRecord, offered_rate: float | None
    ) -> tuple[RunStatistics, GeneratorHealth]:
        statistics = compute_statistics(record, self._engine.requests, offered_rate)
        return statistics, assess_generator(record, self.max_rate)


def find_lowest_measurable_rate(percentile: float) -> float:
    """Return the lowest rate at which a percentile can be measured in `MAX_PROBE_SECONDS`.

    Args:
        percentile: Percentile, from 0 to 100.

    Returns:
        Requests per second.
    """
    return REQUESTS_BEYOND / (MAX_PROBE_SECONDS * (1 - percentile / 100))


def choose_duration(rate: float, min_seconds: float, percentile: float) -> float:
    """Return a duration in which enough requests lie beyond a percentile.

    It is limited to `MAX_PROBE_SECONDS`, which is too short below the lowest measurable rate.

    Args:
        rate: Requests per second.
        min_seconds: Shortest duration, in seconds.
        percentile: Percentile, from 0 to 100.

    Returns:
        Seconds.
    """
    needed = REQUESTS_BEYOND / (rate * (1 - percentile / 100))
    return max(min_seconds, min(MAX_PROBE_SECONDS, needed))
