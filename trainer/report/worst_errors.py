"""The worst errors: true classes of the lowest probability, or the largest errors of values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.report.formatting import format_cell, format_number, format_percent, shorten
from trainer.report.inputs import EvaluatedRows
from trainer.report.slices import compute_row_scores

MAX_ERRORS = 10


@dataclass(frozen=True)
class WorstError:
    """A row with a wrong answer, as text.

    Attributes:
        truth: True class or values.
        answer: Class or values of the answer.
        remark: Probability of the true class, or size of the error.
        row: Index of the row in the test rows.
    """

    truth: str
    answer: str
    remark: str
    row: int


def find_worst_errors(test_rows: EvaluatedRows) -> list[WorstError]:
    """Return at most `MAX_ERRORS` errors, worst first.

    Wrong classes are sorted by the probability of the true class, which is the order of their log
    loss (see `compute_row_scores`); values by their absolute error, of several
    targets in standard deviations of each.
    """
    if test_rows.classes is None:
        scores = compute_row_scores(test_rows)
        indices = np.argsort(-scores, kind="stable")[:MAX_ERRORS]
        return [_make_value_error(test_rows, int(row), float(scores[row])) for row in indices]
    label = test_rows.answers["label"]
    probability = test_rows.true_probabilities
    wrong = np.flatnonzero(~test_rows.is_correct)
    indices = wrong[np.argsort(probability[wrong], kind="stable")[:MAX_ERRORS]]
    return [
        WorstError(
            shorten(str(test_rows.truth[row])),
            shorten(str(label[row])),
            _format_probability(float(probability[row])),
            int(row),
        )
        for row in indices
    ]


def _format_probability(probability: float) -> str:
    """Return a probability as a percentage that is never rounded to 0."""
    return format_percent(probability) if probability >= 0.001 else f"< {format_percent(0.001)}"


def _make_value_error(test_rows: EvaluatedRows, row: int, score: float) -> WorstError:
    """Return the error of one row of a regression."""
    truth = ", ".join(format_number(v) for v in test_rows.truth[row].tolist())
    answer = ", ".join(format_number(v) for v in test_rows.answers["value"][row].tolist())
    return WorstError(truth, answer, format_number(score, 3), row)


def format_row(test_rows: EvaluatedRows, row: int, columns: list[str]) -> list[str]:
    """Return the values of some columns in one row, as text."""
    by_name = {column.name: column for column in test_rows.records.columns}
    return [format_cell(by_name[name], test_rows.records.column(name), row) for name in columns]
