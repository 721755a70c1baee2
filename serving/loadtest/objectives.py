"""Objectives: what a server is to keep, as `p99=50ms,errors=0.1%`, and whether it did."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serving.loadtest.statistics import MIN_REQUESTS_BEYOND, RunStatistics, format_percentile_name

DEFAULT_ERROR_SHARE = 0.001  # share that is allowed where only times are asked for
SECONDS_PER_UNIT = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}  # seconds
_NUMBER_PATTERN = r"\d+(?:\.\d+)?"
_LATENCY_PATTERN = re.compile(rf"p({_NUMBER_PATTERN})=({_NUMBER_PATTERN})(us|µs|ms|s)")
_ERRORS_PATTERN = re.compile(rf"errors=(?:({_NUMBER_PATTERN})%|0)")
_RATE_PATTERN = re.compile(rf"rate=({_NUMBER_PATTERN})")


class ObjectiveError(ValueError):
    """An objective that says nothing a run can be held to."""


@dataclass(frozen=True)
class Objective:
    """One thing to keep.

    Attributes:
        kind: of what: a percentile of the latency, the share of errors, the right answers a second.
        bound: seconds, at most; a share from 0 to 1, at most; a second, at least.
        percentile: of the latency, between 0 and 100; 0 of the others.
    """

    kind: Literal["latency", "errors", "rate"]
    bound: float
    percentile: float = 0.0

    @property
    def name(self) -> str:
        """What is bounded: `p99`, `errors`, `rate`."""
        return format_percentile_name(self.percentile) if self.kind == "latency" else self.kind

    def __str__(self) -> str:
        """With its bound: `p99 ≤ 50 ms`."""
        return f"{self.name} {'≥' if self.kind == 'rate' else '≤'} {self.told(self.bound)}"

    def told(self, value: float | None) -> str:
        """A value of its kind, with its unit; a dash for None."""
        if value is None:
            return "–"
        if self.kind == "errors":
            return f"{100 * value:.4g} %"
        if self.kind == "rate":
            return f"{value:,.6g}/s"
        return f"{value:.4g} s" if value >= 1 else f"{1000 * value:.4g} ms"


@dataclass(frozen=True)
class ObjectiveResult:
    """Whether an objective was kept.

    Attributes:
        objective: which.
        found: in its unit; None if there is nothing to judge by.
        met: whether it was.
        reason: why not, where the two numbers do not say so.
    """

    objective: Objective
    found: float | None
    met: bool
    reason: str = ""

    def __str__(self) -> str:
        """A line: `p99 ≤ 50 ms: met, 4.2 ms`."""
        said = f"{self.objective}: {'met' if self.met else 'missed'}, {self.told}"
        return f"{said} ({self.reason})" if self.reason else said

    @property
    def told(self) -> str:
        """What was found, with its unit."""
        return self.objective.told(self.found)

    def as_json(self) -> dict[str, Any]:
        """What `--json` shows; bound and found in seconds, a share, or a second."""
        return {
            "objective": str(self.objective),
            "name": self.objective.name,
            "bound": self.objective.bound,
            "found": self.found,
            "met": self.met,
            "reason": self.reason or None,
        }


def parse_objectives(texts: Iterable[str]) -> tuple[Objective, ...]:
    """Objectives as they are typed.

    Args:
        texts: each one or several, with commas between: `p99=50ms`, `p99.9=0.2s`, `p50=800us`,
            `errors=0.1%`, `rate=500`.

    Raises:
        ObjectiveError: if one is not to be understood, or can never be met.
    """
    return tuple(_parse_objective(part.strip()) for text in texts for part in text.split(","))


def evaluate_objectives(
    figures: RunStatistics, objectives: Sequence[Objective]
) -> list[ObjectiveResult]:
    """Hold a run to its objectives.

    A server that refuses all is not fast: where times are asked for and errors are not, at most
    0.1 % of errors is asked for as well.

    A percentile beyond which fewer than ten requests lie is not met, however short it is: longer
    runs find longer ones. A rate is met by as many answers as come in it, less two standard
    deviations: arrivals of a Poisson process vary by as much.

    Args:
        figures: of the run.
        objectives: as `parse` gives them.

    Returns:
        A verdict for each, in their order, and for errors if they had to be added.
    """
    kinds = {objective.kind for objective in objectives}
    asked = list(objectives)
    if "latency" in kinds and "errors" not in kinds:
        asked.append(Objective("errors", DEFAULT_ERROR_SHARE))
    return [_evaluate(figures, objective) for objective in asked]


def _parse_objective(text: str) -> Objective:
    if found := _LATENCY_PATTERN.fullmatch(text):
        percentile, bound = float(found[1]), float(found[2]) * SECONDS_PER_UNIT[found[3]]
        if not 0 < percentile < 100:
            raise ObjectiveError(
                f"expected a percentile between 0 and 100, got {found[1]!r} in {text!r}; "
                "write p99=50ms, or p99.9=0.2s"
            )
        if not bound > 0:
            raise ObjectiveError(f"expected a time above 0, got {text!r}; write p99=50ms")
        return Objective("latency", bound, percentile)
    if found := _ERRORS_PATTERN.fullmatch(text):
        share = float(found[1] or 0) / 100
        if share <= 1:
            return Objective("errors", share)
        raise ObjectiveError(
            f"expected a share of errors up to 100%, got {text!r}; write errors=0.1%"
        )
    if found := _RATE_PATTERN.fullmatch(text):
        return Objective("rate", float(found[1]))
    raise ObjectiveError(
        f"expected an objective such as p99=50ms, p99.9=0.2s, p50=800us, errors=0.1% or rate=500, "
        f"got {text!r}; write it so, several with commas between"
    )


def _evaluate(figures: RunStatistics, objective: Objective) -> ObjectiveResult:
    if objective.kind == "errors":
        share = figures.error_share
        return ObjectiveResult(objective, share, share <= objective.bound)
    if objective.kind == "rate":
        asked = objective.bound * figures.seconds  # answers
        met = figures.rate * figures.seconds >= asked - 2 * math.sqrt(asked)
        return ObjectiveResult(objective, figures.rate, met)
    return _evaluate_latency(figures, objective)


def _evaluate_latency(figures: RunStatistics, objective: Objective) -> ObjectiveResult:
    latency, percentile = figures.latency, objective.percentile
    if not latency.count:
        return ObjectiveResult(objective, None, met=False, reason="no request was answered")
    found = latency.percentile(percentile)
    if latency.rests_on_few(percentile):
        needed = math.ceil(round(MIN_REQUESTS_BEYOND * 100 / (100 - percentile), 6))
        reason = (
            f"{needed:,} requests are needed to tell, {latency.count:,} were timed; run it longer"
        )
        return ObjectiveResult(objective, found, met=False, reason=reason)
    return ObjectiveResult(objective, found, found <= objective.bound)
