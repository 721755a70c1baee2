"""The texts that mean true and false, declared once.

Every request format, OpenAPI, training and scoring read them here. To accept another text for true
or false everywhere, add it to `TRUTH_TEXTS`. To accept a pair such as ja/nein only where the
training data has it, add it to `TRUTH_WORD_PAIRS`. Only `serving.loadtest` has a list of its own,
since it imports nothing of the server.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Lower-case texts that mean true or false in files, in CSV, and, if the column's manifest has texts
# (`BooleanColumn.texts`), in every other format. Upper and lower case are the same. Truth values
# are written as "true" and "false".
TRUTH_TEXTS: dict[str, bool] = {"true": True, "false": False}
# Digits that mean true or false where a text may stand for a truth value. Training reads them as
# numbers unless its options name the column as boolean.
TRUTH_DIGITS: dict[str, bool] = {"1": True, "0": False}
# Pairs of lower-case words that training reads as truth values if a column has both words of one
# pair and no others. It declares them in the manifest, which is what makes the server accept them.
TRUTH_WORD_PAIRS: tuple[dict[str, bool], ...] = (
    {"yes": True, "no": False},
    {"y": True, "n": False},
    {"t": True, "f": False},
    {"on": True, "off": False},
)


def find_truth_categories(categories: list[str]) -> dict[bool, str]:
    """Return the categories that mean true and false; empty if there are any other categories.

    Args:
        categories: Texts of a column's categories. One of the two may be absent; its text is then
            `true` or `false`.
    """
    texts: dict[bool, str] = {}
    for text in categories:
        truth = TRUTH_TEXTS.get(text.lower())
        if truth is None or truth in texts:
            return {}
        texts[truth] = text
    return {truth: texts.get(truth, str(truth).lower()) for truth in (True, False)}


def is_false_and_true(first: str, second: str) -> bool:
    """Return whether two texts mean false and true, in this order, as one pair; case is ignored."""
    lower = first.lower(), second.lower()
    return any(
        tuple(map(truths.get, lower)) == (False, True)
        for truths in (TRUTH_TEXTS, TRUTH_DIGITS, *TRUTH_WORD_PAIRS)
    )


def are_truth_numbers(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which numbers are 0 or 1 once they are rounded to float32, the graph's dtype.

    Args:
        numbers: Numbers of any dtype and shape.

    Returns:
        Mask, bool, of the shape of `numbers`; False for NaN.
    """
    with np.errstate(over="ignore"):
        rounded = numbers.astype(np.float32)
    mask: NDArray[np.bool_] = (rounded == 0) | (rounded == 1)
    return mask
