"""Match texts, numbers and booleans to categories although programs write them differently.

Training, scoring and serving share these rules: equal values of a table have to be the same
category, whichever program wrote them. Columns of older bundles, where `CategoryColumn.normalized`
is False, compare texts exactly as they were written in the training data.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle.manifest import DEFAULT_GAP_TEXTS, CategoryColumn
from serving.bundle.truth_texts import TRUTH_TEXTS

# The quantifiers are possessive, so that a long text is rejected in a single pass.
ZERO_FRACTION_PATTERN = re.compile(r"(-?(?:0|[1-9][0-9]*+))\.0++")
EXACT_INTEGER_LIMIT = 2.0**53  # from here on a float64 cannot represent every whole number
# A single character in NFC has at most 4 characters in any other form. So a text that is more than
# 4 times as long as every known text equals none of them. Such a text is never normalized, since
# that can take quadratic time for a hostile text.
MAX_NFC_EXPANSION = 4


def to_nfc(text: str) -> str:
    """Return a text in Unicode's normal form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def canonicalize_text(text: str) -> str:
    """Return the form of a text in which categories and classes are compared.

    White space around it is removed, it is converted to NFC, and a whole number loses a fraction of
    zeros: "1.0", which a table with gaps contains instead of 1, becomes "1". "007" does not change.
    """
    return _strip_zero_fraction(to_nfc(text.strip()))


def resolve_gap_texts(gaps: Collection[str] | None) -> frozenset[str]:
    """Return the lower-case texts that mean a gap.

    Args:
        gaps: Texts that a column declares; None for `DEFAULT_GAP_TEXTS`. The empty text is added.
    """
    return frozenset(DEFAULT_GAP_TEXTS if gaps is None else gaps) | {""}


def resolve_gap_numbers(gaps: Collection[str] | None) -> frozenset[float]:
    """Return the numbers that mean a gap: the gap texts that can be parsed, for example -9999.

    Args:
        gaps: Texts that a column declares; None for `DEFAULT_GAP_TEXTS`.
    """
    numbers = set()
    for text in resolve_gap_texts(gaps):
        try:
            number = float(text)
        except ValueError:
            continue
        if not math.isnan(number):
            numbers.add(number)
    return frozenset(numbers)


def are_gap_numbers(numbers: NDArray[Any], gaps: Collection[float]) -> NDArray[np.bool_]:
    """Return a mask of the numbers that mean a gap.

    Args:
        numbers: Integers, floats or booleans of any shape. Booleans are never gaps.
        gaps: Numbers that mean a gap. They are rounded to the precision of `numbers` first.

    Returns:
        Mask, bool, of the shape of `numbers`.
    """
    if not gaps or numbers.dtype == np.bool_:
        return np.zeros(numbers.shape, np.bool_)
    gap_numbers = np.array(list(gaps), np.float64)
    if numbers.dtype.kind == "f":
        with np.errstate(over="ignore"):
            gap_numbers = gap_numbers.astype(numbers.dtype)
    mask: NDArray[np.bool_] = np.isin(numbers, gap_numbers)
    return mask


def is_gap_text(text: str, gaps: Collection[str], max_characters: int) -> bool:
    """Return whether a text means a gap, in upper or lower case.

    Args:
        text: Text without white space around it.
        gaps: Lower-case texts that mean a gap.
        max_characters: Length of the longest of `gaps`, in characters.
    """
    if len(text) > max_characters and (
        text.isascii() or len(text) > MAX_NFC_EXPANSION * max_characters
    ):
        return False
    return to_nfc(text.lower()) in gaps


class CategorySpelling:
    """Maps the values of requests and tables to the texts of a column's categories.

    Args:
        column: Column as declared in the manifest.

    Attributes:
        categories: Mapping from the text of each category to itself.
        gaps: Lower-case texts that mean a gap, unless a category has the same text.
    """

    def __init__(self, column: CategoryColumn) -> None:
        self.categories = {text: text for text in column.categories}
        self.gaps = resolve_gap_texts(column.gaps)
        self._column = column
        self._max_gap_characters = max(map(len, self.gaps))
        self._max_normalized_characters = MAX_NFC_EXPANSION * max(map(len, column.categories))
        self._strips_zero_fractions = column.normalized or column.is_whole_numbers
        truths = column.truth_categories
        self._truths = {text: truths[truth] for text, truth in TRUTH_TEXTS.items() if truths}
        self._max_truth_characters = max(map(len, TRUTH_TEXTS))
        self._fractions = (
            _index_fractions_by_value(column) if column.json_number_type == "number" else {}
        )

    def spell_text(self, text: str) -> str:
        """Return a text in the spelling of the categories, whether or not it is one of them."""
        text = text.strip()
        if self._column.normalized and len(text) <= self._max_normalized_characters:
            text = to_nfc(text)
        if self._strips_zero_fractions:
            text = _strip_zero_fraction(text)
        if self._truths and len(text) <= self._max_truth_characters:
            # Programs write booleans to CSV in different cases, pandas for example as "True".
            return self._truths.get(text.lower(), text)
        return text

    def spell_number(self, value: float) -> str | None:
        """Return a number, which is not a boolean, as text in the spelling of the categories.

        None if no category can be that number.
        """
        kind = self._column.json_number_type
        if kind is None or not math.isfinite(value):
            return None
        if isinstance(value, int):
            return str(value)
        if value.is_integer():
            return str(int(value)) if abs(value) < EXACT_INTEGER_LIMIT else None
        if kind == "integer":
            return None
        text = repr(value)
        return text if text in self.categories else self._fractions.get(value, text)

    def spell_truth(self, value: bool) -> str | None:
        """Return the category of true or false; None if the categories are not booleans."""
        return self._column.truth_categories.get(value)

    def is_gap(self, text: str) -> bool:
        """Return whether a text without white space around it means a gap in this column."""
        return text not in self.categories and is_gap_text(
            text, self.gaps, self._max_gap_characters
        )


def _strip_zero_fraction(text: str) -> str:
    match = ZERO_FRACTION_PATTERN.fullmatch(text)
    text = match[1] if match else text
    return "0" if text == "-0" else text


def _index_fractions_by_value(column: CategoryColumn) -> dict[float, str]:
    """Return the numeric categories by their value, both in float64 and rounded to float32."""
    categories: dict[float, str] = {}
    with np.errstate(over="ignore", under="ignore"):
        for is_float32 in (False, True):
            for text in column.categories:
                if column.is_number(text):
                    value = float(text)
                    categories.setdefault(float(np.float32(value)) if is_float32 else value, text)
    return categories
