"""Confidence intervals of metrics by the bootstrap: rows are drawn again with replacement.

Percentile intervals (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). They
show how much a metric depends on the choice of test rows, not how much it would differ in another
training run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task
from trainer.evaluate.resampled_metrics import Counts, create_resampled_metrics
from trainer.model import Answers

CONFIDENCE_LEVEL = 0.95
DEFAULT_RESAMPLES, MIN_RESAMPLES = 1000, 200
# Rows × resamples that are processed at once. Their arrays take about 10 MB and fit into the cache.
CHUNK_SIZE = 2**19
# Rows × (4 + classes) × resamples that take about seven seconds. If there are more, fewer resamples
# are drawn.
MAX_WORK = 1_200_000_000
# A metric has an interval only if it exists in more than this share of the resamples.
MIN_VALID_SHARE = 0.1


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
    """Return the 95 % interval of each metric, (low, high), by the metric's name.

    Resamples have a higher calibration error than the rows themselves, so that the calibration
    error of the rows may lie below its interval.

    Args:
        task: Kind of the target.
        truth: Target of each of at least one row: classes `(n,)`, or values `(n, n_targets)`.
        answers: Answers to these rows, named like the outputs of the graph.
        classes: Classes in the order of the probabilities, `(n_classes,)`; None for regression.
        rng: Random generator of the resamples.
        resamples: Number of resamples; reduced, to 200 at least, if rows and classes are many.
        groups: Group of each row, `(n,)`. Groups are drawn as a whole, since their rows are alike
            and give less information than independent ones. None if the rows have no groups.
        positive: Index of the positive class of a binary task.

    Returns:
        Intervals, without metrics that do not exist in nine of ten resamples because a class has no
        row, and without metrics that are the same in all resamples, such as a recall of 0: an
        interval of width 0 would claim that the metric is known exactly.
    """
    resamples = _limit_resamples(resamples, len(truth), classes)
    compute = create_resampled_metrics(task, truth, answers, classes, positive)
    chunks = [compute(counts) for counts in _draw_resamples(len(truth), resamples, groups, rng)]
    intervals = {}
    for name in chunks[0]:
        values = np.concatenate([chunk[name] for chunk in chunks])
        values = values[np.isfinite(values)]
        if len(values) > MIN_VALID_SHARE * resamples and values.min() < values.max():
            intervals[name] = compute_interval(values)
    return intervals


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
    """Return how much a metric drops from the first answers to the second, in each resample.

    Both are evaluated on the same resamples. A row that is hard is hard for both, so that the drop
    is known more precisely than either metric.

    Args:
        task: Kind of the target.
        truth: Target of each row; see `compute_intervals`.
        answers: Two answers to these rows.
        classes: Classes in the order of the probabilities, `(n_classes,)`; None for regression.
        metric: Name of the metric.
        rng: Random generator of the resamples.
        resamples: Number of resamples; see `compute_intervals`.
        groups: Group of each row, `(n,)`; see `compute_intervals`.
        positive: Index of the positive class of a binary task.

    Returns:
        Drops, float64 `(n_resamples,)`, without resamples in which the metric does not exist.
    """
    resamples = _limit_resamples(resamples, len(truth), classes)
    before, after = (
        create_resampled_metrics(task, truth, each, classes, positive) for each in answers
    )
    drops = [
        before(counts)[metric] - after(counts)[metric]
        for counts in _draw_resamples(len(truth), resamples, groups, rng)
    ]
    values = np.concatenate(drops)
    return values[np.isfinite(values)]


def compute_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range (low, high) of the middle 95 % of resampled values."""
    low, high = np.quantile(values, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    return float(low), float(high)


def _limit_resamples(resamples: int, n: int, classes: NDArray[Any] | None) -> int:
    """Return the number of resamples, reduced if they would take too long."""
    work = n * (4 + (0 if classes is None else len(classes)))
    return min(resamples, max(MIN_RESAMPLES, MAX_WORK // work))


def _draw_resamples(
    n: int, resamples: int, groups: NDArray[np.int64] | None, rng: np.random.Generator
) -> Iterator[Counts]:
    """Give the counts of the rows in a chunk of resamples at a time, `(n, chunk)`."""
    chunk = max(1, CHUNK_SIZE // n)
    owners = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    for start in range(0, resamples, chunk):
        counts = _draw_counts(int(owners.max()) + 1, min(chunk, resamples - start), rng)
        yield counts if groups is None else counts[owners]


def _draw_counts(n: int, resamples: int, rng: np.random.Generator) -> Counts:
    """Return how often each of n items is drawn in n draws, int32 `(n, resamples)`."""
    flat_indices = rng.integers(0, n, (n, resamples))
    flat_indices *= resamples
    flat_indices += np.arange(resamples)
    counts = np.bincount(flat_indices.reshape(-1), minlength=n * resamples)
    return counts.reshape(n, resamples).astype(np.int32)
