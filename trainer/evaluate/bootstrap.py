"""Intervals: how far metrics would stray on other rows of the same kind, by the bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task
from trainer.evaluate.resampled_metrics import Counts, create_resampled_metrics
from trainer.model import Answers

LEVEL = 0.95
# Rows × resamples at a time, of which there are some 10 MB of arrays, near the processor.
CHUNK = 2**19
# Rows × (4 + classes) × resamples that take some seven seconds; beyond, fewer resamples.
LONGEST = 1_200_000_000
DEFAULT_RESAMPLES, MIN_RESAMPLES = 1000, 200


def compute_intervals(
    task: Task,
    truth: NDArray[Any],
    answers: Answers,
    classes: NDArray[Any] | None,
    *,
    rng: np.random.Generator,
    resamples: int = DEFAULT_RESAMPLES,
    groups: NDArray[np.int64] | None = None,
    positive: int = 1,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of the metrics, of rows drawn anew with replacement.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. They say what the
    choice of test rows does to a metric, not what another training run would. Resamples lean to
    more calibration error than the rows have, whose own may lie below its interval.

    Args:
        task: what was answered.
        truth: as of `measure`, n ≥ 1 rows, each of one of the classes.
        answers: as of `measure`.
        classes: as of `measure`.
        rng: where the rows are drawn from.
        groups: whose row each is, `(n,)`: whole groups are drawn, whose rows are alike and tell
            less than as many rows of their own; None where each row is by itself.
        positive: Index of the positive class, see `measure`.
        resamples: how many; fewer, down to 200, where rows and classes are so many that it takes
            too long.

    Returns:
        Lower and upper end by the names of `measure`. A resample without any row of some class
        leaves out the metrics that need one; a metric that nine in ten leave out has no interval.
        Nor has one that is the same in every resample, such as a recall of 0 or an accuracy of 1:
        an interval of no width would say that it is known exactly.
    """
    resamples = _feasible(resamples, len(truth), classes)
    counts = _resamples(len(truth), resamples, groups, rng)
    metrics_of = create_resampled_metrics(task, truth, answers, classes, positive)
    parts = [metrics_of(drawn) for drawn in counts]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    there = {name: values[np.isfinite(values)] for name, values in found.items()}
    return {
        name: compute_interval(values)
        for name, values in there.items()
        if len(values) > resamples // 10 and values.min() < values.max()
    }


def compute_drops(
    task: Task,
    truth: NDArray[Any],
    answers: tuple[Answers, Answers],
    classes: NDArray[Any] | None,
    metric: str,
    *,
    rng: np.random.Generator,
    resamples: int = DEFAULT_RESAMPLES,
    groups: NDArray[np.int64] | None = None,
    positive: int = 1,
) -> NDArray[np.float64]:
    """How much less a metric is of the second answers than of the first, in each resample.

    Both are to the same rows, drawn together: what makes rows hard makes them hard for both, so the
    difference is known better than either. Resamples that have no such metric are left out.
    Arguments else as of `intervals`.
    """
    resamples = _feasible(resamples, len(truth), classes)
    before, after = (
        create_resampled_metrics(task, truth, given, classes, positive) for given in answers
    )
    found = [
        before(drawn)[metric] - after(drawn)[metric]
        for drawn in _resamples(len(truth), resamples, groups, rng)
    ]
    values = np.concatenate(found)
    return values[np.isfinite(values)]


def compute_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where 95 % of resampled values lie, its lower and upper end."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _feasible(resamples: int, n: int, classes: NDArray[Any] | None) -> int:
    """So many resamples, or as many as do not take too long."""
    work = n * (4 + (0 if classes is None else len(classes)))
    return min(resamples, max(MIN_RESAMPLES, LONGEST // work))


def _resamples(
    n: int, resamples: int, groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> Iterator[Counts]:
    """How often each row is in each resample, `(n, some of the resamples)` at a time."""
    most = max(1, CHUNK // n)
    owners = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    for start in range(0, resamples, most):
        drawn = _draw(int(owners.max()) + 1, min(most, resamples - start), rng)
        yield drawn if groups is None else drawn[owners]


def _draw(n: int, resamples: int, rng: np.random.Generator) -> Counts:
    """How often each row is drawn in n draws: int32 `(n, resamples)`, each column multinomial."""
    places = rng.integers(0, n, (n, resamples))
    places *= resamples
    places += np.arange(resamples)
    counts = np.bincount(places.reshape(-1), minlength=n * resamples)
    return counts.reshape(n, resamples).astype(np.int32)
