"""The highest rate at which a server meets its objectives: searched, not guessed.

As in MLPerf Inference's server scenario (Reddi et al., arXiv 1911.02549, section IV): Poisson
arrivals, a bound on a percentile of the latency, and the highest rate that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.loadtest.generator_health import GeneratorHealth
from serving.loadtest.objectives import Objective, evaluate_objectives
from serving.loadtest.statistics import RunStatistics

CLEAR_PASS_SHARE = 0.8  # of a bound: what is held with so much to spare is not tried again
MIN_RATE = 1.0  # requests a second; a server that does not hold this holds none


@dataclass(frozen=True)
class RateProbe:
    """A rate that was tried.

    Attributes:
        rate: requests a second that were offered.
        figures: what came of it.
        limits: the generator's part.
        held: whether the objectives were met, and nothing piled up.
    """

    rate: float
    figures: RunStatistics
    limits: GeneratorHealth
    held: bool


MeasureRate = Callable[[float], tuple[RunStatistics, GeneratorHealth]]


def is_sustained(figures: RunStatistics, objectives: Sequence[Objective]) -> bool:
    """Whether a run met the objectives, and those who came late waited no longer than the first."""
    met = all(verdict.met for verdict in evaluate_objectives(figures, objectives))
    return met and not figures.falls_behind


class CapacitySearch:
    """Searches on one server; what was tried for one objective counts for the next.

    A rate is held if the objectives are met and those who come late wait no longer than those who
    come early: in a short probe a queue that grows may still be within its bound. Of three tries
    two decide, for a hiccup of the machine makes a miss; one that is held with room to spare needs
    no other. A rate above one that is missed is not held, whatever was seen there.

    Args:
        measure: offers a rate for a while.
        step: ratio of one rate to the next, while all are held.
        fall: ratio of one rate to the next, while none is.
        lowest: rate that is worth a probe.
        most: probes for one objective.
    """

    def __init__(
        self,
        measure: MeasureRate,
        *,
        step: float = 2.0,
        fall: float = 4.0,
        lowest: float = MIN_RATE,
        most: int = 20,
    ) -> None:
        self._measure, self._step, self._fall = measure, step, fall
        self._lowest, self._most = lowest, most
        self._tried: list[tuple[float, RunStatistics, GeneratorHealth]] = []

    def highest(
        self, objectives: Sequence[Objective], start: float, precision: float = 1.05
    ) -> float:
        """The highest rate that was held, in requests a second; 0 if none was.

        Args:
            objectives: all are to be met.
            start: a first rate, where nothing is known yet.
            precision: ratio of the lowest rate missed to the highest held, at the end.
        """
        for _ in range(self._most):
            rate = self._next(objectives, start, precision)
            if rate is None:
                break
            self._tried.append((rate, *self._measure(rate)))
        return self._bounds(objectives)[0]

    def probes(self, objectives: Sequence[Objective]) -> list[RateProbe]:
        """All that was tried, judged by these objectives, by rate."""
        return sorted(
            (
                RateProbe(rate, figures, limits, is_sustained(figures, objectives))
                for rate, figures, limits in self._tried
            ),
            key=lambda probe: probe.rate,
        )

    @staticmethod
    def _clear(figures: RunStatistics, objectives: Sequence[Objective]) -> bool:
        """Whether what was met was met with room to spare."""
        return all(
            verdict.found is not None
            and verdict.found <= CLEAR_PASS_SHARE * verdict.objective.bound
            for verdict in evaluate_objectives(figures, objectives)
            if verdict.objective.kind == "latency"
        )

    def _bounds(self, objectives: Sequence[Objective]) -> tuple[float, float | None, float | None]:
        """The highest rate held, the lowest missed, and one that is to be tried again."""
        tries: dict[float, list[RunStatistics]] = {}
        for rate, figures, _ in self._tried:
            tries.setdefault(rate, []).append(figures)
        held = 0.0
        for rate in sorted(tries):
            met = [figures for figures in tries[rate] if is_sustained(figures, objectives)]
            missed = len(tries[rate]) - len(met)
            if missed >= 2:
                return held, rate, None
            if len(met) >= 2 or (not missed and self._clear(met[0], objectives)):
                held = rate
            else:
                return held, None, rate
        return held, None, None

    def _next(
        self, objectives: Sequence[Objective], start: float, precision: float
    ) -> float | None:
        held, missed, again = self._bounds(objectives)
        if again is not None:
            return again
        if missed is None:
            return start if held == 0 else held * self._step
        if held == 0:
            return max(missed / self._fall, self._lowest) if missed > self._lowest else None
        return (held * missed) ** 0.5 if missed / held > precision else None
