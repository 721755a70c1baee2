"""Metrics of answers to rows whose target is known, by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task
from trainer.model import Answers

# Metrics that refer to the positive class alone if there are two classes.
POSITIVE_CLASS_METRICS = frozenset(
    {"roc_auc", "pr_auc", "positive_precision", "positive_recall", "positive_f1"}
)
CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017


def compute_metrics(
    task: Task,
    truth: NDArray[Any],
    answers: Answers,
    classes: NDArray[Any] | None,
    positive: int = 1,
) -> dict[str, float]:
    """Return all metrics of the answers to n rows, by name.

    Args:
        task: Kind of the target.
        truth: Target of each row: classes `(n,)`, or values `(n, n_targets)`.
        answers: Answers to these rows, named like the outputs of the graph.
        classes: Classes in the order of the probabilities, `(n_classes,)`; None for regression.
        positive: Index of the positive class of a binary task.

    Returns:
        Values by name. Classification has accuracy, balanced_accuracy, macro-averaged precision,
        recall and f1, log_loss, brier, calibration_error, classwise_calibration_error; and roc_auc
        and pr_auc if every class has rows (of the positive class of two, otherwise one-vs-rest and
        macro-averaged). With two classes also the metrics of `compute_positive_metrics`. Regression
        has r2, mae, rmse, and the pinball losses of the 10 % and 90 % quantiles, in the units of
        the target.
    """
    if task == "regression" or classes is None:
        return _compute_regression_metrics(truth, answers["value"].astype(np.float64))
    probabilities = answers["probabilities"].astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 sums to about 1 only
    true_indices, labels = (np.searchsorted(classes, array) for array in (truth, answers["label"]))
    return _compute_classification_metrics(
        true_indices, labels, probabilities, np.arange(len(classes)), positive
    )


def compute_positive_metrics(
    is_positive: NDArray[np.bool_], is_predicted: NDArray[np.bool_]
) -> dict[str, float]:
    """Return precision, recall and F1 of the positive class.

    Args:
        is_positive: Whether each row belongs to the positive class, `(n,)`.
        is_predicted: Whether the positive class was predicted for each row, `(n,)`.

    Returns:
        The metrics by name; empty if no row belongs to the positive class. If it is never
        predicted, its precision is 0, as with scikit-learn's `zero_division=0`.
    """
    if not is_positive.any():
        return {}
    n_correct, n_predicted, n_positive = (
        int(np.count_nonzero(rows))
        for rows in (is_positive & is_predicted, is_predicted, is_positive)
    )
    return {
        "positive_precision": n_correct / max(n_predicted, 1),
        "positive_recall": n_correct / n_positive,
        "positive_f1": 2 * n_correct / (n_predicted + n_positive),
    }


def find_never_predicted(
    truth: NDArray[Any], labels: NDArray[Any], classes: NDArray[Any]
) -> list[Any]:
    """Return the classes that some rows have but that are predicted for none, in their order.

    Args:
        truth: Class of each row, `(n,)`.
        labels: Predicted class of each row, `(n,)`.
        classes: All classes, `(n_classes,)`.
    """
    never_predicted: list[Any] = classes[
        np.isin(classes, truth) & ~np.isin(classes, labels)
    ].tolist()
    return never_predicted


def get_main_metric(task: Task, metrics: dict[str, float]) -> str:
    """Return the name of the metric that models are compared by; higher is better."""
    if task == "regression":
        return "r2"
    return "roc_auc" if task == "binary" and "roc_auc" in metrics else "accuracy"


def _compute_classification_metrics(
    truth: NDArray[Any],
    labels: NDArray[Any],
    p: NDArray[np.float64],
    classes: NDArray[Any],
    positive: int,
) -> dict[str, float]:
    from sklearn import metrics  # noqa: PLC0415 - slow to import

    present_classes = np.unique(truth)
    # Classes that are neither in the truth nor predicted do not count in the averages.
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    values = {
        "accuracy": metrics.accuracy_score(truth, labels),
        # The same as balanced_accuracy_score, which warns if there is one class only.
        "balanced_accuracy": metrics.recall_score(
            truth, labels, labels=present_classes, average="macro"
        ),
        "precision": metrics.precision_score(truth, labels, **macro),
        "recall": metrics.recall_score(truth, labels, **macro),
        "f1": metrics.f1_score(truth, labels, **macro),
        "log_loss": metrics.log_loss(truth, p, labels=classes),
        "brier": float(np.mean(np.sum((p - (truth[:, None] == classes)) ** 2, axis=1))),
        "calibration_error": _compute_calibration_error(
            p.max(axis=1), classes[p.argmax(axis=1)] == truth
        ),
        "classwise_calibration_error": np.mean(
            [_compute_calibration_error(p[:, k], truth == k) for k in classes]
        ),
    }
    if len(classes) == 2:
        values["brier"] /= 2  # the score of the one probability of the positive class
        values |= compute_positive_metrics(truth == positive, labels == positive)
    if len(present_classes) == len(classes):
        ranked_classes = [positive] if len(classes) == 2 else classes
        values["roc_auc"] = np.mean(
            [metrics.roc_auc_score(truth == k, p[:, k]) for k in ranked_classes]
        )
        values["pr_auc"] = np.mean(
            [metrics.average_precision_score(truth == k, p[:, k]) for k in ranked_classes]
        )
    return {name: float(value) for name, value in values.items()}


def _compute_calibration_error(
    confidence: NDArray[np.float64], is_correct: NDArray[np.bool_]
) -> float:
    """Return the mean difference of confidence and accuracy over bins of confidence.

    Naeini et al. 2015, with 15 bins as in Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    Applied to the probabilities of each class, it is the classwise error of Kull et al. 2019,
    https://arxiv.org/abs/1910.12656, which also covers rare classes: those are seldom the most
    probable one, so that the confidence says little about them.

    Args:
        confidence: Probability of the predicted class in each row, `(n,)`.
        is_correct: Whether the prediction is correct, `(n,)`.
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    differences = np.bincount(bins, confidence - is_correct, minlength=CALIBRATION_BINS)
    return float(np.abs(differences).sum() / len(confidence))


def _compute_regression_metrics(
    truth: NDArray[Any], value: NDArray[np.float64]
) -> dict[str, float]:
    from sklearn import metrics  # noqa: PLC0415 - slow to import

    # scikit-learn has no R2 of one row. Here it is 1 if the answer is exact and 0 otherwise, as it
    # is for rows whose targets all are equal.
    one_row_r2 = float(np.array_equal(truth.reshape(value.shape), value))
    values = {
        "r2": metrics.r2_score(truth, value) if len(truth) > 1 else one_row_r2,
        "mae": metrics.mean_absolute_error(truth, value),
        "rmse": metrics.root_mean_squared_error(truth, value),
        "pinball_10": metrics.mean_pinball_loss(truth, value, alpha=0.1),
        "pinball_90": metrics.mean_pinball_loss(truth, value, alpha=0.9),
    }
    return {name: float(number) for name, number in values.items()}
