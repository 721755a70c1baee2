"""Metrics of bootstrap resamples, computed for many resamples at once.

They are the metrics of `metrics.compute_metrics` for rows that count several times each. What does
not depend on the resample, such as the order of the scores, is computed once; the rest are sums
over rows, computed as products with the matrix of counts. 1,000 resamples of 400 rows of 10 classes
take 0.03 s of CPU time like this, 1.3 s with plain NumPy metrics on row indices, and 55 s with
`compute_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task
from trainer.evaluate.metrics import CALIBRATION_BINS
from trainer.model import Answers

if TYPE_CHECKING:
    from scipy import sparse

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
# How often each row is in each resample, int32 `(n, resamples)`.
Counts = NDArray[np.int32]
# Computes the metrics of resamples by name, each float64 `(resamples,)`.
ResampledMetrics = Callable[[Counts], dict[str, Floats]]


def create_resampled_metrics(
    task: Task,
    truth: NDArray[Any],
    answers: Answers,
    classes: NDArray[Any] | None,
    positive: int = 1,
) -> ResampledMetrics:
    """Return a function that computes all metrics of resamples.

    The arguments are those of `metrics.compute_metrics`. A metric that needs a class, such as the
    ROC AUC, is NaN in resamples without rows of it. Every resample has at least one row.
    """
    if task == "regression" or classes is None:
        return _RegressionMetrics(truth, answers["value"])
    return _ClassificationMetrics(truth, answers, classes, positive)


class _ClassificationMetrics:
    """The metrics of a classification, given the counts of the rows in each resample."""

    def __init__(
        self, truth: NDArray[Any], answers: Answers, classes: NDArray[Any], positive: int
    ) -> None:
        p = answers["probabilities"].astype(np.float64)
        p /= p.sum(axis=1, keepdims=True)
        n, k = p.shape
        self._n_classes, self._positive = k, positive
        true, labels = (np.searchsorted(classes, array) for array in (truth, answers["label"]))
        is_class = true[:, None] == np.arange(k)
        # Rows of each class; rows predicted as each class; rows predicted correctly.
        self._confusion = [
            _create_summing_matrix(true, np.ones(n), k),
            _create_summing_matrix(labels, np.ones(n), k),
            _create_summing_matrix(true, true == labels, k),
        ]
        epsilon = np.finfo(np.float64).eps  # as in scikit-learn
        log_losses = -np.log(np.clip(p[np.arange(n), true], epsilon, 1 - epsilon))
        brier_scores = np.sum((p - is_class) ** 2, axis=1) / (2 if k == 2 else 1)
        self._losses = np.stack([log_losses, brier_scores])
        confidence = p.max(axis=1)
        self._confidence_gaps = _create_bin_sums(confidence, p.argmax(axis=1) == true)
        self._class_gaps = [_create_bin_sums(p[:, c], is_class[:, c]) for c in range(k)]
        ranked_classes = [positive] if k == 2 else range(k)
        self._rankings = [_Ranking(p[:, c], is_class[:, c]) for c in ranked_classes]

    def __call__(self, counts: Counts) -> dict[str, Floats]:
        weights = counts.astype(np.float64)
        n = weights.sum(axis=0)
        true, predicted, correct = (sums @ weights for sums in self._confusion)
        is_present, is_used = true > 0, true + predicted > 0
        n_used = is_used.sum(axis=0)
        precision, recall = correct / np.maximum(predicted, 1), correct / np.maximum(true, 1)
        f1 = 2 * correct / np.maximum(true + predicted, 1)
        log_loss, brier = self._losses @ weights / n
        class_gaps = [np.abs(gaps @ weights).sum(axis=0) for gaps in self._class_gaps]
        metrics = {
            "accuracy": correct.sum(axis=0) / n,
            "balanced_accuracy": recall.sum(axis=0) / is_present.sum(axis=0),
            "precision": precision.sum(axis=0) / n_used,
            "recall": recall.sum(axis=0) / n_used,
            "f1": f1.sum(axis=0) / n_used,
            "log_loss": log_loss,
            "brier": brier,
            "calibration_error": np.abs(self._confidence_gaps @ weights).sum(axis=0) / n,
            "classwise_calibration_error": np.mean(class_gaps, axis=0) / n,
        }
        if self._n_classes == 2:
            positive = self._positive
            has_positive = is_present[positive]
            for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
                metrics[f"positive_{name}"] = np.where(has_positive, values[positive], np.nan)
        areas = np.mean([ranking.compute_areas(counts) for ranking in self._rankings], axis=0)
        areas[:, ~is_present.all(axis=0)] = np.nan
        metrics["roc_auc"], metrics["pr_auc"] = areas
        return metrics


def _create_summing_matrix(
    groups: NDArray[np.integer], values: NDArray[Any], n_groups: int
) -> sparse.csr_array:
    """Return the matrix `(n_groups, n)` whose product with counts sums the values in each group.

    Args:
        groups: Group of each row, `(n,)`.
        values: Value of each row, `(n,)`.
        n_groups: Number of groups.
    """
    from scipy import sparse  # noqa: PLC0415 - slow to import

    n = len(groups)
    entries = (np.asarray(values, np.float64), (groups, np.arange(n)))
    return sparse.csr_array(entries, shape=(n_groups, n))


def _create_bin_sums(confidence: Floats, is_correct: NDArray[np.bool_]) -> sparse.csr_array:
    """Return the matrix whose product with counts is confidence minus accuracy of each bin."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    return _create_summing_matrix(bins, confidence - is_correct, CALIBRATION_BINS)


class _Ranking:
    """The rows by descending score, and the ranks of the positive ones.

    Args:
        scores: Score of each row, `(n,)`.
        is_positive: Whether each row is positive, `(n,)`.
    """

    def __init__(self, scores: Floats, is_positive: NDArray[np.bool_]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._positives = self._order[is_positive[self._order]]
        descending, positive_scores = -scores[self._order], -scores[self._positives]
        # Of each positive row, the number of rows with a higher score, and with at least its
        # score; the same among the positive rows.
        self._n_above, self._n_at_least = _rank(descending, positive_scores)
        self._positives_above, self._positives_at_least = _rank(positive_scores, positive_scores)

    def compute_areas(self, counts: Counts) -> Floats:
        """Return the areas under the ROC curve and the precision-recall curve, `(2, resamples)`.

        The first is the probability that a positive row is ranked above a negative one, where ties
        count half: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747. The
        second is the average precision: the mean precision at the scores of the positive rows.
        """
        rows, positives = (_cumulate(counts, order) for order in (self._order, self._positives))
        true_positives = positives[self._positives_at_least].astype(np.float64)
        n_selected = rows[self._n_at_least]
        # Twice the comparisons that a positive row loses: a higher negative row counts 2, a tie 1.
        losses = n_selected - true_positives
        losses += rows[self._n_above] - positives[self._positives_above]
        weights = counts[self._positives]
        n_positive = np.maximum(positives[-1], 1).astype(np.float64)
        n_negative = np.maximum(rows[-1] - positives[-1], 1)
        wins = np.einsum("pr,pr->r", weights, n_negative - losses / 2)
        precisions = np.einsum("pr,pr->r", weights, true_positives / np.maximum(n_selected, 1))
        return np.stack([wins / (n_positive * n_negative), precisions / n_positive])


def _rank(ascending: Floats, values: Floats) -> tuple[Integers, Integers]:
    """Return how many of the ascending numbers are below each value, and how many not above."""
    return np.searchsorted(ascending, values), np.searchsorted(ascending, values, side="right")


def _cumulate(counts: Counts, order: NDArray[np.integer]) -> Counts:
    """Return the cumulative counts in an order, from 0 on, int32 `(len(order) + 1, resamples)`."""
    cumulative = np.zeros((len(order) + 1, counts.shape[1]), np.int32)
    np.cumsum(counts.take(order, axis=0), axis=0, out=cumulative[1:])
    return cumulative


class _RegressionMetrics:
    """The metrics of a regression, given the counts of the rows in each resample."""

    def __init__(self, truth: NDArray[Any], value: NDArray[Any]) -> None:
        truth = truth.astype(np.float64).reshape(len(truth), -1)
        errors = truth - value.astype(np.float64).reshape(truth.shape)
        # Squares of numbers far from 0 would lose digits.
        centred = truth - np.median(truth, axis=0)
        absolute = np.abs(errors).mean(axis=1)
        pinball = [np.maximum(a * errors, (a - 1) * errors).mean(axis=1) for a in (0.1, 0.9)]
        self._rows = np.stack([absolute, *pinball, *(errors**2).T, *centred.T, *(centred**2).T])

    def __call__(self, counts: Counts) -> dict[str, Floats]:
        weights = counts.astype(np.float64)
        means = self._rows @ weights / weights.sum(axis=0)
        mae, pinball_10, pinball_90 = means[:3]
        mse, mean, square = means[3:].reshape(3, -1, counts.shape[1])
        return {
            "r2": _compute_r2(mse, square - mean**2, square).mean(axis=0),
            "mae": mae,
            "rmse": np.sqrt(mse).mean(axis=0),
            "pinball_10": pinball_10,
            "pinball_90": pinball_90,
        }


def _compute_r2(mse: Floats, variance: Floats, square: Floats) -> Floats:
    """Return 1 - mse / variance; for equal targets 1 if mse is 0 and else 0, as scikit-learn."""
    are_equal = variance <= 1e-12 * square
    return np.where(are_equal, mse == 0, 1 - mse / np.where(are_equal, 1, variance))
