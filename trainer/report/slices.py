"""The error of the model in subgroups of the test rows, one subgroup per value of a column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.dates import DAY
from trainer.data.records import MISSING, Column
from trainer.report.formatting import format_exact, format_number, format_time, shorten
from trainer.report.inputs import EvaluatedRows

MIN_ROWS = 50  # rows of a subgroup; the intervals of smaller ones are too wide to be useful
Z = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Slice:
    """A subgroup of the rows and its score.

    Attributes:
        column: Name of the column that defines the subgroup.
        value: Value or range of the column in the subgroup, as text.
        rows: Number of rows.
        score: Accuracy of a classifier; mean absolute error of a regression.
        low: Lower end of the 95 % interval of the score.
        high: Upper end of the 95 % interval of the score.
    """

    column: str
    value: str
    rows: int
    score: float
    low: float
    high: float


def find_slices(test_rows: EvaluatedRows) -> list[Slice]:
    """Return the subgroups by category and by quarter of a number or date, worst first.

    Subgroups with fewer than `MIN_ROWS` rows or with all rows are left out.
    """
    scores = compute_row_scores(test_rows)
    slices = []
    for column in test_rows.records.columns:
        for value, mask in _split_column(column, test_rows.records.column(column.name)):
            if MIN_ROWS <= np.count_nonzero(mask) < len(mask):
                score, low, high = compute_interval(test_rows, scores[mask])
                slices.append(Slice(column.name, value, int(mask.sum()), score, low, high))
    sign = 1 if test_rows.classes is not None else -1
    return sorted(slices, key=lambda part: sign * part.score)


def compute_row_scores(test_rows: EvaluatedRows) -> NDArray[np.float64]:
    """Return the score of each row, float64 `(n,)`, whose mean is the score of a subgroup.

    For a classifier it is 1 if the answer is correct, else 0; for a regression the absolute error.
    Errors of several targets are divided by the standard deviation of the target and averaged.
    """
    if test_rows.classes is not None:
        return test_rows.is_correct.astype(np.float64)
    errors = np.abs(test_rows.errors)
    if errors.shape[1] > 1:
        deviation = test_rows.truth.std(axis=0)
        errors = errors / np.where(deviation > 0, deviation, 1)
    scores: NDArray[np.float64] = errors.mean(axis=1)
    return scores


def compute_interval(
    test_rows: EvaluatedRows, scores: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the mean of scores `(n,)` and the ends of its 95 % interval.

    The interval of an accuracy is Wilson's (1927), which also holds for 0 and 1; that of an error
    is the normal approximation.
    """
    n, mean = len(scores), float(scores.mean())
    if test_rows.classes is None:
        half = Z * float(scores.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        return mean, max(0.0, mean - half), mean + half
    middle = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    return mean, max(0.0, middle - half), min(1.0, middle + half)


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
    present = values[~gaps]
    if column.kind == "boolean":
        yield "false", values == 0
        yield "true", values == 1
    elif len(present):
        edges = np.unique(np.quantile(present.astype(np.float64), np.linspace(0, 1, 5)))
        quarter = np.searchsorted(edges[1:-1], values.astype(np.float64), side="left")
        format_edge = _choose_format(column, edges)
        for index, (low, high) in enumerate(pairwise(edges)):
            yield f"{format_edge(low)} to {format_edge(high)}", (quarter == index) & ~gaps


def _choose_format(column: Column, edges: NDArray[np.float64]) -> Callable[[float], str]:
    """Return the format of the ends of a quarter; dates that are far apart have no time."""
    if column.kind == "precise":
        return format_exact
    if column.kind != "date":
        return format_number
    if edges[-1] - edges[0] > 100 * DAY:
        return lambda seconds: format_time(seconds - seconds % DAY)
    return format_time
