"""Metrics of rows that count several times each: those of `measure`, of many resamples at once.

scikit-learn takes seconds for a thousand resamples of a thousand rows. Here all that does not
depend on the resample, the order of the scores for one, is found once, and what is left are sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.tables import Task
from trainer.evaluate.metrics import CALIBRATION_BINS
from trainer.model import Answers

if TYPE_CHECKING:
    from scipy import sparse

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]
Recount = Callable[[Counts], dict[str, Floats]]


def create_resampled_metrics(
    task: Task,
    truth: NDArray[Any],
    answers: Answers,
    classes: NDArray[Any] | None,
    positive: int = 1,
) -> Recount:
    """What finds the metrics of resamples; arguments as of `measure`.

    Returns:
        A function of counts, int32 `(n, resamples)`, how often each resample has each of the rows,
        at least one in all. It gives the metrics by name, each float64
        `(resamples,)`, NaN where a resample lacks a class without which there is none.
    """
    if task == "regression" or classes is None:
        return _Regression(truth, answers["value"])
    return _Classification(truth, answers, classes, positive)


class _Classification:
    def __init__(
        self, truth: NDArray[Any], answers: Answers, classes: NDArray[Any], positive: int
    ) -> None:
        p = answers["probabilities"].astype(np.float64)
        p /= p.sum(axis=1, keepdims=True)
        self.classes, self.positive = len(classes), positive
        actual = np.searchsorted(classes, truth)
        self._sums = self._make_sums(actual, np.searchsorted(classes, answers["label"]), p)
        columns = [positive] if self.classes == 2 else range(self.classes)
        self._classwise = _gaps_by_class(p, actual)
        self._rankings = [_ranking(p[:, k], actual == k) for k in columns]

    def _make_sums(
        self, actual: NDArray[np.intp], label: NDArray[np.intp], p: Floats
    ) -> sparse.csr_array:
        """What turns counts into sums: `(3 classes + BINS + 2, n)`.

        Of each class the rows that are of it, that are said to be and that rightly are; of each bin
        of confidence the gaps to accuracy; the log losses and the Brier scores.
        """
        from scipy import sparse  # noqa: PLC0415 - slow to import

        rows = np.arange(len(actual))
        hits = np.flatnonzero(actual == label)
        confidence = p.max(axis=1)
        numbers = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        gaps = confidence - (p.argmax(axis=1) == actual)
        epsilon = np.finfo(np.float64).eps  # as scikit-learn
        losses = -np.log(np.clip(p[rows, actual], epsilon, 1 - epsilon))
        brier = np.sum((p - (actual[:, None] == np.arange(self.classes))) ** 2, axis=1)
        if self.classes == 2:
            brier /= 2  # as of the one probability
        k, ones = self.classes, np.ones(len(rows))
        parts = [
            (actual, rows, ones),
            (k + label, rows, ones),
            (2 * k + actual[hits], hits, ones[hits]),
            (3 * k + numbers, rows, gaps),
            (np.full(len(rows), 3 * k + CALIBRATION_BINS), rows, losses),
            (np.full(len(rows), 3 * k + CALIBRATION_BINS + 1), rows, brier),
        ]
        places, of, values = (np.concatenate(each) for each in zip(*parts, strict=True))
        return sparse.csr_array(
            (values, (places, of)), shape=(3 * k + CALIBRATION_BINS + 2, len(rows))
        )

    def __call__(self, counts: Counts) -> dict[str, Floats]:
        n = counts.sum(axis=0, dtype=np.float64)
        sums = self._sums @ counts.astype(np.float64)
        true, said, hit = sums[: 3 * self.classes].reshape(3, self.classes, -1)
        losses, brier = sums[-2:]
        present, named = true > 0, true + said > 0
        recall = hit / np.maximum(true, 1)
        found = {
            "accuracy": hit.sum(axis=0) / n,
            "balanced_accuracy": recall.sum(axis=0) / present.sum(axis=0),
            "precision": (hit / np.maximum(said, 1)).sum(axis=0) / named.sum(axis=0),
            "recall": recall.sum(axis=0) / named.sum(axis=0),
            "f1": (2 * hit / np.maximum(true + said, 1)).sum(axis=0) / named.sum(axis=0),
            "log_loss": losses / n,
            "brier": brier / n,
            "calibration_error": np.abs(sums[3 * self.classes : -2]).sum(axis=0) / n,
        }
        gaps = np.abs(self._classwise @ counts.astype(np.float64)).sum(axis=0)
        found["classwise_calibration_error"] = gaps / n / self.classes
        if self.classes == 2:
            found |= self._of_positive(true, said, hit)
        areas = np.mean([_areas(ranking, counts) for ranking in self._rankings], axis=0)
        areas[:, ~present.all(axis=0)] = np.nan
        return found | dict(zip(("roc_auc", "pr_auc"), areas, strict=True))

    def _of_positive(self, *counts: Floats) -> dict[str, Floats]:
        """As `measure_positive`, of rows that are so, are answered so, and rightly are."""
        true, said, hit = (of_classes[self.positive] for of_classes in counts)
        true = np.where(true > 0, true, np.nan)
        return {
            "positive_precision": hit / np.maximum(said, 1) + 0 * true,
            "positive_recall": hit / true,
            "positive_f1": 2 * hit / (true + said),
        }


def _gaps_by_class(p: Floats, actual: NDArray[np.intp]) -> sparse.csr_array:
    """What turns counts into gaps of each class's probability to its share: `(classes BINS, n)`."""
    from scipy import sparse  # noqa: PLC0415 - slow to import

    n, k = p.shape
    first = CALIBRATION_BINS * np.arange(k, dtype=np.int32)
    numbers = np.minimum((p * CALIBRATION_BINS).astype(np.int32), CALIBRATION_BINS - 1) + first
    gaps = p - (actual[:, None] == np.arange(k))
    starts = np.arange(0, n * k + 1, k)
    by_row = sparse.csr_array(
        (gaps.ravel(), numbers.ravel(), starts), shape=(n, k * CALIBRATION_BINS)
    )
    return by_row.T.tocsr()


class _Ranking(NamedTuple):
    """Rows from the highest score down, and where in that order the scores of positives are.

    Rows of one score form a group; only groups with a positive among them matter.

    Attributes:
        order: all rows, int32 `(n,)`.
        positives: the positive rows, in that order.
        starts: of each group, how many rows come before it, `(groups,)`.
        stops: and how many up to its end.
        positive_stops: how many positive rows up to its end.
    """

    order: NDArray[np.int32]
    positives: NDArray[np.int32]
    starts: NDArray[np.intp]
    stops: NDArray[np.intp]
    positive_stops: NDArray[np.intp]


def _ranking(scores: Floats, positive: NDArray[np.bool_]) -> _Ranking:
    order = np.argsort(-scores, kind="stable").astype(np.int32)
    new = np.diff(scores[order], prepend=np.inf) != 0
    starts = np.flatnonzero(new)
    stops = np.append(starts[1:], len(order))
    places = np.flatnonzero(positive[order])
    groups, in_group = np.unique(np.cumsum(new)[places] - 1, return_counts=True)
    return _Ranking(order, order[places], starts[groups], stops[groups], np.cumsum(in_group))


def _areas(ranking: _Ranking, counts: Counts) -> Floats:
    """The areas under the ROC curve and, as average precision, the PR curve: `(2, resamples)`.

    The first is the chance that a positive row is ranked above a negative one, ties counting half:
    Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747. The second is the mean
    over the positive rows of the precision at their scores.
    """
    rows = _running(counts, ranking.order)
    positives = _running(counts, ranking.positives)
    found = positives[ranking.positive_stops].astype(np.float64)
    before = np.vstack([np.zeros_like(found[:1]), found[:-1]])
    hits = found - before
    reached = rows[ranking.stops]
    wrong = reached - found
    wrong_before = rows[ranking.starts] - before
    n_positive = np.maximum(positives[-1], 1).astype(np.float64)
    n_negative = np.maximum(rows[-1] - positives[-1], 1)
    outranked = np.einsum("gr,gr->r", hits, n_negative - (wrong + wrong_before) / 2)
    precise = np.einsum("gr,gr->r", hits, found / np.maximum(reached, 1))
    return np.stack([outranked / (n_positive * n_negative), precise / n_positive])


def _running(counts: Counts, order: NDArray[np.int32]) -> Counts:
    """Counts added up in that order, from 0: `(len(order) + 1, resamples)`."""
    out = np.zeros((len(order) + 1, counts.shape[1]), np.int32)
    np.cumsum(counts.take(order, axis=0), axis=0, out=out[1:])
    return out


class _Regression:
    def __init__(self, truth: NDArray[Any], value: NDArray[Any]) -> None:
        truth = truth.astype(np.float64).reshape(len(truth), -1)
        errors = truth - value.astype(np.float64).reshape(truth.shape)
        # Sums of squares lose digits far from 0.
        centred = truth - np.median(truth, axis=0)
        means = [
            np.abs(errors).mean(axis=1),
            *(np.maximum(a * errors, (a - 1) * errors).mean(axis=1) for a in (0.1, 0.9)),
        ]
        self._sums = np.stack([*means, *(errors**2).T, *centred.T, *(centred**2).T])

    def __call__(self, counts: Counts) -> dict[str, Floats]:
        means = self._sums @ counts.astype(np.float64) / counts.sum(axis=0, dtype=np.float64)
        mae, pinball_10, pinball_90 = means[:3]
        mse, mean, square = means[3:].reshape(3, -1, counts.shape[1])
        return {
            "r2": _r2(mse, square - mean**2, square).mean(axis=0),
            "mae": mae,
            "rmse": np.sqrt(mse).mean(axis=0),
            "pinball_10": pinball_10,
            "pinball_90": pinball_90,
        }


def _r2(mse: Floats, variance: Floats, square: Floats) -> Floats:
    """1 − mse / variance; of values all alike 1 if they are met and else 0, as scikit-learn."""
    alike = variance <= 1e-12 * square
    return np.where(alike, mse == 0, 1 - mse / np.where(alike, 1, variance))
