"""Search for the highest rates that a server sustains in one scenario, one for each bound."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.latency.scenarios import PRECISION_BY_BOUND_MS
from serving.loadtest.capacity import CapacitySearch, RateProbe
from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator import LoadGenerator, choose_duration
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.objectives import Objective, parse_objectives
from serving.loadtest.run_record import PreparedRequest
from serving.loadtest.statistics import RunStatistics

CONNECTIONS = 64
PROBE_SECONDS = 0.8  # longer at rates at which fewer than 1,200 requests would be sent
SATURATION_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0  # above all bounds, so that a request without an answer has missed them all
# First rate of the search, relative to the closed loop; an open loop sustains a little less.
START_SHARE = 0.85
GENERATOR_PRIORITY = -10  # the generator must be on time to tell whether the server is late
MIN_RATE = 500.0  # requests per second; a server that sustains less is reported with 0


@dataclass(frozen=True)
class SustainedRates:
    """The result of a search.

    Attributes:
        rates: Highest sustained rate by bound in ms, in requests per second; 0 if not even
            `MIN_RATE` was sustained.
        limited_bounds_ms: Bounds for which the generator was late or at its limit above that rate.
        probes: All rates that were tried, judged by the largest bound.
        max_generator_rate: Highest rate at which the generator can send these requests, in requests
            per second.
    """

    rates: dict[int, float]
    limited_bounds_ms: frozenset[int]
    probes: list[RateProbe]
    max_generator_rate: float


@contextmanager
def raise_priority() -> Iterator[None]:
    """Give the generator priority over the servers during the block; only root may do so."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, GENERATOR_PRIORITY)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def read_generator_priority() -> int:
    """Return the priority that the generator has in its runs under this user."""
    with raise_priority():
        return os.getpriority(os.PRIO_PROCESS, 0)


def create_generator(
    port: int, requests: Sequence[PreparedRequest], seed: int, max_rate: float | None = None
) -> LoadGenerator:
    """Create a load generator for a port of 127.0.0.1.

    Args:
        port: Port of the server.
        requests: The different requests to send.
        seed: Seed of the arrival times.
        max_rate: Highest rate at which the generator can send these requests, in requests per
            second; None to measure it.
    """
    address = ServerAddress("127.0.0.1", port)
    engine = LoadEngine(address, requests, connections=CONNECTIONS, timeout=TIMEOUT_SECONDS)
    return LoadGenerator(engine, seed=seed, max_rate=max_rate)


def find_sustained_rates(
    generator: LoadGenerator, precisions: Mapping[int, float], start_rate: float | None
) -> SustainedRates:
    """Search for the highest sustained rates.

    Args:
        generator: The load generator.
        precisions: Precision of the search by bound in ms, in the order of the search.
        start_rate: Rate that an earlier round has found for the first bound, in requests per
            second; None if there was none.
    """

    def measure(rate: float) -> tuple[RunStatistics, GeneratorHealth]:
        return generator.run_open_loop(rate, choose_duration(rate, PROBE_SECONDS, 99))

    with raise_priority():
        saturated, _ = generator.run_closed_loop(CONNECTIONS, SATURATION_SECONDS)
        if start_rate:
            search = CapacitySearch(measure, step_up=1.1, step_down=1.1, min_rate=MIN_RATE)
        else:
            search = CapacitySearch(measure, step_up=1.25, min_rate=MIN_RATE)
            start_rate = max(MIN_RATE, START_SHARE * saturated.throughput)
        rates = {
            bound: search.find_highest_rate(_make_objectives(bound), start_rate, precision)
            for bound, precision in precisions.items()
        }
    limited = {bound for bound in rates if _is_limited(search, bound, rates[bound])}
    probes = search.list_probes(_make_objectives(max(PRECISION_BY_BOUND_MS)))
    return SustainedRates(rates, frozenset(limited), probes, generator.max_rate)


def _make_objectives(bound_ms: int) -> Sequence[Objective]:
    return parse_objectives([f"p99={bound_ms}ms"])


def _is_limited(search: CapacitySearch, bound_ms: int, sustained: float) -> bool:
    """Return whether the generator was at its limit in all probes of the next higher rate."""
    missed = [
        probe
        for probe in search.list_probes(_make_objectives(bound_ms))
        if probe.rate > sustained and not probe.is_sustained
    ]
    next_rate = [probe for probe in missed if probe.rate == missed[0].rate]
    return bool(missed) and all(probe.generator.warning for probe in next_rate)


def measure_rate(generator: LoadGenerator, rate: float) -> RunStatistics:
    """Measure the latency at one rate, in requests per second."""
    with raise_priority():
        return generator.run_open_loop(rate, choose_duration(rate, 3.0, 99))[0]
