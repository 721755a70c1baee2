"""Importance: how much worse the answers get when one column is shuffled among the rows.

Breiman 2001, Random Forests, section 10; as in scikit-learn's `permutation_importance`, but through
the graph that is served. Columns that tell the same share their importance: each looks small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from serving.bundle import Arrays
from trainer.data.records import input_names
from trainer.evaluate import get_main_metric
from trainer.report.inputs import EvaluatedRows

MAX_ROWS = 2000
REPEATS = 5


@dataclass(frozen=True)
class PermutationImportance:
    """What one column is worth.

    Attributes:
        column: its name.
        drop: of the leading metric, when the column is shuffled; the mean of the repeats.
        spread: standard deviation of the repeats.
    """

    column: str
    drop: float
    spread: float


@dataclass(frozen=True)
class PermutationImportances:
    """What every column is worth.

    Attributes:
        metric: whose drop is meant.
        base: what it is unshuffled.
        rows: looked at.
        columns: the most important first.
    """

    metric: str
    base: float
    rows: int
    columns: list[PermutationImportance]


def compute_importances(judged: EvaluatedRows, rng: np.random.Generator) -> PermutationImportances:
    """Shuffle each column by itself, `REPEATS` times, and ask the graph again.

    Args:
        judged: of which at most `MOST_ROWS` rows are taken.
        rng: which rows, and their orders.
    """
    if len(judged) > MAX_ROWS:
        judged = judged.take(rng.choice(len(judged), MAX_ROWS, replace=False))
    both = judged.classes is not None and len(np.unique(judged.truth)) == len(judged.classes)
    metric = get_main_metric(judged.task, {"roc_auc": 0.0} if both else {})
    score = SCORES[metric]
    base = score(judged, judged.answers)
    orders = [rng.permutation(len(judged)) for _ in range(REPEATS)]
    inputs = {name: array.copy() for name, array in judged.records.inputs().items()}
    names = input_names(judged.records.columns)
    found = []
    for place, name in enumerate(judged.records.names):
        # One of a matrix's columns, or an input by itself: either way a view to write through.
        view = (
            next(iter(inputs.values()))[:, place]
            if judged.records.all_numbers
            else (inputs[names[name]][:, 0])
        )
        held = view.copy()
        drops = []
        for order in orders:
            view[:] = held[order]
            drops.append(base - score(judged, judged.session.run(inputs)))
        view[:] = held
        found.append(PermutationImportance(name, float(np.mean(drops)), float(np.std(drops))))
    found.sort(key=lambda importance: -importance.drop)
    return PermutationImportances(metric, base, len(judged), found)


Score = Callable[[EvaluatedRows, Arrays], float]


def _accuracy(judged: EvaluatedRows, answers: Arrays) -> float:
    return float(metrics.accuracy_score(judged.truth, answers["label"]))


def _roc_auc(judged: EvaluatedRows, answers: Arrays) -> float:
    positive = judged.truth == judged.class_labels[judged.positive_index]
    return float(metrics.roc_auc_score(positive, answers["probabilities"][:, judged.positive_index]))


def _r2(judged: EvaluatedRows, answers: Arrays) -> float:
    return float(metrics.r2_score(judged.truth, answers["value"]))


SCORES: dict[str, Score] = {"accuracy": _accuracy, "roc_auc": _roc_auc, "r2": _r2}
