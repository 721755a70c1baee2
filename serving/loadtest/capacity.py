"""The highest rate at which a server meets its objectives: searched, not guessed.

As in MLPerf Inference's server scenario (Reddi et al., arXiv 1911.02549, section IV): Poisson
arrivals, a bound on a percentile of the latency, and the highest rate that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.loadtest.figures import Figures
from serving.loadtest.limits import Limits
from serving.loadtest.objectives import Objective, judge

TRIES = 2  # a rate is missed when it is missed so often: one hiccup of the machine decides nothing
LOWEST = 1.0  # requests a second; a server that does not hold this holds none
FALL = 4.0  # ratio of one rate to the next, at most, while none is held


@dataclass(frozen=True)
class Probe:
    """A rate that was tried.

    Attributes:
        rate: requests a second that were offered.
        figures: what came of it.
        limits: the generator's part.
        held: whether the objectives were met.
    """

    rate: float
    figures: Figures
    limits: Limits
    held: bool


Measure = Callable[[float], tuple[Figures, Limits]]


class Search:
    """Searches on one server; what was tried for one objective counts for the next.

    Args:
        measure: offers a rate for a while.
        step: ratio of one rate to the next, while all are held.
        precision: ratio of the lowest rate that is missed to the highest that is held, at the end.
        lowest: rate that is worth a probe.
        most: probes for one objective.
    """

    def __init__(
        self, measure: Measure, *, step: float = 2.0, precision: float = 1.05,
        lowest: float = LOWEST, most: int = 20,
    ) -> None:  # fmt: skip
        self._measure, self._step, self._precision = measure, step, precision
        self._lowest, self._most = lowest, most
        self._tried: list[tuple[float, Figures, Limits]] = []

    def highest(self, objectives: Sequence[Objective], start: float) -> float:
        """The highest rate that was held, in requests a second; 0 if none was.

        Args:
            objectives: all are to be met.
            start: a first rate, where nothing is known yet.
        """
        for _ in range(self._most):
            rate = self._next(objectives, start)
            if rate is None:
                break
            self._tried.append((rate, *self._measure(rate)))
        return self._bounds(objectives)[0]

    def probes(self, objectives: Sequence[Objective]) -> list[Probe]:
        """All that was tried, judged by these objectives, by rate."""
        return sorted(
            (
                Probe(rate, figures, limits, self._met(figures, objectives))
                for rate, figures, limits in self._tried
            ),
            key=lambda probe: probe.rate,
        )

    @staticmethod
    def _met(figures: Figures, objectives: Sequence[Objective]) -> bool:
        return all(verdict.met for verdict in judge(figures, objectives))

    def _bounds(self, objectives: Sequence[Objective]) -> tuple[float, float | None, float | None]:
        """The highest rate held, the lowest above it that was missed, one to be tried again."""
        tries: dict[float, list[bool]] = {}
        for rate, figures, _ in self._tried:
            tries.setdefault(rate, []).append(self._met(figures, objectives))
        held = max((rate for rate, met in tries.items() if any(met)), default=0.0)
        above = [(rate, met) for rate, met in tries.items() if rate > held]
        if not above:
            return held, None, None
        missed, met = min(above)
        return held, missed, missed if len(met) < TRIES else None

    def _next(self, objectives: Sequence[Objective], start: float) -> float | None:
        held, missed, again = self._bounds(objectives)
        if again is not None:
            return again
        if missed is None:
            return start if held == 0 else held * self._step
        if held == 0:
            lower = max(missed / FALL, (self._lowest * missed) ** 0.5)
            return lower if missed / lower > self._precision else None
        return (held * missed) ** 0.5 if missed / held > self._precision else None
