"""What one value of a column may be, and how it reaches the graph."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    BooleanColumn,
    CategoryColumn,
    CategorySpelling,
    InputColumn,
    is_gap_text,
    resolve_gap_numbers,
    resolve_gap_texts,
)
from serving.codec.quoting import describe_value, means_no_value, quote_text

FLOAT32_LIMIT = 2.0**128 - 2.0**103  # halfway past the largest: rounds to infinity from here on
FLOAT64_LIMIT = float(np.finfo(np.float64).max)
BOOLEAN_TEXTS = {"true": True, "false": False, "1": True, "0": False}  # as texts write them
MAX_UNSEEN_CHARACTERS = 256  # of an unseen text that the graph is given
MAX_LISTED_NAMES = 5  # categories that an error names
GAP_NOT_ACCEPTED = "and the model fills no gap here"
GAP_ADVICE = "for a gap send null (NaN in binary, an empty value in CSV)"


class WrongValueError(Exception):
    """A value that its column does not take: what was expected, and what came, in words."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected, self.got = expected, got


class ColumnValidator(ABC):
    """What a column's values may be.

    Attributes:
        name: the column's.
        input_name: Name of the graph's input, where the column is an input of its own.
        accepts_gaps: whether the graph takes a gap.
        dtype: of the column as the graph takes it; texts are objects.
        gap_value: how the graph is told of a gap.
        gap_numbers: Numbers that stand for a gap, however they come.
        expected: what a value should be, in words.
        magnitude_limit: Size from which on a number is not taken.
    """

    dtype: type
    gap_value: float | str = np.nan
    expected: str
    magnitude_limit = FLOAT32_LIMIT

    def __init__(self, column: InputColumn) -> None:
        self.name, self.input_name = column.name, column.input_name
        self.accepts_gaps = column.missing == "impute"
        self._gap_words = resolve_gap_texts(column.gaps)
        self._max_gap_characters = max(map(len, self._gap_words))
        self.gap_numbers = resolve_gap_numbers(column.gaps)

    def is_gap(self, text: str) -> bool:
        """Whether a text without spaces around it stands for a gap."""
        return is_gap_text(text, self._gap_words, self._max_gap_characters)

    def is_gap_number(self, value: object) -> bool:
        """Whether a value is a number that stands for a gap."""
        return (
            bool(self.gap_numbers)
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and value in self.gap_numbers
        )

    @abstractmethod
    def validate(self, value: object) -> Any:
        """One value as the graph takes it, a float or a text.

        Raises:
            WrongValueError: the column does not take it.
        """

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """Each value as the graph takes it; raises as `check` does."""
        return [self.validate(value) for value in values]

    def find_accepted(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which numbers `(n,)` `check` would take; NaN is left to the caller.

        Of a category it knows nothing: which texts its numbers become is for `check` to say.
        """
        inside: NDArray[np.bool_] = np.abs(numbers) < self.magnitude_limit
        return inside

    def convert_numbers(self, numbers: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers `(n,)` that `accepts` takes as the graph takes them."""
        return numbers.astype(np.float64)

    def fill_gap(self, came: str) -> float | str:
        """The gap, where the graph takes one; else the refusal of what `came` instead."""
        if self.accepts_gaps:
            return self.gap_value
        raise WrongValueError(self.expected, f"{came}, {GAP_NOT_ACCEPTED}")

    def fill_gap_text(self, text: str) -> float | str:
        """The same where the gap came as a text that stands for one."""
        return self.fill_gap(describe_value(text) if text else "an empty text")

    def refuse_value(self, value: object) -> NoReturn:
        """Say what was expected in place of `value`."""
        raise WrongValueError(self.expected, describe_value(value) + self.advise_on_gap(value))

    def advise_on_gap(self, value: object) -> str:
        """Return how to send a gap, to be put behind a wrong value that seems to stand for one."""
        if not means_no_value(value):
            return ""
        return f"; {GAP_ADVICE}" if self.accepts_gaps else f", {GAP_NOT_ACCEPTED}"


class NumberValidator(ColumnValidator):
    """A number that float32 can hold."""

    dtype: type = np.float32
    expected = "a finite number"

    def validate(self, value: object) -> Any:
        """A float, NaN for a gap."""
        if value is None:
            return self.fill_gap("null")
        if self.is_gap_number(value):
            return self.fill_gap(describe_value(value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse_value(value)
        if abs(value) >= self.magnitude_limit:
            came = f"a number that {self.dtype.__name__} cannot hold"
            raise WrongValueError(self.expected, came + self.advise_on_gap(value))
        if math.isnan(value):  # which the standard library's parser takes for a number
            self.refuse_value(value)
        return float(value)

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """As `check`; what is written as a fraction and in range needs no second look."""
        if self.gap_numbers:
            return super().validate_all(values)
        limit = self.magnitude_limit  # looked up once, and not for each value
        return [v if type(v) is float and -limit < v < limit else self.validate(v) for v in values]


class Float64Validator(NumberValidator):
    """A number that float64 can hold, where float32 would make one of several."""

    dtype = np.float64
    magnitude_limit = FLOAT64_LIMIT


class BooleanValidator(ColumnValidator):
    """True or false, which may be written as 1 or 0, or in a text as the training data write it.

    Attributes:
        value_by_text: Truth value of each text, in lower case; empty if only JSON's values are taken.
    """

    dtype = np.float32
    expected = "true or false"

    def __init__(self, column: BooleanColumn) -> None:
        super().__init__(column)
        self.value_by_text = column.texts and BOOLEAN_TEXTS | column.texts
        self._max_text_characters = max(map(len, self.value_by_text), default=0)
        if column.texts:
            self.expected = f"{self.expected}, or {', '.join(map(quote_text, column.texts))}"

    def validate(self, value: object) -> Any:
        """1.0 or 0.0, NaN for a gap."""
        if value is None:
            return self.fill_gap("null")
        if self.is_gap_number(value):
            return self.fill_gap(describe_value(value))
        if isinstance(value, str) and self.value_by_text:
            return self._validate_text(value)
        if not isinstance(value, int | float) or not self._is_boolean_number(value):
            self.refuse_value(value)
        return float(value)

    def find_accepted(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """As `Field.accepts`."""
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32)
        truths: NDArray[np.bool_] = (rounded == 0) | (rounded == 1)
        return truths

    def _validate_text(self, value: str) -> float | str:
        text = value.strip()
        if self.is_gap(text):
            return self.fill_gap_text(text)
        truth = (
            self.value_by_text.get(text.lower()) if len(text) <= self._max_text_characters else None
        )
        if truth is None:
            self.refuse_value(value)
        return float(truth)

    @staticmethod
    def _is_boolean_number(value: float) -> bool:
        """Whether float32, as which the graph takes it, makes 0 or 1 of a number."""
        return value in (0, 1) or (-1 < value < 2 and float(np.float32(value)) in (0, 1))


class CategoryValidator(ColumnValidator):
    """A text, one of those the model tells apart or, where it knows what to do, another."""

    dtype = np.object_
    gap_value = ""

    def __init__(self, column: CategoryColumn) -> None:
        super().__init__(column)
        self.accepts_unseen = column.unseen == "unknown"
        self.spelling = CategorySpelling(column)
        self.categories = self.spelling.categories
        # Longer than any category: what a text is cut to is none of them, if the text was none.
        self.max_characters = max(MAX_UNSEEN_CHARACTERS, 1 + max(map(len, column.categories)))
        numbers = {None: "", "integer": " or a whole number", "number": " or a number"}
        self.expected = f"a text{numbers[column.json_number_type]}" + ", true or false" * bool(
            column.truth_categories
        )

    def is_gap(self, text: str) -> bool:
        """As `Field.is_gap`; a category stands for none, however it is written."""
        return self.spelling.is_gap(text)

    def validate(self, value: object) -> Any:
        """The text as the categories are written, "" for a gap.

        A long unseen text is cut: in some formats many rows can refer to one text, and the graph is
        given a copy for each.
        """
        if value is None:
            return self.fill_gap("null")
        text = (
            self.spelling.spell_text(value)
            if isinstance(value, str)
            else self._convert_to_text(value)
        )
        known = self.categories.get(text)
        if known is None:
            if self.spelling.is_gap(text):
                return self.fill_gap_text(text)
            self._require_accepted(text)
        return known or text[: self.max_characters]

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """As `check`; a category that is written as it is known needs no second look."""
        known = self.categories.get
        return [(known(v) if type(v) is str else None) or self.validate(v) for v in values]

    def _convert_to_text(self, value: object) -> str:
        text: str | None = None
        if isinstance(value, bool):
            text = self.spelling.spell_truth(value)
        elif isinstance(value, int | float):
            text = self.spelling.spell_number(value)
        if text is None:
            self.refuse_value(value)
        return text

    def _require_accepted(self, text: str) -> None:
        if not self.accepts_unseen:
            some = list(self.categories)[:MAX_LISTED_NAMES]
            more = len(self.categories) - len(some)
            rest = f" and {more} more" if more else ""
            raise WrongValueError(
                f"one of {', '.join(map(quote_text, some))}{rest}", describe_value(text)
            )
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a pair of surrogates, which no other text can hold
            raise WrongValueError("a text that UTF-8 can hold", describe_value(text)) from None
