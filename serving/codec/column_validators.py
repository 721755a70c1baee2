"""Validators of a column's values: numbers, booleans and categories.

There is one class for each type of column in the manifest; dates have a module of their own.
`validate` is the rule for one value and raises an error that names what is wrong. `validate_all`
applies the same rule to many values and is fast for those that need no conversion.

A gap is a missing value: `null`, an absent key or, in a column of categories or dates, a text that
stands for one, such as "" or "NA", unless a category has that name. Where the manifest says that
the graph imputes gaps, the graph gets NaN or ""; elsewhere a gap is an error.
"""

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
from serving.codec.quoting import MAX_LISTED_NAMES, describe_value, means_no_value, quote_text

# Halfway between the largest float32 and the next power of two: rounds to infinity from here on.
FLOAT32_LIMIT = 2.0**128 - 2.0**103
FLOAT64_LIMIT = float(np.finfo(np.float64).max)
# Texts of CSV files and of manifests with `texts` that mean true or false, in lower case.
BOOLEAN_TEXTS = {"true": True, "false": False, "1": True, "0": False}
MAX_UNSEEN_CHARACTERS = 256  # an unseen category is cut to this length, see `CategoryValidator`
GAP_NOT_ACCEPTED = "and this column accepts no missing value"
GAP_ADVICE = "for a missing value send null (NaN in binary, an empty value in CSV)"


class WrongValueError(Exception):
    """A value that its column does not accept.

    Attributes:
        expected: Description of the values that the column accepts.
        got: Description of the value.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected, self.got = expected, got


class ColumnValidator(ABC):
    """The rule for the values of one column, and their conversion to the graph's input.

    Args:
        column: The column as the manifest declares it.

    Attributes:
        name: Name of the column.
        input_name: Name of the graph's input, if the column is an input of its own.
        accepts_gaps: Whether a value may be missing, since the graph imputes it.
        dtype: NumPy dtype of the graph's input; object for texts.
        gap_value: Value that stands for a gap in the graph's input.
        gap_numbers: Numbers that stand for a gap in every format, such as -999.
        expected: Description of the accepted values, for error messages.
        magnitude_limit: Smallest magnitude of a number that is not accepted.
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
        """Return whether a text stands for a gap; it has no white space around it."""
        return is_gap_text(text, self._gap_words, self._max_gap_characters)

    def is_gap_number(self, value: object) -> bool:
        """Return whether a value is one of the numbers that stand for a gap."""
        return (
            bool(self.gap_numbers)
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and value in self.gap_numbers
        )

    @abstractmethod
    def validate(self, value: object) -> Any:
        """Return one value as the graph takes it: a float, or a text.

        Args:
            value: A JSON scalar as Python has it, None for a gap, or an `UnparsedValue`.

        Raises:
            WrongValueError: If the column does not accept the value.
        """

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """Return each value as the graph takes it.

        Raises:
            WrongValueError: If the column does not accept one of them.
        """
        return [self.validate(value) for value in values]

    def find_accepted(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which numbers `validate` accepts, bool `(n,)`; undefined where a number is NaN.

        Not used for categories: whether a number is a category depends on its text.

        Args:
            numbers: Numbers, float64 `(n,)`.
        """
        accepted: NDArray[np.bool_] = np.abs(numbers) < self.magnitude_limit
        return accepted

    def convert_numbers(self, numbers: NDArray[Any]) -> NDArray[np.float64]:
        """Return accepted numbers `(n,)` as the graph takes them, float64 `(n,)`."""
        return numbers.astype(np.float64)

    def fill_gap(self, got: str) -> float | str:
        """Return the value that stands for a gap in the graph's input.

        Args:
            got: Description of what the request has instead of a value, for the error message.

        Raises:
            WrongValueError: If the column accepts no gaps.
        """
        if self.accepts_gaps:
            return self.gap_value
        raise WrongValueError(self.expected, f"{got}, {GAP_NOT_ACCEPTED}")

    def fill_gap_text(self, text: str) -> float | str:
        """Return the value for a gap that the request writes as a text; see `fill_gap`."""
        return self.fill_gap(describe_value(text) if text else "an empty text")

    def refuse_value(self, value: object) -> NoReturn:
        """Raise WrongValueError for a value that the column does not accept."""
        raise WrongValueError(self.expected, describe_value(value) + self.advise_on_gap(value))

    def advise_on_gap(self, value: object) -> str:
        """Return the end of an error message that says how to send a gap.

        Args:
            value: The wrong value. The advice is empty unless it looks like a missing value.
        """
        if not means_no_value(value):
            return ""
        return f"; {GAP_ADVICE}" if self.accepts_gaps else f", {GAP_NOT_ACCEPTED}"


class NumberValidator(ColumnValidator):
    """A column of finite numbers in the range of float32."""

    dtype: type = np.float32
    expected = "a finite number"

    def validate(self, value: object) -> Any:
        """Return the number as a float, NaN for a gap; see `ColumnValidator.validate`."""
        if value is None:
            return self.fill_gap("null")
        if self.is_gap_number(value):
            return self.fill_gap(describe_value(value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse_value(value)
        if abs(value) >= self.magnitude_limit:
            got = f"a number that {self.dtype.__name__} cannot hold"
            raise WrongValueError(self.expected, got + self.advise_on_gap(value))
        if math.isnan(value):  # Python's JSON parser reads the bare word NaN as a float
            self.refuse_value(value)
        return float(value)

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """Return each value as `validate` does; floats in range are returned at once."""
        if self.gap_numbers:
            return super().validate_all(values)
        limit = self.magnitude_limit  # read once, since the loop is on the path of each request
        return [v if type(v) is float and -limit < v < limit else self.validate(v) for v in values]


class Float64Validator(NumberValidator):
    """A column of finite float64 numbers, of which float32 would merge different ones."""

    dtype = np.float64
    magnitude_limit = FLOAT64_LIMIT


class BooleanValidator(ColumnValidator):
    """A column of true and false, also written as 1 and 0, or as the manifest's texts.

    Attributes:
        value_by_text: Boolean value of each accepted text, in lower case; empty if the manifest
            lists no texts.
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
        """Return 1.0 or 0.0, NaN for a gap; see `ColumnValidator.validate`."""
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
        """Return which numbers are 0 or 1 as float32; see `ColumnValidator.find_accepted`."""
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32)
        accepted: NDArray[np.bool_] = (rounded == 0) | (rounded == 1)
        return accepted

    def _validate_text(self, value: str) -> float | str:
        text = value.strip()
        if self.is_gap(text):
            return self.fill_gap_text(text)
        is_short = len(text) <= self._max_text_characters
        truth = self.value_by_text.get(text.lower()) if is_short else None
        if truth is None:
            self.refuse_value(value)
        return float(truth)

    @staticmethod
    def _is_boolean_number(value: float) -> bool:
        """Return whether a number is 0 or 1 once it is rounded to float32, the graph's dtype."""
        return value in (0, 1) or (-1 < value < 2 and float(np.float32(value)) in (0, 1))


class CategoryValidator(ColumnValidator):
    """A column of texts: the categories of the training data and, if the model allows, others.

    A text that is no category is cut to `max_characters`: in some formats many rows can refer to
    one long text, and the graph gets a copy for each row.

    Attributes:
        accepts_unseen: Whether texts that are no category are accepted.
        spelling: Rule by which differently written values are the same category.
        categories: The categories, each mapped to itself.
        max_characters: Length to which other texts are cut. It exceeds that of every category,
            so that no text becomes a category by being cut.
    """

    dtype = np.object_
    gap_value = ""

    def __init__(self, column: CategoryColumn) -> None:
        super().__init__(column)
        self.accepts_unseen = column.unseen == "unknown"
        self.spelling = CategorySpelling(column)
        self.categories = self.spelling.categories
        self.max_characters = max(MAX_UNSEEN_CHARACTERS, 1 + max(map(len, column.categories)))
        numbers = {None: "", "integer": " or a whole number", "number": " or a number"}
        truths = ", true or false" if column.truth_categories else ""
        self.expected = f"a text{numbers[column.json_number_type]}{truths}"

    def is_gap(self, text: str) -> bool:
        """Return whether a text stands for a gap; it has no white space around it.

        A category never does, whatever its text.
        """
        return self.spelling.is_gap(text)

    def validate(self, value: object) -> Any:
        """Return the text as the categories are written, "" for a gap.

        See `ColumnValidator.validate`.
        """
        if value is None:
            return self.fill_gap("null")
        if isinstance(value, str):
            text = self.spelling.spell_text(value)
        else:
            text = self._convert_to_text(value)
        category = self.categories.get(text)
        if category is None:
            if self.spelling.is_gap(text):
                return self.fill_gap_text(text)
            self._require_accepted(text)
        return category or text[: self.max_characters]

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """Return each value as `validate` does; texts that are categories are returned at once."""
        get = self.categories.get
        return [(get(v) if type(v) is str else None) or self.validate(v) for v in values]

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
        """Raise WrongValueError if the model does not accept a text that is no category."""
        if not self.accepts_unseen:
            listed = list(self.categories)[:MAX_LISTED_NAMES]
            more = len(self.categories) - len(listed)
            rest = f" and {more} more" if more else ""
            expected = f"one of {', '.join(map(quote_text, listed))}{rest}"
            raise WrongValueError(expected, describe_value(text))
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
            raise WrongValueError("a text that UTF-8 can hold", describe_value(text)) from None
