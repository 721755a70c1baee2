"""Hardest: the rows on which the model is most surely wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.report.formatting import format_number, format_percent, shorten, format_cell
from trainer.report.inputs import EvaluatedRows
from trainer.report.slices import compute_row_scores

MAX_ERRORS = 10


@dataclass(frozen=True)
class WorstError:
    """One row.

    Attributes:
        truth: in words.
        answer: likewise.
        remark: how sure, or how far off.
        row: its place among the rows looked at.
    """

    truth: str
    answer: str
    remark: str
    row: int


def find_worst_errors(judged: EvaluatedRows) -> list[WorstError]:
    """At most `MOST` cases, the worst first.

    Of classes those answered wrongly, by how probable the wrong answer was said to be; of values
    those with the largest errors, of several targets in standard deviations of each.
    """
    if judged.classes is None:
        scores = compute_row_scores(judged)
        rows = np.argsort(-scores, kind="stable")[:MAX_ERRORS]
        return [_make_value_error(judged, int(row), float(scores[row])) for row in rows]
    places = np.searchsorted(judged.classes, judged.answers["label"])
    sure = judged.probabilities[np.arange(len(judged)), places]
    wrong = np.flatnonzero(~judged.is_correct)
    rows = wrong[np.argsort(-sure[wrong], kind="stable")[:MAX_ERRORS]]
    return [
        WorstError(
            shorten(str(judged.truth[row])),
            shorten(str(judged.answers["label"][row])),
            format_percent(float(sure[row])),
            int(row),
        )
        for row in rows
    ]


def _make_value_error(judged: EvaluatedRows, row: int, score: float) -> WorstError:
    truth = ", ".join(format_number(v) for v in judged.truth[row].tolist())
    answer = ", ".join(format_number(v) for v in judged.answers["value"][row].tolist())
    return WorstError(truth, answer, format_number(score, 3), row)


def format_row(judged: EvaluatedRows, row: int, columns: list[str]) -> list[str]:
    """What some columns hold in a row, in words."""
    by_name = {column.name: column for column in judged.records.columns}
    return [format_cell(by_name[name], judged.records.column(name), row) for name in columns]
