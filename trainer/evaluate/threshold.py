"""The threshold: from which probability up a binary answer is yes, chosen for what it is aimed at.

Half is best where both mistakes cost alike and the probabilities can be taken at their word.
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

PLAIN = ("f1", "balanced_accuracy", "accuracy")
BOUNDED = ("recall@precision", "precision@recall")
KNOWN = f"{', '.join(PLAIN)}, recall@precision=0.9, precision@recall=0.8 or cost=1:5"


@dataclass(frozen=True)
class ThresholdObjective:
    """What a threshold is chosen for.

    Attributes:
        name: `f1` of the positive class, `balanced_accuracy` or `accuracy`, the most there is;
            `recall@precision`, the most recall with at least that precision, and
            `precision@recall`; `cost`, the least cost of mistakes.
        numbers: the least precision or recall, in (0, 1], or what a false positive and a false
            negative cost, both above 0.
    """

    name: str
    numbers: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ThresholdObjective:
        """The aim that is written so: a name alone, `recall@precision=0.9` or `cost=1:5`.

        Raises:
            ValueError: it is not written so, or its numbers are out of range.
        """
        name, _, given = text.partition("=")
        if text in PLAIN:
            return cls(name)
        numbers = tuple(float(n) if _is_number(n) else math.nan for n in given.split(":"))
        if name in BOUNDED and len(numbers) == 1 and 0 < numbers[0] <= 1:
            return cls(name, numbers)
        if name == "cost" and len(numbers) == 2 and all(0 < n < math.inf for n in numbers):
            return cls(name, numbers)
        if name in BOUNDED:
            raise ValueError(f"expected a number in (0, 1], as in {name}=0.9; got {text!r}")
        if name == "cost":
            raise ValueError(
                f"expected what a false positive and a false negative cost, both above 0, as in "
                f"cost=1:5; got {text!r}"
            )
        raise ValueError(f"expected an aim, one of {KNOWN}; got {text!r}")


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d*)?(e[+-]?\d+)?|\.\d+", text, re.ASCII) is not None


def choose_threshold(
    aim: ThresholdObjective, positive: NDArray[np.bool_], p: NDArray[np.float32]
) -> float:
    """The threshold t that meets the aim best on these rows; yes is answered where p ≥ t.

    Every way to part the rows is looked at, with t midway between the neighbouring p. Of ways that
    are as good, the one with more of what the aim asks a least of is taken, then the one nearest
    to a half.

    Args:
        aim: what for.
        positive: whether yes is right, `(n,)`, both among them.
        p: the probability of yes, in [0, 1], `(n,)`.

    Returns:
        A float32 number strictly between 0 and 1.

    Raises:
        ValueError: the rows are all of one class, or no threshold meets the aim; the message says
            how near one comes.
    """
    if not 0 < np.count_nonzero(positive) < len(positive):
        raise ValueError(
            f"expected validation rows of both classes to choose a threshold on; got "
            f"{np.count_nonzero(positive)} positive ones of {len(positive)}; hold out more with "
            f"--validation"
        )
    thresholds, counts = _candidates(positive, p.astype(np.float32))
    merit, then = _merits(aim, counts)
    away = np.abs(thresholds.astype(np.float64) - 0.5)
    return float(thresholds[np.lexsort((-away, then, merit))[-1]])


class _Counts(NamedTuple):
    """Of each candidate how many rows are answered rightly and wrongly, int64 `(candidates,)`."""

    true_positives: Integers
    false_positives: Integers
    false_negatives: Integers
    true_negatives: Integers


def _candidates(
    positive: NDArray[np.bool_], p: NDArray[np.float32]
) -> tuple[NDArray[np.float32], _Counts]:
    edges = np.unique(np.append(p, np.array([0, 1], np.float32)))
    low, high = edges[:-1], edges[1:]
    middle = ((low.astype(np.float64) + high) / 2).astype(np.float32)
    # Between two neighbouring float32 there is no other, and the lower one is to be a no.
    thresholds = np.where(middle > low, middle, high)
    inside = thresholds < 1
    high = high[inside]
    false_negatives = np.searchsorted(np.sort(p[positive]), high)
    true_negatives = np.searchsorted(np.sort(p[~positive]), high)
    n_positive = np.count_nonzero(positive)
    return thresholds[inside], _Counts(
        n_positive - false_negatives,
        len(p) - n_positive - true_negatives,
        false_negatives,
        true_negatives,
    )


def _merits(aim: ThresholdObjective, counts: _Counts) -> tuple[Floats, Floats]:
    """How good each candidate is, and what decides between those that are as good.

    Raises:
        ValueError: none is good enough.
    """
    hits, false_alarms, misses, rejections = (c.astype(np.float64) for c in counts)
    n_positive, n_negative = hits + misses, false_alarms + rejections
    if aim.name in BOUNDED:
        recall, precision = hits / n_positive, hits / np.maximum(hits + false_alarms, 1)
        if aim.name == "recall@precision":
            return _bounded("precision", precision, aim.numbers[0], recall)
        return _bounded("recall", recall, aim.numbers[0], precision)
    if aim.name == "f1":
        merit = 2 * hits / (2 * hits + false_alarms + misses)
    elif aim.name == "balanced_accuracy":
        merit = hits * n_negative + rejections * n_positive  # whole numbers, whose ties are exact
    elif aim.name == "accuracy":
        merit = hits + rejections
    else:
        merit = -(aim.numbers[0] * false_alarms + aim.numbers[1] * misses)
    return merit, np.zeros_like(merit)


def _bounded(name: str, held: Floats, least: float, wanted: Floats) -> tuple[Floats, Floats]:
    if held.max() < least:
        raise ValueError(
            f"expected a threshold with a {name} of at least {least:g} on the validation rows; got "
            f"{held.max():.4g} at best; aim lower"
        )
    return np.where(held >= least, wanted, -1), held
