"""The schemas of numbers, booleans and categories, and the choice of a column's schema."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle.column_schema import (
    FLOAT64_LIMIT,
    ColumnSchema,
    WrongNumberError,
    WrongValueError,
)
from serving.bundle.date_schema import DateSchema
from serving.bundle.manifest import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    InputColumn,
    NumberColumn,
)
from serving.bundle.quoting import MAX_LISTED_NAMES, describe_value, quote_text
from serving.bundle.spelling import CategorySpelling
from serving.bundle.truth_texts import TRUTH_DIGITS, TRUTH_TEXTS, are_truth_numbers

MAX_UNSEEN_CHARACTERS = 256  # an unseen category is cut to this length, see `CategorySchema`


def create_column_schema(column: InputColumn) -> ColumnSchema:
    """Return the schema of a column that a manifest declares."""
    match column:
        case NumberColumn():
            return NumberSchema(column)
        case BooleanColumn():
            return BooleanSchema(column)
        case CategoryColumn():
            return CategorySchema(column)
        case DateColumn():
            return DateSchema(column)


class NumberSchema(ColumnSchema):
    """A column of finite numbers in the range of float32, or of float64.

    A column is of float64 if float32 would merge different numbers of it.

    Attributes:
        minimum: Smallest number of the training rows, not a limit.
        maximum: Largest number of the training rows.
    """

    dtype: type = np.float32
    expected = "a finite number"

    def __init__(self, column: NumberColumn) -> None:
        super().__init__(column)
        self.minimum, self.maximum = column.minimum, column.maximum
        if column.dtype == "float64":
            self.dtype, self.magnitude_limit = np.float64, FLOAT64_LIMIT
            self.requires_float64 = True

    def validate(self, value: object) -> Any:
        """Return the number as a float, NaN for a gap; see `ColumnSchema.validate`."""
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


class BooleanSchema(ColumnSchema):
    """A column of true and false, also written as 1 and 0, or as the manifest's texts.

    Attributes:
        truth_words: Truth value of each lower-case text, other than "1" and "0", that means one.
        value_by_cell: Truth value of each lower-case text that means one in CSV without being
            listed in the manifest.
        value_by_text: Truth value of each lower-case text that means one in every format; empty if
            the manifest lists no texts.
    """

    dtype = np.float32
    expected = "true or false"

    def __init__(self, column: BooleanColumn) -> None:
        super().__init__(column)
        self.truth_words = TRUTH_TEXTS | column.texts
        self.value_by_cell = TRUTH_TEXTS | TRUTH_DIGITS
        self.value_by_text = column.texts and self.value_by_cell | column.texts
        self.accepts_texts = bool(column.texts)
        self._max_text_characters = max(map(len, self.value_by_text), default=0)
        if column.texts:
            self.expected = f"{self.expected}, or {', '.join(map(quote_text, column.texts))}"

    def validate(self, value: object) -> Any:
        """Return 1.0 or 0.0, NaN for a gap; see `ColumnSchema.validate`."""
        if value is None:
            return self.fill_gap("null")
        if self.is_gap_number(value):
            return self.fill_gap(describe_value(value))
        if isinstance(value, str) and self.value_by_text:
            return self._validate_text(value)
        if not isinstance(value, int | float) or not self._is_boolean_number(value):
            self.refuse_value(value)
        return float(value)

    def _parse_filled_cell(self, text: str, stripped: str) -> object:
        truth = self.value_by_cell.get(stripped.lower())
        return super()._parse_filled_cell(text, stripped) if truth is None else truth

    def _convert_numbers(
        self, numbers: NDArray[Any], floats: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        del numbers
        return floats, ~are_truth_numbers(floats)

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


class CategorySchema(ColumnSchema):
    """A column of texts: the categories of the training data and, if the model allows, others.

    A text that is no category is cut to `max_characters`: in some formats many rows can refer to
    one long text, and the graph gets a copy for each row.

    Attributes:
        accepts_unseen: Whether texts that are no category are accepted.
        spelling: Rule by which differently written values are the same category.
        categories: The categories, each mapped to itself.
        truth_categories: Categories that mean true and false; empty if there are others.
        json_number_type: JSON Schema type of the numbers that may be categories; None for none.
        max_characters: Length to which other texts are cut. It exceeds that of every category,
            so that no text becomes a category by being cut.
    """

    dtype = np.object_
    is_text = accepts_texts = True
    gap_value = ""

    def __init__(self, column: CategoryColumn) -> None:
        super().__init__(column)
        self.accepts_unseen = column.unseen == "unknown"
        self.spelling = CategorySpelling(column)
        self.categories = self.spelling.categories
        self.truth_categories = column.truth_categories
        self.json_number_type = column.json_number_type
        self.max_characters = max(MAX_UNSEEN_CHARACTERS, 1 + max(map(len, column.categories)))
        numbers = {None: "", "integer": " or a whole number", "number": " or a number"}
        truths = ", true or false" if column.truth_categories else ""
        self.expected = f"a text{numbers[self.json_number_type]}{truths}"

    def is_gap(self, text: str) -> bool:
        """Return whether a text, already stripped of white space, stands for a gap.

        A category never does, whatever its text.
        """
        return self.spelling.is_gap(text)

    def validate(self, value: object) -> Any:
        """Return the text as the categories are written, "" for a gap.

        See `ColumnSchema.validate`.
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

    def validate_numbers(
        self, numbers: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Return the texts of numbers or booleans, object `(n,)`, by the rule of `validate`.

        See `ColumnSchema.validate_numbers`.
        """
        values = numbers.astype(np.object_)
        values[values != values] = None  # noqa: PLR0124 - NaN alone differs from itself
        if valid is not None:
            values[~valid] = None
        texts = np.empty(len(numbers), np.object_)
        for index, value in enumerate(values.tolist()):
            try:
                texts[index] = self.validate(value)
            except WrongValueError as error:
                raise WrongNumberError(
                    error.expected, error.got, index, is_gap=error.is_gap
                ) from None
        return texts

    def _parse_filled_cell(self, text: str, stripped: str) -> object:
        del stripped
        return text

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
