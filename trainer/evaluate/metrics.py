"""Held-out metrics, by scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task
from trainer.model import Answers

# With two classes, of the positive one alone.
POSITIVE_CLASS_METRICS = frozenset(
    {"roc_auc", "pr_auc", "positive_precision", "positive_recall", "positive_f1"}
)
CALIBRATION_BINS = 15  # of confidence, for the calibration error


def compute_metrics(
    task: Task,
    truth: NDArray[Any],
    answers: Answers,
    classes: NDArray[Any] | None,
    positive: int = 1,
) -> dict[str, float]:
    """Metrics of answers, named as the graph's outputs, to rows whose truth is known.

    Args:
        task: Kind of the target.
        truth: Targets, `(n,)` of classes, `(n, n_targets)` of values.
        answers: Answers to these rows.
        classes: Classes in the order of the probabilities; None for regression.
        positive: Place of the positive class among two classes.

    Returns:
        For classification accuracy, balanced_accuracy, precision, recall and f1 (macro: every class
        counts alike), log_loss, brier, calibration_error,
        classwise_calibration_error and, where rows of every class are there,
        roc_auc and pr_auc (of the positive class of two, else one class against the rest, macro).
        Of two classes, where there are rows of the positive one, its own positive_precision (0 if
        it is never answered), positive_recall and positive_f1.
        For regression r2, mae, rmse and the pinball losses of the 10 % and 90 % quantiles, in
        original units.
    """
    if task == "regression" or classes is None:
        return _regression(truth, answers["value"].astype(np.float64))
    probabilities = answers["probabilities"].astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)  # float32 sums to 1 only nearly
    true, label = (np.searchsorted(classes, given) for given in (truth, answers["label"]))
    return _classification(true, label, probabilities, np.arange(len(classes)), positive)


def compute_positive_metrics(
    truth: NDArray[np.bool_], answered: NDArray[np.bool_]
) -> dict[str, float]:
    """Return precision, recall and F1 of the positive class alone.

    Args:
        truth: Whether each row is of the positive class, `(n,)`.
        answered: Whether each row was answered so, `(n,)`.

    Returns:
        The three by their metrics' names; nothing where no row is of the positive class. The
        precision of a class that is never answered is 0, as scikit-learn's `zero_division=0`.
    """
    if not truth.any():
        return {}
    hits, said, true = (int(np.count_nonzero(rows)) for rows in (truth & answered, answered, truth))
    return {
        "positive_precision": hits / max(said, 1),
        "positive_recall": hits / true,
        "positive_f1": 2 * hits / (said + true),
    }


def find_never_predicted(
    truth: NDArray[Any], label: NDArray[Any], classes: NDArray[Any]
) -> list[Any]:
    """Return the classes that some row is of and no row is answered as, in their order."""
    lost: list[Any] = classes[np.isin(classes, truth) & ~np.isin(classes, label)].tolist()
    return lost


def get_main_metric(task: Task, found: dict[str, float]) -> str:
    """The metric that decides between models; higher is better."""
    if task == "regression":
        return "r2"
    return "roc_auc" if task == "binary" and "roc_auc" in found else "accuracy"


def _classification(
    truth: NDArray[Any],
    label: NDArray[Any],
    p: NDArray[np.float64],
    classes: NDArray[Any],
    positive: int,
) -> dict[str, float]:
    from sklearn import metrics  # noqa: PLC0415 - slow to import

    present = np.unique(truth)
    # Of the classes there are; one that is neither there nor answered has neither figure.
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    found = {
        "accuracy": metrics.accuracy_score(truth, label),
        # The mean recall of the classes there are; scikit-learn's own function warns of one alone.
        "balanced_accuracy": metrics.recall_score(truth, label, labels=present, average="macro"),
        "precision": metrics.precision_score(truth, label, **macro),
        "recall": metrics.recall_score(truth, label, **macro),
        "f1": metrics.f1_score(truth, label, **macro),
        "log_loss": metrics.log_loss(truth, p, labels=classes),
        "brier": float(np.mean(np.sum((p - (truth[:, None] == classes)) ** 2, axis=1))),
        "calibration_error": _calibration_error(p.max(axis=1), classes[p.argmax(axis=1)] == truth),
    }
    found["classwise_calibration_error"] = np.mean(
        [_calibration_error(p[:, k], truth == k) for k in classes]
    )
    if len(classes) == 2:
        found["brier"] /= 2  # as of the one probability
        found |= compute_positive_metrics(truth == positive, label == positive)
    if len(present) == len(classes):
        is_class = truth[:, None] == classes
        columns = [positive] if len(classes) == 2 else range(len(classes))
        found["roc_auc"] = np.mean(
            [metrics.roc_auc_score(is_class[:, k], p[:, k]) for k in columns]
        )
        found["pr_auc"] = np.mean(
            [metrics.average_precision_score(is_class[:, k], p[:, k]) for k in columns]
        )
    return {name: float(value) for name, value in found.items()}


def _calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The mean distance of confidence and accuracy, over bins of confidence.

    Naeini et al. 2015; with 15 bins as Guo et al. 2017, https://arxiv.org/abs/1706.04599. Class by
    class, of each one's probability, as Kull et al. 2019, https://arxiv.org/abs/1910.12656: what is
    said of a rare class is in no confidence, which is that of the class found likeliest.
    """
    number = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(number, confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _regression(truth: NDArray[Any], value: NDArray[np.float64]) -> dict[str, float]:
    from sklearn import metrics  # noqa: PLC0415 - slow to import

    # Of one row there is no variance: 1 if it is met and else 0, as of rows that are all alike.
    one = float(np.array_equal(truth.reshape(value.shape), value))
    found = {
        "r2": metrics.r2_score(truth, value) if len(truth) > 1 else one,
        "mae": metrics.mean_absolute_error(truth, value),
        "rmse": metrics.root_mean_squared_error(truth, value),
        "pinball_10": metrics.mean_pinball_loss(truth, value, alpha=0.1),
        "pinball_90": metrics.mean_pinball_loss(truth, value, alpha=0.9),
    }
    return {name: float(value) for name, value in found.items()}
