"""Hardest: the rows on which the model is most surely wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.report.formatting import number, percent, short, value
from trainer.report.inputs import EvaluatedRows
from trainer.report.slices import row_scores

MOST = 10


@dataclass(frozen=True)
class Case:
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


def find_worst_errors(judged: EvaluatedRows) -> list[Case]:
    """At most `MOST` cases, the worst first.

    Of classes those answered wrongly, by how probable the wrong answer was said to be; of values
    those with the largest errors, of several targets in standard deviations of each.
    """
    if judged.classes is None:
        scores = row_scores(judged)
        rows = np.argsort(-scores, kind="stable")[:MOST]
        return [_value_case(judged, int(row), float(scores[row])) for row in rows]
    places = np.searchsorted(judged.classes, judged.answers["label"])
    sure = judged.probabilities[np.arange(len(judged)), places]
    wrong = np.flatnonzero(~judged.right)
    rows = wrong[np.argsort(-sure[wrong], kind="stable")[:MOST]]
    return [
        Case(
            short(str(judged.truth[row])),
            short(str(judged.answers["label"][row])),
            percent(float(sure[row])),
            int(row),
        )
        for row in rows
    ]


def _value_case(judged: EvaluatedRows, row: int, score: float) -> Case:
    truth = ", ".join(number(v) for v in judged.truth[row].tolist())
    answer = ", ".join(number(v) for v in judged.answers["value"][row].tolist())
    return Case(truth, answer, number(score, 3), row)


def format_row(judged: EvaluatedRows, row: int, columns: list[str]) -> list[str]:
    """What some columns hold in a row, in words."""
    by_name = {column.name: column for column in judged.records.columns}
    return [value(by_name[name], judged.records.column(name), row) for name in columns]
