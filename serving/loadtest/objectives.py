"""Service level objectives such as `p99=50ms,errors=0.1%`, and whether a run met them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serving.loadtest.statistics import (
    MIN_REQUESTS_BEYOND,
    RunStatistics,
    format_percentile_name,
)

DEFAULT_ERROR_SHARE = 0.001  # largest share of errors if only the latency has objectives
SECONDS_PER_UNIT = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_NUMBER_PATTERN = r"\d+(?:\.\d+)?"
_LATENCY_PATTERN = re.compile(rf"p({_NUMBER_PATTERN})=({_NUMBER_PATTERN})(us|µs|ms|s)")
_ERRORS_PATTERN = re.compile(rf"errors=(?:({_NUMBER_PATTERN})%|0)")
_RATE_PATTERN = re.compile(rf"rate=({_NUMBER_PATTERN})")


class ObjectiveError(ValueError):
    """An objective cannot be parsed, or can never be met."""


@dataclass(frozen=True)
class Objective:
    """One service level objective.

    Attributes:
        kind: "latency" for a percentile of the latency, "errors" for the share of errors, "rate"
            for correct answers per second.
        bound: Largest latency in seconds, largest share of errors from 0 to 1, or smallest rate
            per second.
        percentile: Percentile of the latency, between 0 and 100; 0 for other kinds.
    """

    kind: Literal["latency", "errors", "rate"]
    bound: float
    percentile: float = 0.0

    @property
    def name(self) -> str:
        """Name of the bounded value: `p99`, `errors` or `rate`."""
        return format_percentile_name(self.percentile) if self.kind == "latency" else self.kind

    def __str__(self) -> str:
        """Return the objective as `p99 ≤ 50 ms`."""
        operator = "≥" if self.kind == "rate" else "≤"
        return f"{self.name} {operator} {self.format_value(self.bound)}"

    def format_value(self, value: float | None) -> str:
        """Return a value of this kind with its unit; a dash for None."""
        if value is None:
            return "–"
        if self.kind == "errors":
            return f"{100 * value:.4g} %"
        if self.kind == "rate":
            return f"{value:,.6g}/s"
        return f"{value:.4g} s" if value >= 1 else f"{1000 * value:.4g} ms"


@dataclass(frozen=True)
class ObjectiveResult:
    """Whether a run met an objective.

    Attributes:
        objective: Objective that was evaluated.
        measured: Measured value in the unit of the bound; None if there is none.
        is_met: Whether the objective was met.
        reason: Explanation of a miss that the value does not explain; else empty.
    """

    objective: Objective
    measured: float | None
    is_met: bool
    reason: str = ""

    def __str__(self) -> str:
        """Return the result as `p99 ≤ 50 ms: met, 4.2 ms`."""
        outcome = "met" if self.is_met else "missed"
        text = f"{self.objective}: {outcome}, {self.formatted_value}"
        return f"{text} ({self.reason})" if self.reason else text

    @property
    def formatted_value(self) -> str:
        """Measured value with its unit."""
        return self.objective.format_value(self.measured)

    def as_json(self) -> dict[str, Any]:
        """Return an entry of `objectives` of the output of `--json`."""
        return {
            "objective": str(self.objective),
            "name": self.objective.name,
            "bound": self.objective.bound,
            "found": self.measured,
            "met": self.is_met,
            "reason": self.reason or None,
        }


def parse_objectives(texts: Iterable[str]) -> tuple[Objective, ...]:
    """Parse objectives.

    Args:
        texts: Texts of one or more objectives, separated by commas: `p99=50ms`, `p99.9=0.2s`,
            `p50=800us`, `errors=0.1%`, `rate=500`.

    Raises:
        ObjectiveError: If one cannot be parsed, or can never be met.
    """
    return tuple(_parse_objective(part.strip()) for text in texts for part in text.split(","))


def evaluate_objectives(
    statistics: RunStatistics, objectives: Sequence[Objective]
) -> list[ObjectiveResult]:
    """Evaluate the objectives of a run.

    If there are objectives for the latency and none for errors, at most 0.1 % of errors is added as
    an objective: otherwise a server that refuses every request would pass as fast.

    A percentile is missed if fewer than ten requests lie beyond it, however low it is, because a
    longer run would find a higher one. A rate may be up to two standard deviations of a
    Poisson process below its bound, because arrivals are random.

    Args:
        statistics: Results of the run.
        objectives: Objectives to evaluate.

    Returns:
        One result for each objective, in their order, then that for errors if it was added.
    """
    kinds = {objective.kind for objective in objectives}
    all_objectives = list(objectives)
    if "latency" in kinds and "errors" not in kinds:
        all_objectives.append(Objective("errors", DEFAULT_ERROR_SHARE))
    return [_evaluate(statistics, objective) for objective in all_objectives]


def _parse_objective(text: str) -> Objective:
    if match := _LATENCY_PATTERN.fullmatch(text):
        percentile, bound = float(match[1]), float(match[2]) * SECONDS_PER_UNIT[match[3]]
        if not 0 < percentile < 100:
            raise ObjectiveError(
                f"expected a percentile between 0 and 100; got {match[1]!r} in {text!r}; "
                "write p99=50ms or p99.9=0.2s"
            )
        if not bound > 0:
            raise ObjectiveError(f"expected a time above 0; got {text!r}; write p99=50ms")
        return Objective("latency", bound, percentile)
    if match := _ERRORS_PATTERN.fullmatch(text):
        share = float(match[1] or 0) / 100
        if share <= 1:
            return Objective("errors", share)
        raise ObjectiveError(
            f"expected a share of errors up to 100%; got {text!r}; write errors=0.1%"
        )
    if match := _RATE_PATTERN.fullmatch(text):
        return Objective("rate", float(match[1]))
    raise ObjectiveError(
        f"expected an objective such as p99=50ms, p99.9=0.2s, p50=800us, errors=0.1% or rate=500; "
        f"got {text!r}; write one of these, several separated by commas"
    )


def _evaluate(statistics: RunStatistics, objective: Objective) -> ObjectiveResult:
    if objective.kind == "errors":
        share = statistics.error_share
        return ObjectiveResult(objective, share, share <= objective.bound)
    if objective.kind == "rate":
        needed_answers = objective.bound * statistics.load_seconds
        answers = statistics.throughput * statistics.load_seconds
        is_met = answers >= needed_answers - 2 * math.sqrt(needed_answers)
        return ObjectiveResult(objective, statistics.throughput, is_met)
    return _evaluate_latency(statistics, objective)


def _evaluate_latency(statistics: RunStatistics, objective: Objective) -> ObjectiveResult:
    latency, percentile = statistics.latency, objective.percentile
    if not latency.count:
        return ObjectiveResult(objective, None, is_met=False, reason="no request was answered")
    measured = latency.compute_percentile(percentile)
    if latency.is_uncertain(percentile):
        needed = math.ceil(round(MIN_REQUESTS_BEYOND * 100 / (100 - percentile), 6))
        reason = f"needs {needed:,} requests, {latency.count:,} were measured; run it longer"
        return ObjectiveResult(objective, measured, is_met=False, reason=reason)
    return ObjectiveResult(objective, measured, measured <= objective.bound)
