"""The error of the model in subgroups of the test rows, one subgroup per value of a column.

The score of a classifier is its log loss, not its accuracy: where one class is rare, a model that
never predicts it is still accurate, and its accuracy is highest where the class is most rare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.dates import DAY
from trainer.data.records import MISSING, Column
from trainer.report.formatting import format_exact, format_number, format_time, shorten
from trainer.report.inputs import EvaluatedRows

MAX_DAYS_WITH_TIME = 100  # span of a column of dates whose quarters are named with the time of day
MIN_ROWS = 50  # rows of a subgroup; the intervals of smaller ones are too wide to be useful
Z = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Slice:
    """A subgroup of the rows and its score.

    Attributes:
        column: Name of the column that defines the subgroup.
        value: Value or range of the column in the subgroup, as text.
        rows: Number of rows.
        score: Log loss of a classifier; mean absolute error of a regression. Lower is better.
        low: Lower end of the 95 % interval of the score.
        high: Upper end of the 95 % interval of the score.
        correct: Number of rows with the right class; None for a regression.
        positives: Number of rows of the positive class of two; None for other tasks.
        found: Number of these that are predicted as the positive class; None for other tasks.
    """

    column: str
    value: str
    rows: int
    score: float
    low: float
    high: float
    correct: int | None = None
    positives: int | None = None
    found: int | None = None


def find_slices(test_rows: EvaluatedRows) -> list[Slice]:
    """Return the subgroups by category and by quarter of a number or date, worst first.

    Subgroups with fewer than `MIN_ROWS` rows or with all rows are left out.
    """
    scores = compute_row_scores(test_rows)
    slices = []
    for column in test_rows.records.columns:
        for value, mask in _split_column(column, test_rows.records.column(column.name)):
            if MIN_ROWS <= np.count_nonzero(mask) < len(mask):
                slices.append(
                    Slice(
                        column.name,
                        value,
                        int(mask.sum()),
                        *compute_interval(scores[mask]),
                        *_count_classes(test_rows, mask),
                    )
                )
    return sorted(slices, key=lambda part: -part.score)


def _count_classes(
    test_rows: EvaluatedRows, mask: NDArray[np.bool_]
) -> tuple[int | None, int | None, int | None]:
    """Return `Slice.correct`, `Slice.positives` and `Slice.found` of the rows of a mask."""
    if test_rows.classes is None:
        return None, None, None
    is_correct = test_rows.is_correct[mask]
    n_correct = int(np.count_nonzero(is_correct))
    if len(test_rows.classes) != 2:
        return n_correct, None, None
    is_positive = test_rows.truth[mask] == test_rows.classes[test_rows.positive_index]
    return (
        n_correct,
        int(np.count_nonzero(is_positive)),
        int(np.count_nonzero(is_positive & is_correct)),
    )


def compute_row_scores(test_rows: EvaluatedRows) -> NDArray[np.float64]:
    """Return the score of each row, float64 `(n,)`, whose mean is the score of a subgroup.

    For a classifier it is the negative logarithm of the probability of the true class, whose mean
    is the log loss; for a regression the absolute error. Errors of several targets are divided by
    the standard deviation of the target and averaged.
    """
    if test_rows.classes is not None:
        # Clipped as scikit-learn does, so that the mean of all rows is the log loss of the metrics.
        losses: NDArray[np.float64] = -np.log(
            np.clip(test_rows.true_probabilities, np.finfo(np.float64).eps, 1)
        )
        return losses
    errors = np.abs(test_rows.errors)
    if errors.shape[1] > 1:
        deviation = test_rows.truth.std(axis=0)
        errors = errors / np.where(deviation > 0, deviation, 1)
    scores: NDArray[np.float64] = errors.mean(axis=1)
    return scores


def compute_interval(scores: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of scores `(n,)` and the ends of its 95 % interval (normal approximation)."""
    n, mean = len(scores), float(scores.mean())
    half = Z * float(scores.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return mean, max(0.0, mean - half), mean + half


def compute_wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a share (Wilson 1927), which holds for 0 and 1 too.

    Args:
        share: Share of the rows, 0 to 1.
        n: Number of rows.
    """
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _split_column(
    column: Column, values: NDArray[np.generic]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name and the mask, bool `(n,)`, of each subgroup by the values of a column."""
    if column.kind == "category":
        for code, word in enumerate(column.words):
            yield shorten(word), values == code
        yield "missing", values == MISSING
        return
    gaps = np.isnan(values)
    yield "missing", gaps
    numbers = values.astype(np.float64)
    present = numbers[~gaps]
    if column.kind == "boolean":
        yield "false", numbers == 0
        yield "true", numbers == 1
    elif len(present):
        if column.kind == "date" and np.ptp(present) > MAX_DAYS_WITH_TIME * DAY:
            numbers = numbers - numbers % DAY  # dates that are far apart have no time
        # The edges are values of rows, so that the names of the quarters say which rows they have.
        edges = np.quantile(numbers[~gaps], np.linspace(0, 1, 5), method="inverted_cdf")
        edges = np.unique(edges)
        quarter = np.searchsorted(edges[1:-1], numbers, side="left")
        for index, name in enumerate(_name_quarters(column, edges)):
            yield name, (quarter == index) & ~gaps


def _name_quarters(column: Column, edges: NDArray[np.float64]) -> list[str]:
    """Return names of the ranges between edges, `(n + 1,)`, each value being in one range only.

    A value that ends a range belongs to it, so that the next begins after it: `0 to 4`,
    `over 4 to 7`, `over 7 to 21`.
    """
    texts = _format_edges(column, edges)
    after = "after" if column.kind == "date" else "over"
    return [
        f"{low} to {high}" if index == 0 else f"{after} {low} to {high}"
        for index, (low, high) in enumerate(pairwise(texts))
    ]


def _format_edges(column: Column, edges: NDArray[np.float64]) -> list[str]:
    """Return the edges as texts, with as many digits as make them different."""
    if column.kind == "date":
        return [format_time(edge) for edge in edges]
    if column.kind != "precise":
        for digits in (4, 6, 9):
            texts = [format_number(edge, digits) for edge in edges]
            if len(set(texts)) == len(texts):
                return texts
    return [format_exact(edge) for edge in edges]
