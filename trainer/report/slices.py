"""Slices: parts of the test rows that a column sets apart, and how the model does on each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess.dates import DAY
from trainer.data.records import MISSING, Column
from trainer.report.formatting import format_time, format_number, format_exact, shorten
from trainer.report.inputs import EvaluatedRows

MIN_ROWS = 50  # fewer tell little
Z = 1.959964  # of the normal distribution, beyond which 2.5 % lie


@dataclass(frozen=True)
class Slice:
    """Rows with something in common.

    Attributes:
        column: by which they were set apart.
        held: what it holds in them.
        rows: how many they are.
        figure: accuracy of classes; mean absolute error of values.
        low: lower end of its 95 % interval.
        high: upper end of it.
    """

    column: str
    value: str
    rows: int
    score: float
    low: float
    high: float


def find_slices(judged: EvaluatedRows) -> list[Slice]:
    """Every value of a category, and every quarter of a number or date; the worst first.

    Those of fewer than `FEWEST_ROWS` rows are left out, as are those of all rows.
    """
    scores = compute_row_scores(judged)
    found = []
    for column in judged.records.columns:
        for held, mask in _split_column(column, judged.records.column(column.name)):
            if MIN_ROWS <= np.count_nonzero(mask) < len(mask):
                figure, low, high = compute_interval(judged, scores[mask])
                found.append(Slice(column.name, held, int(mask.sum()), figure, low, high))
    sign = 1 if judged.classes is not None else -1
    return sorted(found, key=lambda part: sign * part.score)


def compute_row_scores(judged: EvaluatedRows) -> NDArray[np.float64]:
    """What is averaged over a slice: of classes 1 where right, of values the absolute error.

    Of several targets the mean of their errors, each in standard deviations of its truth.
    """
    if judged.classes is not None:
        return judged.is_correct.astype(np.float64)
    errors = np.abs(judged.errors)
    if errors.shape[1] > 1:
        spread = judged.truth.std(axis=0)
        errors = errors / np.where(spread > 0, spread, 1)
    found: NDArray[np.float64] = errors.mean(axis=1)
    return found


def compute_interval(judged: EvaluatedRows, scores: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean and its 95 % interval.

    Of shares by Wilson 1927, which holds for shares of 0 and 1 too; of errors by the normal
    approximation.
    """
    n, mean = len(scores), float(scores.mean())
    if judged.classes is None:
        half = Z * float(scores.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        return mean, max(0.0, mean - half), mean + half
    middle = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2))
    return mean, max(0.0, middle - half), min(1.0, middle + half)


def _split_column(column: Column, values: NDArray[np.generic]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if column.kind == "category":
        for code, word in enumerate(column.words):
            yield shorten(word), values == code
        yield "missing", values == MISSING
        return
    gaps = np.isnan(values)
    yield "missing", gaps
    there = values[~gaps]
    if column.kind == "boolean":
        yield "false", values == 0
        yield "true", values == 1
    elif len(there):
        edges = np.unique(np.quantile(there.astype(np.float64), np.linspace(0, 1, 5)))
        quarter = np.searchsorted(edges[1:-1], values.astype(np.float64), side="left")
        show = _choose_format(column, edges)
        for place, (low, high) in enumerate(pairwise(edges)):
            yield f"{show(low)} to {show(high)}", (quarter == place) & ~gaps


def _choose_format(column: Column, edges: NDArray[np.float64]) -> Callable[[float], str]:
    """How the ends of a quarter are written: of dates far apart, the days alone."""
    if column.kind == "precise":
        return format_exact
    if column.kind != "date":
        return format_number
    return (lambda s: format_time(s - s % DAY)) if edges[-1] - edges[0] > 100 * DAY else format_time
