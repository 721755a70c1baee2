"""Baselines: three models without tuning, trained and evaluated on the same rows as the network.

A constant, a linear model and gradient-boosted trees. A network that does not beat them should not
be served.
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
from trainer.evaluate.metrics import compute_metrics
from trainer.evaluate.model_evaluation import MAX_EVALUATED_ROWS
from trainer.model import Answers

# Limits that keep baselines from taking minutes. Beyond this product of rows, columns and classes,
# baselines are trained on a random part of the rows.
MAX_TRAINING_VALUES = 20_000_000
MIN_TRAINING_ROWS = 1000
# Beyond this product of boosting iterations, columns and classes, trees get fewer iterations.
MAX_BOOSTING_WORK = 300_000
MIN_BOOSTING_ITERATIONS, MAX_BOOSTING_ITERATIONS = 20, 100
# scikit-learn's limit on the categories of a column that its trees treat as categorical.
MAX_TREE_CATEGORIES = 255
# Memory that training and prediction take for each feature: a float64 and parts of copies.
BYTES_PER_FEATURE = 12
# Linear models cannot use embeddings, so that all categories are one-hot encoded, up to this many
# of a column.
MAX_ONE_HOT_CATEGORIES = 10_000


def fit_baselines(
    table: Table, split: Split, *, seed: int, positive: int = 1
) -> dict[str, Baseline]:
    """Train the baselines on the training rows and evaluate them on the test rows.

    Args:
        table: The data.
        split: Rows for training, validation and test.
        seed: Seed of the baselines, and of the choice of rows if there are too many.
        positive: Index of the positive class of a binary task.

    Returns:
        Baselines by name: `majority`, `logistic_regression` and `gradient_boosting` for
        classification; `mean`, `ridge` and `gradient_boosting` for regression.
    """
    classes = None if table.task == "regression" else np.unique(table.target)
    work_per_row = len(table.records.columns) * (1 if classes is None else len(classes))
    rows = split.train
    if len(rows) * work_per_row > MAX_TRAINING_VALUES:
        n_rows = max(MAX_TRAINING_VALUES // work_per_row, MIN_TRAINING_ROWS)
        rows = np.random.default_rng(seed).choice(rows, n_rows, replace=False)
    encoder = Encoder.fit(table.records, rows, Encoding(one_hot=MAX_ONE_HOT_CATEGORIES))
    bytes_per_row = BYTES_PER_FEATURE * max(encoder.width, len(table.records.columns))
    max_rows = max(MIN_TRAINING_ROWS, compute_memory_budget() // bytes_per_row)
    rows = rows[:max_rows]
    # The same rows that the network is evaluated on.
    test_rows = subsample(split.test, MAX_EVALUATED_ROWS)
    slices = [test_rows[start : start + max_rows] for start in range(0, len(test_rows), max_rows)]
    baselines = {}
    for name, estimator in _create_estimators(table, work_per_row, seed).items():
        encode = _encode_for_trees if name == "gradient_boosting" else encoder.transform
        # OpenMP's idle threads spin. On a busy machine, several threads take minutes and one takes
        # seconds.
        with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
            # A baseline need not converge fully.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(encode(table.records.take(rows)).astype(np.float64), table.target[rows])
        features = (encode(table.records.take(part)) for part in slices)
        answers = _predict(estimator, features, classes)
        metrics = compute_metrics(table.task, table.target[test_rows], answers, classes, positive)
        baselines[name] = Baseline(metrics=metrics, rows=len(rows))
    return baselines


def _encode_for_trees(records: Records) -> NDArray[Any]:
    """Return numbers, dates and category codes as columns, `(n, columns)`, with NaN for gaps.

    Trees handle gaps and categories themselves.
    """
    codes = np.where(records.codes == MISSING, np.nan, records.codes)
    return np.concatenate([records.numbers, records.precise, records.dates, codes], axis=1)


def _create_estimators(table: Table, work_per_row: int, seed: int) -> dict[str, Any]:
    records = table.records
    # Columns with more categories are split by their order.
    n_numeric = sum(array.shape[1] for array in (records.numbers, records.precise, records.dates))
    categorical_features: list[int] = [
        n_numeric + index
        for index, column in enumerate(records.of_kind("category"))
        if len(column.words) <= MAX_TREE_CATEGORIES
    ]
    options: dict[str, Any] = {
        "random_state": seed,
        "categorical_features": categorical_features or None,
        "max_iter": min(
            MAX_BOOSTING_ITERATIONS,
            max(MIN_BOOSTING_ITERATIONS, MAX_BOOSTING_WORK // work_per_row),
        ),
    }
    if table.task == "regression":
        return {
            "mean": DummyRegressor(),
            "ridge": make_pipeline(StandardScaler(), Ridge()),
            "gradient_boosting": MultiOutputRegressor(HistGradientBoostingRegressor(**options)),
        }
    return {
        "majority": DummyClassifier(strategy="prior"),
        "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
        "gradient_boosting": HistGradientBoostingClassifier(**options),
    }


def _predict(
    estimator: Any, slices: Iterable[NDArray[Any]], classes: NDArray[Any] | None
) -> Answers:
    """Return the answers of a fitted estimator, named like the outputs of the graph.

    Args:
        estimator: A fitted scikit-learn estimator.
        slices: Features of consecutive rows, each `(rows, n_features)`.
        classes: Sorted classes; None for regression.
    """
    predict = estimator.predict if classes is None else estimator.predict_proba
    predictions = np.concatenate([predict(features.astype(np.float64)) for features in slices])
    if classes is None:
        return {"value": predictions.reshape(len(predictions), -1)}
    # The estimator has no column for a class that had no training row.
    probabilities = np.zeros((len(predictions), len(classes)))
    probabilities[:, np.searchsorted(classes, estimator.classes_)] = predictions
    return {"label": classes[probabilities.argmax(axis=1)], "probabilities": probabilities}
