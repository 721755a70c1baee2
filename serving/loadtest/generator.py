"""A load in one word: so many requests a second, or so many users, for so long, summed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from serving.loadtest import open_loop
from serving.loadtest.engine import LoadEngine, ProgressCallback
from serving.loadtest.generator_health import GeneratorHealth, assess_generator, measure_max_rate
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import PreparedRequest, RunRecord
from serving.loadtest.statistics import RunStatistics, compute_statistics

ArrivalProcess = Literal["poisson", "constant"]
MAX_PROBE_SECONDS = 30.0  # seconds
REQUESTS_BEYOND = 12  # requests that are to lie beyond a percentile: ten, and some for chance


class LoadGenerator:
    """Puts loads on a server.

    Args:
        address: of the server.
        calls: what is asked, drawn at random for each request.
        connections: kept open in open loops.
        timeout: seconds from the due time after which a request is given up.
        arrivals: of open loops: of a Poisson process, or at equal distances.
        seed: of what is drawn; the same seed, the same load.
        tell: told of the progress of a run, as `Engine` has it.
        sendable: what `most` found for these calls, if that is known.
    """

    def __init__(
        self,
        address: ServerAddress,
        calls: Sequence[PreparedRequest],
        *,
        connections: int = 64,
        timeout: float = 10.0,
        arrivals: ArrivalProcess = "poisson",
        seed: int = 0,
        tell: ProgressCallback | None = None,
        sendable: float | None = None,
    ) -> None:
        self._engine = LoadEngine(
            address, calls, connections=connections, timeout=timeout, tell=tell
        )
        self._arrivals = arrivals
        self._rng = np.random.default_rng(seed)
        self.most = sendable or measure_max_rate(calls)

    def rate(self, rate: float, seconds: float) -> tuple[RunStatistics, GeneratorHealth]:
        """An open loop of so many requests a second.

        Raises:
            EngineError: the server takes no connections.
        """
        due = (
            open_loop.generate_poisson_arrivals(rate, seconds, self._rng)
            if self._arrivals == "poisson"
            else open_loop.generate_constant_arrivals(rate, seconds)
        )
        return self._sum_up(self._engine.open_loop(due, self._order(len(due)), seconds), rate)

    def users(self, users: int, seconds: float) -> tuple[RunStatistics, GeneratorHealth]:
        """A closed loop of so many users.

        Raises:
            EngineError: the server takes no connections.
        """
        order = self._order(16 * len(self._engine.calls))
        return self._sum_up(self._engine.closed_loop(users, seconds, order), None)

    def _order(self, count: int) -> np.ndarray:
        return self._rng.integers(len(self._engine.calls), size=count, dtype=np.int32)

    def _sum_up(
        self, record: RunRecord, offered: float | None
    ) -> tuple[RunStatistics, GeneratorHealth]:
        return compute_statistics(record, self._engine.calls, offered), assess_generator(
            record, self.most
        )


def find_lowest_measurable_rate(percentile: float) -> float:
    """The lowest rate of which a percentile can be told in half a minute, requests a second."""
    return REQUESTS_BEYOND / (MAX_PROBE_SECONDS * (1 - percentile / 100))


def choose_duration(rate: float, seconds: float, percentile: float) -> float:
    """Seconds in which enough requests lie beyond a percentile, at this rate, to tell it.

    Half a minute at most: of a rate that needs longer, the percentile cannot be told.

    Args:
        rate: requests a second.
        seconds: at least.
        percentile: from 0 to 100.
    """
    return max(seconds, min(MAX_PROBE_SECONDS, REQUESTS_BEYOND / (rate * (1 - percentile / 100))))
