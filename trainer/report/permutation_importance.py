"""Permutation importance: the drop of a metric when one column is shuffled among the rows.

Breiman 2001, Random Forests, section 10. The same as scikit-learn's `permutation_importance`, but
computed with the graph that is served. Columns with the same information share their importance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from serving.bundle import Arrays
from trainer.data.records import Records, input_names
from trainer.evaluate import get_main_metric
from trainer.report.inputs import EvaluatedRows

MAX_ROWS = 2000
REPEATS = 5  # shuffles of each column


@dataclass(frozen=True)
class PermutationImportance:
    """Importance of one column.

    Attributes:
        column: Name of the column.
        drop: Drop of the main metric when the column is shuffled, mean of the shuffles.
        spread: Standard deviation of the drop over the shuffles.
    """

    column: str
    drop: float
    spread: float


@dataclass(frozen=True)
class PermutationImportances:
    """Importance of all columns.

    Attributes:
        metric: Name of the metric, of which higher is better.
        base: Metric of the rows before shuffling.
        rows: Number of rows.
        columns: Importance of the columns, highest first.
    """

    metric: str
    base: float
    rows: int
    columns: list[PermutationImportance]


def compute_importances(
    test_rows: EvaluatedRows, rng: np.random.Generator
) -> PermutationImportances:
    """Shuffle each column `REPEATS` times and measure the drop of the main metric.

    Args:
        test_rows: Rows to shuffle; a random sample of `MAX_ROWS` if there are more.
        rng: Random generator of the sample and of the shuffles.
    """
    if len(test_rows) > MAX_ROWS:
        test_rows = test_rows.take(rng.choice(len(test_rows), MAX_ROWS, replace=False))
    classes = test_rows.classes
    # ROC AUC is not defined if a class has no rows.
    has_all_classes = classes is not None and len(np.unique(test_rows.truth)) == len(classes)
    metric = get_main_metric(test_rows.task, {"roc_auc": 0.0} if has_all_classes else {})
    score = SCORES[metric]
    base = score(test_rows, test_rows.answers)
    orders = [rng.permutation(len(test_rows)) for _ in range(REPEATS)]
    inputs = {name: array.copy() for name, array in test_rows.records.inputs().items()}
    importances = []
    for index, name in enumerate(test_rows.records.names):
        view = _get_column_view(test_rows.records, inputs, index)
        values = view.copy()
        drops = []
        for order in orders:
            view[:] = values[order]
            drops.append(base - score(test_rows, test_rows.session.run(inputs)))
        view[:] = values
        importances.append(PermutationImportance(name, float(np.mean(drops)), float(np.std(drops))))
    importances.sort(key=lambda importance: -importance.drop)
    return PermutationImportances(metric, base, len(test_rows), importances)


def _get_column_view(records: Records, inputs: Arrays, index: int) -> NDArray[np.generic]:
    """Return a writable view `(n,)` of one column in the inputs of the graph."""
    if records.all_numbers:  # all columns are in one matrix
        return next(iter(inputs.values()))[:, index]
    return inputs[input_names(records.columns)[records.names[index]]][:, 0]


Score = Callable[[EvaluatedRows, Arrays], float]


def _accuracy(test_rows: EvaluatedRows, answers: Arrays) -> float:
    return float(metrics.accuracy_score(test_rows.truth, answers["label"]))


def _roc_auc(test_rows: EvaluatedRows, answers: Arrays) -> float:
    index = test_rows.positive_index
    is_positive = test_rows.truth == test_rows.class_labels[index]
    return float(metrics.roc_auc_score(is_positive, answers["probabilities"][:, index]))


def _r2(test_rows: EvaluatedRows, answers: Arrays) -> float:
    return float(metrics.r2_score(test_rows.truth, answers["value"]))


SCORES: dict[str, Score] = {"accuracy": _accuracy, "roc_auc": _roc_auc, "r2": _r2}
