"""The decision threshold: the probability from which a binary classifier predicts positive.

Without an objective it is 0.5, which is best if both kinds of errors cost the same and the
probabilities are calibrated.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

METRIC_OBJECTIVES = ("f1", "balanced_accuracy", "accuracy")
BOUNDED_OBJECTIVES = ("recall@precision", "precision@recall")
OBJECTIVE_EXAMPLES = (
    f"{', '.join(METRIC_OBJECTIVES)}, recall@precision=0.9, precision@recall=0.8 or cost=1:5"
)
NUMBER_PATTERN = re.compile(r"\d+(\.\d*)?(e[+-]?\d+)?|\.\d+", re.ASCII)


@dataclass(frozen=True)
class ThresholdObjective:
    """The objective that a threshold is chosen for.

    Attributes:
        name: One of: `f1` (of the positive class), `balanced_accuracy` or `accuracy`, which are
            maximised; `recall@precision`, the maximum recall with at least a given precision;
            `precision@recall`, the reverse; `cost`, the minimum cost of errors.
        numbers: The minimum precision or recall, in (0, 1]; or the costs of a false positive and
            of a false negative, both above 0; or nothing.
    """

    name: str
    numbers: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ThresholdObjective:
        """Parse a text such as `f1`, `recall@precision=0.9` or `cost=1:5`.

        Raises:
            ValueError: If the text is not an objective, or its numbers are out of range.
        """
        name, _, values = text.partition("=")
        if text in METRIC_OBJECTIVES:
            return cls(name)
        numbers = tuple(
            float(value) if NUMBER_PATTERN.fullmatch(value) else math.nan
            for value in values.split(":")
        )
        if name in BOUNDED_OBJECTIVES and len(numbers) == 1 and 0 < numbers[0] <= 1:
            return cls(name, numbers)
        if name == "cost" and len(numbers) == 2 and all(0 < n < math.inf for n in numbers):
            return cls(name, numbers)
        if name in BOUNDED_OBJECTIVES:
            raise ValueError(f"expected a number in (0, 1], as in {name}=0.9; got {text!r}")
        if name == "cost":
            raise ValueError(
                f"expected the costs of a false positive and of a false negative, both above 0, "
                f"as in cost=1:5; got {text!r}"
            )
        raise ValueError(f"expected an aim, one of {OBJECTIVE_EXAMPLES}; got {text!r}")


def choose_threshold(
    objective: ThresholdObjective, is_positive: NDArray[np.bool_], p: NDArray[np.float32]
) -> float:
    """Return the threshold t that is best on these rows; positive is predicted where p ≥ t.

    The candidates lie midway between neighbouring probabilities, so that they cover every way to
    divide the rows. Among equally good ones, a bounded objective prefers the highest value of the
    metric that it bounds; among those that are still equal, the one nearest to 0.5 is chosen.

    Args:
        objective: The objective.
        is_positive: Whether each row belongs to the positive class, `(n,)`; both values occur.
        p: Probability of the positive class in each row, `(n,)`.

    Returns:
        A float32 number, strictly between 0 and 1.

    Raises:
        ValueError: If all rows belong to one class, or no threshold meets the objective; the
            message then gives the best value there is.
    """
    n_positive = np.count_nonzero(is_positive)
    if not 0 < n_positive < len(is_positive):
        raise ValueError(
            f"expected validation rows of both classes to choose a threshold on; got "
            f"{n_positive} positive ones of {len(is_positive)}; hold out more with --validation"
        )
    thresholds, counts = _list_candidates(is_positive, p.astype(np.float32))
    scores, second_scores = _score_candidates(objective, counts)
    distances = np.abs(thresholds.astype(np.float64) - 0.5)
    return float(thresholds[np.lexsort((-distances, second_scores, scores))[-1]])


class _ConfusionCounts(NamedTuple):
    """The confusion matrix of each candidate, four arrays int64 `(n_candidates,)`."""

    true_positives: Integers
    false_positives: Integers
    false_negatives: Integers
    true_negatives: Integers


def _list_candidates(
    is_positive: NDArray[np.bool_], p: NDArray[np.float32]
) -> tuple[NDArray[np.float32], _ConfusionCounts]:
    edges = np.unique(np.append(p, np.array([0, 1], np.float32)))
    low, high = edges[:-1], edges[1:]
    middle = ((low.astype(np.float64) + high) / 2).astype(np.float32)
    # There is no float32 between two adjacent ones, and the lower one would be predicted positive.
    thresholds = np.where(middle > low, middle, high)
    is_valid = thresholds < 1
    high = high[is_valid]
    false_negatives = np.searchsorted(np.sort(p[is_positive]), high)
    true_negatives = np.searchsorted(np.sort(p[~is_positive]), high)
    n_positive = np.count_nonzero(is_positive)
    return thresholds[is_valid], _ConfusionCounts(
        n_positive - false_negatives,
        len(p) - n_positive - true_negatives,
        false_negatives,
        true_negatives,
    )


def _score_candidates(
    objective: ThresholdObjective, counts: _ConfusionCounts
) -> tuple[Floats, Floats]:
    """Return two scores of each candidate, `(n_candidates,)`; the second one decides ties.

    Raises:
        ValueError: If no candidate meets the objective.
    """
    tp, fp, fn, tn = (c.astype(np.float64) for c in counts)
    n_positive, n_negative = tp + fn, fp + tn
    if objective.name in BOUNDED_OBJECTIVES:
        recall, precision = tp / n_positive, tp / np.maximum(tp + fp, 1)
        minimum = objective.numbers[0]
        if objective.name == "recall@precision":
            return _score_bounded("precision", precision, minimum, recall)
        return _score_bounded("recall", recall, minimum, precision)
    if objective.name == "f1":
        scores = 2 * tp / (2 * tp + fp + fn)
    elif objective.name == "balanced_accuracy":
        # The balanced accuracy times a constant, as whole numbers, so that ties are exact.
        scores = tp * n_negative + tn * n_positive
    elif objective.name == "accuracy":
        scores = tp + tn
    else:
        scores = -(objective.numbers[0] * fp + objective.numbers[1] * fn)
    return scores, np.zeros_like(scores)


def _score_bounded(
    bounded_metric: str, bounded_values: Floats, minimum: float, maximized_values: Floats
) -> tuple[Floats, Floats]:
    if bounded_values.max() < minimum:
        raise ValueError(
            f"expected a threshold with a {bounded_metric} of at least {minimum:g} on the "
            f"validation rows; got {bounded_values.max():.4g} at best; choose a lower minimum"
        )
    return np.where(bounded_values >= minimum, maximized_values, -1), bounded_values
