"""Search for the highest request rate at which a server meets its objectives.

As in the server scenario of MLPerf Inference (Reddi et al., arXiv 1911.02549, section IV): Poisson
arrivals, a bound on a percentile of the latency, and the highest rate that meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import Objective, evaluate_objectives
from serving.loadtest.statistics import RunStatistics

CLEAR_PASS_SHARE = 0.8  # a latency below this share of its bound needs no second probe
MIN_RATE = 1.0  # requests per second


@dataclass(frozen=True)
class RateProbe:
    """A short run at one rate.

    Attributes:
        rate: Offered rate, in requests per second.
        statistics: Results of the run.
        generator: Health of the load generator during the run.
        is_sustained: Whether the objectives were met and no queue built up.
    """

    rate: float
    statistics: RunStatistics
    generator: GeneratorHealth
    is_sustained: bool


MeasureRate = Callable[[float], tuple[RunStatistics, GeneratorHealth]]


def is_sustained(statistics: RunStatistics, objectives: Sequence[Objective]) -> bool:
    """Return whether a run met the objectives and latency did not grow during the run."""
    results = evaluate_objectives(statistics, objectives)
    return all(result.is_met for result in results) and not statistics.is_falling_behind


class CapacitySearch:
    """Searches for the highest sustained rate of one server, by bisection.

    A rate also fails if latency grows during the probe, because in a short probe a growing queue
    may still be within the latency bound. If every latency is at most `CLEAR_PASS_SHARE` of its
    bound, one passing probe is enough. Otherwise a rate is probed up to three times, and two equal
    results decide, so that a single stall of the machine does not. No rate above a failed one
    counts as sustained. Probes are kept, so that a second search with other
    objectives reuses them.

    Args:
        measure: Function that sends requests at a rate and returns the results.
        step_up: Factor of the next rate while all probed rates are sustained.
        step_down: Divisor of the next rate while no probed rate is sustained.
        min_rate: Lowest rate to probe, in requests per second.
        max_probes: Largest number of probes for one search.
    """

    def __init__(
        self,
        measure: MeasureRate,
        *,
        step_up: float = 2.0,
        step_down: float = 4.0,
        min_rate: float = MIN_RATE,
        max_probes: int = 20,
    ) -> None:
        self._measure, self._step_up, self._step_down = measure, step_up, step_down
        self._min_rate, self._max_probes = min_rate, max_probes
        self._measured: list[tuple[float, RunStatistics, GeneratorHealth]] = []

    def find_highest_rate(
        self, objectives: Sequence[Objective], start_rate: float, precision: float = 1.05
    ) -> float:
        """Search for the highest sustained rate.

        Args:
            objectives: Objectives that have to be met, all of them.
            start_rate: First rate to probe, in requests per second, if nothing is known yet.
            precision: Ratio of the lowest failed rate to the highest sustained rate at which the
                search ends.

        Returns:
            Requests per second; 0 if no rate was sustained.
        """
        for _ in range(self._max_probes):
            rate = self._choose_next_rate(objectives, start_rate, precision)
            if rate is None:
                break
            self._measured.append((rate, *self._measure(rate)))
        return self._find_bounds(objectives)[0]

    def list_probes(self, objectives: Sequence[Objective]) -> list[RateProbe]:
        """Return all probes in order of their rate, judged by these objectives."""
        return sorted(
            (
                RateProbe(rate, statistics, generator, is_sustained(statistics, objectives))
                for rate, statistics, generator in self._measured
            ),
            key=lambda probe: probe.rate,
        )

    @staticmethod
    def _is_clear_pass(statistics: RunStatistics, objectives: Sequence[Objective]) -> bool:
        """Return whether all latencies are far below their bounds."""
        return all(
            result.measured is not None
            and result.measured <= CLEAR_PASS_SHARE * result.objective.bound
            for result in evaluate_objectives(statistics, objectives)
            if result.objective.kind == "latency"
        )

    def _find_bounds(
        self, objectives: Sequence[Objective]
    ) -> tuple[float, float | None, float | None]:
        """Return the highest sustained rate, the lowest failed rate, and a rate still undecided."""
        probes_by_rate: dict[float, list[RunStatistics]] = {}
        for rate, statistics, _ in self._measured:
            probes_by_rate.setdefault(rate, []).append(statistics)
        highest = 0.0
        for rate in sorted(probes_by_rate):
            probes = probes_by_rate[rate]
            passed = [statistics for statistics in probes if is_sustained(statistics, objectives)]
            failed_count = len(probes) - len(passed)
            if failed_count >= 2:
                return highest, rate, None
            if len(passed) >= 2 or (
                not failed_count and self._is_clear_pass(passed[0], objectives)
            ):
                highest = rate
            else:
                return highest, None, rate
        return highest, None, None

    def _choose_next_rate(
        self, objectives: Sequence[Objective], start_rate: float, precision: float
    ) -> float | None:
        """Return the rate to probe next, or None if the search is over."""
        highest, failed, undecided = self._find_bounds(objectives)
        if undecided is not None:
            return undecided
        if failed is None:
            return start_rate if highest == 0 else highest * self._step_up
        if highest == 0:
            is_lowest = failed <= self._min_rate
            return None if is_lowest else max(failed / self._step_down, self._min_rate)
        return (highest * failed) ** 0.5 if failed / highest > precision else None
