"""One server under one scenario: the highest rate it holds, for each bound."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.latency.scenarios import BOUNDS_MS
from serving.loadtest.capacity import CapacitySearch, RateProbe
from serving.loadtest.engine import LoadEngine
from serving.loadtest.generator import LoadGenerator, choose_duration
from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.objectives import parse_objectives
from serving.loadtest.run_record import PreparedRequest
from serving.loadtest.statistics import RunStatistics

CONNECTIONS = 64
SECONDS = 0.8  # of a probe; longer where fewer than 1,200 requests would come
WARM = 0.5
TIMEOUT = 2.0  # seconds; what is not answered by then has missed every bound
NEAR = 0.85  # of what a closed loop gets: open loops hold a little less
PRIORITY = -10  # of the generator, in its runs: it must be in time to tell who is late
LOWEST = 500.0  # requests a second; a server that holds less than this holds none
LARGEST_MS = max(BOUNDS_MS)


@dataclass(frozen=True)
class Held:
    """What was found.

    Attributes:
        rates: requests a second by bound in ms; 0 where none was held.
        limited: of the bounds, those above whose rate the generator was the bottleneck, or late.
        probes: all rates that were tried, judged by the largest bound.
        most: requests a second that the generator can send of these.
    """

    rates: dict[int, float]
    limited: frozenset[int]
    probes: list[RateProbe]
    most: float


@contextmanager
def ahead() -> Iterator[None]:
    """Let the generator come before the servers, where it may: root may."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def priority() -> int:
    """That of the generator in its runs, as this user may have it."""
    with ahead():
        return os.getpriority(os.PRIO_PROCESS, 0)


def generator_of(
    port: int, calls: Sequence[PreparedRequest], seed: int, sendable: float | None = None
) -> LoadGenerator:
    """What puts the load on a port of 127.0.0.1."""
    engine = LoadEngine(
        ServerAddress("127.0.0.1", port), calls, connections=CONNECTIONS, timeout=TIMEOUT
    )
    return LoadGenerator(engine, seed=seed, max_rate=sendable)


def search(generator: LoadGenerator, precisions: Mapping[int, float], near: float | None) -> Held:
    """Find the rates that are held.

    Args:
        generator: of the load.
        precisions: of each bound in ms, the ratio of the lowest rate missed to the highest held.
        near: the rate that another round has found for the first of them, if one has.
    """

    def measure(rate: float) -> tuple[RunStatistics, GeneratorHealth]:
        return generator.run_open_loop(rate, choose_duration(rate, SECONDS, 99))

    with ahead():
        saturated, _ = generator.run_closed_loop(CONNECTIONS, WARM)
        if near:
            found, start = (
                CapacitySearch(measure, step_up=1.1, step_down=1.1, min_rate=LOWEST),
                near,
            )
        else:
            found = CapacitySearch(measure, step_up=1.25, min_rate=LOWEST)
            start = max(LOWEST, NEAR * saturated.throughput)
        rates = {
            bound: found.find_highest_rate(parse_objectives([f"p99={bound}ms"]), start, precision)
            for bound, precision in precisions.items()
        }
    limited = {bound for bound in rates if _is_limited(found, bound, rates[bound])}
    probes = found.list_probes(parse_objectives([f"p99={LARGEST_MS}ms"]))
    return Held(rates, frozenset(limited), probes, generator.max_rate)


def _is_limited(found: CapacitySearch, bound: int, held: float) -> bool:
    """Whether the first rate above what was held was missed while the generator had no room."""
    above = [
        p
        for p in found.list_probes(parse_objectives([f"p99={bound}ms"]))
        if p.rate > held and not p.is_sustained
    ]
    return bool(above) and all(p.generator.warning for p in above if p.rate == above[0].rate)


def at(generator: LoadGenerator, rate: float) -> RunStatistics:
    """Latency at one rate."""
    with ahead():
        return generator.run_open_loop(rate, choose_duration(rate, 3.0, 99))[0]
