"""Checks for columns that alone predict the target nearly perfectly: they may leak it.

A rule with one column is fitted on one half of the sample and evaluated on the other. For orders
(the area under the ROC curve, the rank correlation) there is nothing to fit, and all rows count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.checks.finding import Details
from trainer.data.checks.sample import SEED, ColumnValues, TableSample
from trainer.data.targets import class_codes

# From here on a column is as good as the target: recall, area under the ROC curve or r2; and the
# magnitude of a rank correlation.
MIN_LEAK_SCORE, MIN_LEAK_CORRELATION = 0.99, 0.999
MIN_EVALUATION_ROWS, MIN_CLASS_ROWS = 25, 5  # with fewer, a score may be chance


def find_leaks(sample: TableSample, columns: Iterable[ColumnValues]) -> Details:
    """Return the columns that alone predict the target, each with its scores.

    Args:
        sample: Training rows.
        columns: The columns of the sample to check.
    """
    n_fit = np.count_nonzero(sample.is_fit_row)
    if min(n_fit, len(sample.rows) - n_fit) < MIN_EVALUATION_ROWS:
        return {}
    target = sample.table.target[sample.rows]
    describe: list[Callable[[ColumnValues], str | None]]
    if sample.table.task == "regression":
        names = sample.table.target_names
        describe = [
            _QuantityPrediction(name, values, sample.is_fit_row).describe_leak
            for name, values in zip(names, target.T, strict=True)
        ]
    else:
        describe = [_ClassPrediction(class_codes(target)[1], sample.is_fit_row).describe_leak]
    found = {}
    for pair in columns:
        scores = [text for describe_leak in describe if (text := describe_leak(pair)) is not None]
        if scores:
            found[pair[0].name] = f"{pair[0].name} ({' and '.join(scores)})"
    return found


@dataclass(frozen=True)
class _ClassPrediction:
    """How well one column alone predicts the classes.

    Attributes:
        classes: Class of each row, int32 `(n,)`.
        is_fit_row: Rows on which a rule is fitted, bool `(n,)`; it is evaluated on the others.
    """

    classes: NDArray[np.int32]
    is_fit_row: NDArray[np.bool_]

    def describe_leak(self, pair: ColumnValues) -> str | None:
        """Return the score of a column in words, or None where it is no leak."""
        column, values = pair
        if column.kind == "category":
            recall = self._recall(self._predict_by_category(values + 1))
        else:
            ranks = rank_values(values)
            if self.classes.max() == 1 and (area := self._roc_area(ranks)) >= MIN_LEAK_SCORE:
                return f"AUC {area:.3f}"
            recall = (
                0.0 if self._is_scattered(ranks) else self._recall(self._predict_by_tree(ranks))
            )
        return f"recall {recall:.3f} on held-out rows" if recall >= MIN_LEAK_SCORE else None

    def _recall(self, predictions: NDArray[Any]) -> float:
        """Return the mean recall over classes, so that frequent classes alone are not enough."""
        truth = self.classes[~self.is_fit_row]
        rows = np.bincount(truth)
        is_frequent = rows >= MIN_CLASS_ROWS
        if np.count_nonzero(is_frequent) < 2:
            return 0.0
        correct = np.bincount(truth, predictions == truth)
        return float((correct[is_frequent] / rows[is_frequent]).mean())

    def _predict_by_category(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Predict the most frequent class of each category, and of all rows for an unseen one.

        Args:
            codes: Category of each row, from 0, int `(n,)`.
        """
        classes, n_classes = self.classes[self.is_fit_row], int(self.classes.max()) + 1
        pairs, rows = np.unique(
            codes[self.is_fit_row].astype(np.int64) * n_classes + classes, return_counts=True
        )
        categories, frequent = np.divmod(pairs[np.argsort(rows)], n_classes)
        class_of = np.full(codes.max() + 1, np.bincount(classes).argmax())
        class_of[categories] = frequent  # of several classes the last is kept, the most frequent
        predictions: NDArray[Any] = class_of[codes[~self.is_fit_row]]
        return predictions

    def _is_scattered(self, ranks: NDArray[np.float64]) -> bool:
        """Return whether classes change too often from rank to rank for a tree to separate them."""
        changes = np.count_nonzero(np.diff(self.classes[np.lexsort((self.classes, ranks))]))
        return bool(changes > 0.1 * len(ranks) + 2 * self.classes.max())

    def _predict_by_tree(self, ranks: NDArray[np.float64]) -> NDArray[Any]:
        """Predict with a decision tree; of ranks, since its float32 cannot hold dates."""
        from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - slow to import

        tree = DecisionTreeClassifier(max_depth=12, random_state=SEED)
        tree.fit(ranks[self.is_fit_row, None], self.classes[self.is_fit_row])
        predictions: NDArray[Any] = tree.predict(ranks[~self.is_fit_row, None])
        return predictions

    def _roc_area(self, ranks: NDArray[np.float64]) -> float:
        """Return the area under the ROC curve, for the better direction and place of gaps.

        The area is Mann and Whitney's statistic (1947) divided by the number of pairs of rows.

        Args:
            ranks: Rank of each row's value, float64 `(n,)`, NaN for a gap.
        """
        positive = self.classes == 1
        n, m = np.count_nonzero(positive), np.count_nonzero(~positive)
        if min(n, m) < 2 * MIN_CLASS_ROWS:
            return 0.0
        is_gap = np.isnan(ranks)
        n_gaps = np.count_nonzero(is_gap)
        if n_gaps:  # below all values, or above them
            mean = (n_gaps + 1) / 2
            placements = [
                np.where(is_gap, mean, ranks + n_gaps),
                np.where(is_gap, len(ranks) - n_gaps + mean, ranks),
            ]
        else:
            placements = [ranks]
        best = 0.0
        for placed in placements:
            area = (placed[positive].sum() - n * (n + 1) / 2) / (n * m)
            best = max(best, area, 1 - area)
        return float(best)


@dataclass(frozen=True)
class _QuantityPrediction:
    """How well one column alone predicts a quantity.

    Attributes:
        name: Name of the quantity.
        target: Values of the quantity, float64 `(n,)`.
        is_fit_row: Rows on which a rule is fitted, bool `(n,)`; it is evaluated on the others.
    """

    name: str
    target: NDArray[np.float64]
    is_fit_row: NDArray[np.bool_]

    def describe_leak(self, pair: ColumnValues) -> str | None:
        """Return the score of a column in words, or None where it is no leak."""
        column, values = pair
        if column.kind == "category":
            r2 = self._score_by_category(values + 1)
            if r2 >= MIN_LEAK_SCORE:
                return f"r2 {r2:.3f} of {self.name} on held-out rows"
            return None
        correlation = self._rank_correlation(values)
        if abs(correlation) >= MIN_LEAK_CORRELATION:
            return f"rank correlation {correlation:.4f} with {self.name}"
        return None

    def _rank_correlation(self, values: NDArray[Any]) -> float:
        """Return Spearman's correlation over the rows with a value; 0 if at most half have one."""
        is_present = ~np.isnan(values)
        n_present = np.count_nonzero(is_present)
        if n_present <= len(values) / 2:
            return 0.0
        target_ranks = (
            self._target_ranks if n_present == len(values) else rank_values(self.target[is_present])
        )
        ranks = rank_values(values[is_present])
        ranks, target_ranks = ranks - ranks.mean(), target_ranks - target_ranks.mean()
        scale = np.sqrt((ranks @ ranks) * (target_ranks @ target_ranks))
        return float(ranks @ target_ranks / scale) if scale > 0 else 0.0

    @cached_property
    def _target_ranks(self) -> NDArray[np.float64]:
        return rank_values(self.target)

    def _score_by_category(self, codes: NDArray[Any]) -> float:
        """Return r2 of predicting each category's mean, and the mean of all for an unseen one.

        Args:
            codes: Category of each row, from 0, int `(n,)`.
        """
        fit_target, truth = self.target[self.is_fit_row], self.target[~self.is_fit_row]
        rows = np.bincount(codes[self.is_fit_row], minlength=codes.max() + 1)
        sums = np.bincount(codes[self.is_fit_row], fit_target, minlength=len(rows))
        means = np.where(rows > 0, sums / np.maximum(rows, 1), fit_target.mean())
        total = ((truth - truth.mean()) ** 2).sum()
        residual = ((truth - means[codes[~self.is_fit_row]]) ** 2).sum()
        return float(1 - residual / total) if total > 0 else 0.0


def rank_values(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rank values from 1.

    Args:
        values: Numbers, `(n,)`; NaN is a gap.

    Returns:
        Rank of each value, float64 `(n,)`: the mean rank for equal values, NaN for NaN.
    """
    # By hand, since importing `scipy.stats` takes longer than all other checks together; its
    # `rankdata` returns the same, 2.5 times as slowly for the few rows of a wide table.
    ranks = np.full(len(values), np.nan)
    present = ~np.isnan(values)
    _, place, rows = np.unique(values[present], return_inverse=True, return_counts=True)
    ranks[present] = (np.cumsum(rows) - (rows - 1) / 2)[place]
    return ranks
