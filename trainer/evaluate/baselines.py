"""Baselines: what three models that need no tuning make of the same rows.

A network that a constant, a line or boosted trees beat should not be served, and who trains one
should know.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from serving.bundle import Baseline
from trainer.data.memory_budget import compute_memory_budget
from trainer.data.preprocess import Encoder, Encoding
from trainer.data.records import MISSING, Records
from trainer.data.splits import Split, subsample
from trainer.data.tables import Table
from trainer.evaluate.evaluation import MAX_EVALUATED_ROWS
from trainer.evaluate.metrics import compute_metrics
from trainer.model import Answers

# A baseline is not worth minutes. Beyond so many rows × features × classes they learn from fewer of
# the rows; beyond so many rounds × features × classes, trees get fewer than their 100 rounds.
MAX_NUMBERS = 20_000_000
LONGEST = 300_000
COPIES = 12  # bytes that learning and answering take for a number: as float64, and copies of it
MOST_PLACES = 10_000  # of a category, for lines


def fit_baselines(
    table: Table, parts: Split, *, seed: int, positive: int = 1
) -> dict[str, Baseline]:
    """Train the baselines on the training rows and judge them on the test rows.

    Args:
        table: the data.
        parts: which rows serve for what.
        seed: of those that draw random numbers, and of the rows taken where there are too many.
        positive: place of the positive class among two classes.

    Returns:
        Of classes `majority`, `logistic_regression`, `gradient_boosting`; of values `mean`,
        `ridge`, `gradient_boosting`.
    """
    classes = None if table.task == "regression" else np.unique(table.target)
    work = len(table.records.columns) * (1 if classes is None else len(classes))
    rows = parts.train
    if len(rows) * work > MAX_NUMBERS:
        rows = np.random.default_rng(seed).choice(
            rows, max(MAX_NUMBERS // work, 1000), replace=False
        )
    # Of its own, with no category embedded: lines cannot look anything up.
    encoder = Encoder.fit(table.records, rows, Encoding(one_hot=MOST_PLACES))
    most = max(
        1000, compute_memory_budget() // (COPIES * max(encoder.width, len(table.records.columns)))
    )
    rows = rows[:most]
    test = subsample(parts.test, MAX_EVALUATED_ROWS)  # the very rows the network is judged on
    target, truth = table.target[rows], table.target[test]
    found = {}
    for name, estimator in _estimators(table, work, seed).items():
        take = _plain if name == "gradient_boosting" else encoder.transform
        # One thread: those of OpenMP wait busily, and on a busy machine take minutes over seconds.
        with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough for a baseline
            estimator.fit(take(table.records.take(rows)).astype(np.float64), target)
        slices = (test[start : start + most] for start in range(0, len(test), most))
        answers = _answers(estimator, (take(table.records.take(s)) for s in slices), classes)
        metrics = compute_metrics(table.task, truth, answers, classes, positive)
        found[name] = Baseline(metrics=metrics, rows=len(rows))
    return found


def _plain(records: Records) -> NDArray[Any]:
    """Numbers, dates and places of categories side by side: trees take gaps and kinds as such."""
    codes = np.where(records.codes == MISSING, np.nan, records.codes)
    return np.concatenate([records.numbers, records.precise, records.dates, codes], axis=1)


def _estimators(table: Table, work: int, seed: int) -> dict[str, Any]:
    records = table.records
    # Trees split a category by its texts, up to 255 of them; others by their order.
    first = sum(array.shape[1] for array in (records.numbers, records.precise, records.dates))
    kinds: list[int] = [
        first + place
        for place, column in enumerate(records.of_kind("category"))
        if len(column.words) <= 255
    ]
    options: dict[str, Any] = {"random_state": seed, "categorical_features": kinds or None}
    rounds = min(100, max(20, LONGEST // work))
    if table.task != "regression":
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        trees: Any = HistGradientBoostingClassifier(max_iter=rounds, **options)
        constant: Any = DummyClassifier(strategy="prior")
        return {"majority": constant, "logistic_regression": linear, "gradient_boosting": trees}
    trees = HistGradientBoostingRegressor(max_iter=rounds, **options)
    return {
        "mean": DummyRegressor(),
        "ridge": make_pipeline(StandardScaler(), Ridge()),
        "gradient_boosting": MultiOutputRegressor(trees),
    }


def _answers(
    estimator: Any, slices: Iterable[NDArray[Any]], classes: NDArray[Any] | None
) -> Answers:
    method = estimator.predict if classes is None else estimator.predict_proba
    found = np.concatenate([method(part.astype(np.float64)) for part in slices])
    if classes is None:
        return {"value": found.reshape(len(found), -1)}
    # A class none of whose rows were taken has no column.
    probabilities = np.zeros((len(found), len(classes)))
    probabilities[:, np.searchsorted(classes, estimator.classes_)] = found
    return {"label": classes[probabilities.argmax(axis=1)], "probabilities": probabilities}
