"""Held-out metrics, by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from trainer.data.tables import Table
from trainer.model import Answers, Model


def evaluate(model: Model, table: Table, rows: NDArray[np.int64]) -> dict[str, float]:
    """Metrics of the model's answers on those rows of the table.

    Returns:
        For classification `accuracy`, `balanced_accuracy`, `f1_macro`, `log_loss` and, where rows
        of both of two classes are among them, `roc_auc`; for regression `r2`, `mae` and `rmse`, in
        original units.
    """
    answers = model.answers(table.features[rows])
    truth = table.target[rows]
    if model.task == "regression":
        return _regression(truth, answers)
    return _classification(model, truth, answers)


def _classification(model: Model, truth: NDArray[Any], answers: Answers) -> dict[str, float]:
    label, probabilities = answers["label"], answers["probabilities"].astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 sums to 1 only nearly
    present = np.unique(truth)
    found = {
        "accuracy": metrics.accuracy_score(truth, label),
        # The mean recall of the classes there are; scikit-learn's own function warns of one alone.
        "balanced_accuracy": metrics.recall_score(truth, label, labels=present, average="macro"),
        "f1_macro": metrics.f1_score(truth, label, average="macro"),
        "log_loss": metrics.log_loss(truth, probabilities, labels=model.classes),
    }
    if model.task == "binary" and model.classes is not None and len(present) == 2:
        found["roc_auc"] = metrics.roc_auc_score(truth == model.classes[1], probabilities[:, 1])
    return {name: float(value) for name, value in found.items()}


def _regression(truth: NDArray[Any], answers: Answers) -> dict[str, float]:
    value = answers["value"].astype(np.float64)
    found = {
        "r2": metrics.r2_score(truth, value),
        "mae": metrics.mean_absolute_error(truth, value),
        "rmse": metrics.root_mean_squared_error(truth, value),
    }
    return {name: float(value) for name, value in found.items()}
