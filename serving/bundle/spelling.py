"""Spelling: how the texts, numbers and truth values that come are compared with a category's texts.

One rule for training, scoring and serving: what is one value in a table must be one category,
whatever program wrote it. Columns of bundles before it (`Category.normalized` is False) compare
texts as they were written in the training data.
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

# Possessive quantifiers: a long text that does not match is looked at once.
ZERO_FRACTION_PATTERN = re.compile(r"(-?(?:0|[1-9][0-9]*+))\.0++")
EXACT_INTEGER_LIMIT = 2.0**53  # from here on a whole number may not be the one that was written
MAX_TRUTH_CHARACTERS = len("false")
# Most characters that one character of the form NFC has in another form. A longer text is none of
# those known, and is not normalised, which takes the square of its length if it is hostile.
MAX_NFC_EXPANSION = 4


def to_nfc(text: str) -> str:
    """Return a text in Unicode's normal form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def canonicalize_text(text: str) -> str:
    """Return a text as categories and classes are compared.

    Without white space around it, in Unicode's form NFC, and a whole number without a fraction: "1"
    for "1.0", as tables write it once there are gaps between numbers. "007" stays as it is.
    """
    return _strip_zero_fraction(to_nfc(text.strip()))


def resolve_gap_texts(gaps: Collection[str] | None) -> frozenset[str]:
    """Return the texts that stand for a gap, in lower case; None stands for all of `DEFAULT_GAP_TEXTS`."""
    return frozenset(DEFAULT_GAP_TEXTS if gaps is None else gaps) | {""}


def resolve_gap_numbers(gaps: Collection[str] | None) -> frozenset[float]:
    """Return the numbers that stand for a gap, however a text writes them: -9999 and -9999.0."""
    found = set()
    for word in resolve_gap_texts(gaps):
        try:
            number = float(word)
        except ValueError:
            continue
        if not math.isnan(number):
            found.add(number)
    return frozenset(found)


def are_gap_numbers(numbers: NDArray[Any], gaps: Collection[float]) -> NDArray[np.bool_]:
    """Return which numbers stand for a gap.

    Args:
        numbers: Integers or floats, short ones of which are compared at their own precision.
            Truth values are none.
        gaps: Numbers that do.
    """
    if not gaps or numbers.dtype == np.bool_:
        return np.zeros(numbers.shape, np.bool_)
    known = np.array(list(gaps), np.float64)
    if numbers.dtype.kind == "f":
        with np.errstate(over="ignore"):
            known = known.astype(numbers.dtype)
    found: NDArray[np.bool_] = np.isin(numbers, known)
    return found


def is_gap_text(text: str, words: Collection[str], longest: int) -> bool:
    """Return whether a text without white space around it stands for a gap.

    Args:
        text: The text.
        words: Words that do, in lower case.
        longest: Length of the longest of them, in characters.
    """
    if len(text) > longest and (text.isascii() or len(text) > MAX_NFC_EXPANSION * longest):
        return False
    return to_nfc(text.lower()) in words


class CategorySpelling:
    """What a column of categories makes of a value that is written in another way.

    Args:
        column: The column as the manifest declares it.

    Attributes:
        categories: The categories, each under itself.
        gaps: Texts, in lower case, that stand for a gap, unless a category is written so.
    """

    def __init__(self, column: CategoryColumn) -> None:
        self.categories = {text: text for text in column.categories}
        self.gaps = resolve_gap_texts(column.gaps)
        self._column = column
        self._longest_gap = max(map(len, self.gaps))
        self._longest = MAX_NFC_EXPANSION * max(map(len, column.categories))
        self._has_fractions = column.normalized or column.is_whole_numbers
        self._truths = {str(truth).lower(): text for truth, text in column.truth_categories.items()}
        self._fractions = (
            _index_fractions_by_value(column) if column.json_number_type == "number" else {}
        )

    def spell_text(self, text: str) -> str:
        """Return a text as the categories are written; one of none of them may stay as it is."""
        text = text.strip()
        if self._column.normalized and len(text) <= self._longest:
            text = to_nfc(text)
        if self._has_fractions:
            text = _strip_zero_fraction(text)
        if self._truths and len(text) <= MAX_TRUTH_CHARACTERS:
            # As pandas, or another writer, spells truth values in CSV.
            return self._truths.get(text.lower(), text)
        return text

    def spell_number(self, value: float) -> str | None:
        """Return a number, no boolean, as the categories are written; None if none is a number."""
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
        """Return true or false as the categories are written; None if they are other texts."""
        return self._column.truth_categories.get(value)

    def is_gap(self, text: str) -> bool:
        """Return whether a text without white space around it stands for a gap."""
        return text not in self.categories and is_gap_text(text, self.gaps, self._longest_gap)

    def accepts_text(self, text: str) -> bool:
        """Return whether the model answers a request with this text."""
        found = self.spell_text(text)
        if found in self.categories:
            return True
        column = self._column
        return column.missing == "impute" if self.is_gap(found) else column.unseen == "unknown"


def _strip_zero_fraction(text: str) -> str:
    found = ZERO_FRACTION_PATTERN.fullmatch(text)
    text = found[1] if found else text
    return "0" if text == "-0" else text


def _index_fractions_by_value(column: CategoryColumn) -> dict[float, str]:
    """Return the categories with a fraction by their value, as float64 and as float32 have it."""
    found: dict[float, str] = {}
    with np.errstate(over="ignore", under="ignore"):
        for single in (False, True):
            for text in column.categories:
                if column.is_number(text):
                    value = float(text)
                    found.setdefault(float(np.float32(value)) if single else value, text)
    return found
