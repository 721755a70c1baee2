"""Baselines: what three models that need no tuning make of the same rows.

A network that a constant, a line or boosted trees beat should not be served, and who trains one
should know.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from serving.bundle import Baseline
from trainer.data.splits import Split
from trainer.data.tables import Table
from trainer.evaluate.metrics import measure
from trainer.model import Answers

# A baseline is not worth minutes. Beyond so many rows × features × classes they learn from fewer of
# the rows; beyond so many rounds × features × classes, trees get fewer than their 100 rounds.
LARGEST = 20_000_000
LONGEST = 300_000


def beside(table: Table, parts: Split, *, seed: int) -> dict[str, Baseline]:
    """Train the baselines on the training rows and judge them on the test rows.

    Args:
        table: the data.
        parts: which rows serve for what.
        seed: of those that draw random numbers, and of the rows taken where there are too many.

    Returns:
        Of classes `majority`, `logistic_regression`, `gradient_boosting`; of values `mean`,
        `ridge`, `gradient_boosting`.
    """
    classes = None if table.task == "regression" else np.unique(table.target)
    work = table.features.shape[1] * (1 if classes is None else len(classes))
    rows = parts.train
    if len(rows) * work > LARGEST:
        rows = np.random.default_rng(seed).choice(rows, max(LARGEST // work, 1000), replace=False)
    known, target = table.features[rows].astype(np.float64), table.target[rows]
    unseen, truth = table.features[parts.test].astype(np.float64), table.target[parts.test]
    found = {}
    for name, estimator in _estimators(table, work, seed).items():
        # One thread: those of OpenMP wait busily, and on a busy machine take minutes over seconds.
        with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough for a baseline
            estimator.fit(known, target)
        answers = _answers(estimator, unseen, classes)
        found[name] = Baseline(metrics=measure(table.task, truth, answers, classes), rows=len(rows))
    return found


def _estimators(table: Table, work: int, seed: int) -> dict[str, Any]:
    rounds = min(100, max(20, LONGEST // work))
    if table.task != "regression":
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        trees: Any = HistGradientBoostingClassifier(max_iter=rounds, random_state=seed)
        constant: Any = DummyClassifier(strategy="prior")
        return {"majority": constant, "logistic_regression": linear, "gradient_boosting": trees}
    trees = HistGradientBoostingRegressor(max_iter=rounds, random_state=seed)
    return {
        "mean": DummyRegressor(),
        "ridge": make_pipeline(StandardScaler(), Ridge()),
        "gradient_boosting": MultiOutputRegressor(trees),
    }


def _answers(estimator: Any, rows: np.ndarray, classes: np.ndarray | None) -> Answers:
    if classes is None:
        return {"value": estimator.predict(rows).reshape(len(rows), -1)}
    known = estimator.predict_proba(rows)
    # A class none of whose rows were taken has no column.
    probabilities = np.zeros((len(rows), len(classes)))
    probabilities[:, np.searchsorted(classes, estimator.classes_)] = known
    return {"label": classes[probabilities.argmax(axis=1)], "probabilities": probabilities}
