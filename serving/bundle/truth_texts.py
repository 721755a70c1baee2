"""The texts of truth values, said once for every request format, OpenAPI, training and scoring.

A text that is to be accepted for true or false is added to `TRUTH_TEXTS`; nothing else has to
change. Everything that reads truth values looks the texts up when it needs them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Lower-case texts that mean true or false in every file, in CSV, and in each request format that
# the column's manifest allows texts in (see `BooleanColumn.texts`). They are accepted in any case.
# The first two are the names under which truth values are written.
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
    """Return whether two texts, in any case, are the false and the true one of a known pair."""
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
