"""The schema of a column: which values it accepts, and what the graph gets for each of them.

It is made from the manifest's column and is the only place that knows these rules: the request
formats, OpenAPI's description and `trainer score` use it. There is one class for each type of
column, in `column_types` and `date_schema`. `validate` checks one value; `validate_all` checks a
list of Python values and `validate_numbers` an array of numbers by the same rule. `parse_cell`
returns the value that the text of a CSV cell stands for.

A gap is a missing value: `null`, an absent key, NaN, one of the column's gap numbers such as -999,
or a text such as "" or "NA". Texts can be gaps in columns of categories, of dates and of booleans
with texts, and in CSV in every column; the text of a category never is one. Where the manifest says
that the graph imputes gaps, the graph gets NaN or ""; elsewhere a gap is an error.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.bundle.manifest import InputColumn
from serving.bundle.quoting import describe_value, means_no_value
from serving.bundle.spelling import (
    are_gap_numbers,
    is_gap_text,
    resolve_gap_numbers,
    resolve_gap_texts,
)

# Halfway between the largest float32 and 2**128. From here on, numbers round to infinity.
FLOAT32_LIMIT = 2.0**128 - 2.0**103
# The largest float64. It is refused itself, and so are all integers that cannot be converted to a
# float, which a limit of infinity would let through.
FLOAT64_LIMIT = float(np.finfo(np.float64).max)
# The texts of numbers in files. The possessive quantifiers let a text that does not match fail in
# one pass. The groups themselves are not possessive: up to Python 3.11.4, a possessive group that
# fails halfway keeps the characters that it has consumed.
NUMBER_PATTERN = re.compile(r"[+-]?+(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?+\d++)?", re.ASCII)
GAP_NOT_ACCEPTED = "and this column accepts no missing value"
GAP_ADVICE = "for a missing value send null (NaN in binary, an empty value in CSV)"


class WrongValueError(Exception):
    """A value that its column does not accept.

    Attributes:
        expected: Description of the values that the column accepts.
        got: Description of the value.
        is_gap: Whether it is a gap, and the column accepts none.
    """

    def __init__(self, expected: str, got: str, *, is_gap: bool = False) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected, self.got, self.is_gap = expected, got, is_gap


class WrongNumberError(WrongValueError):
    """A number of an array that its column does not accept.

    Attributes:
        index: Index of the number in the array.
    """

    def __init__(self, expected: str, got: str, index: int, *, is_gap: bool = False) -> None:
        super().__init__(expected, got, is_gap=is_gap)
        self.index = index


class WrongCellError(WrongValueError):
    """A text of a CSV file that may mean two different values of its column.

    Attributes:
        field: Name of the column.
    """

    def __init__(self, expected: str, got: str, field: str) -> None:
        super().__init__(expected, got)
        self.field = field


class ColumnSchema(ABC):
    """The rule for the values of one column, and their conversion to the graph's input.

    Args:
        column: The column as the manifest declares it.

    Attributes:
        name: Name of the column.
        input_name: Name of the graph's input, if the column is an input of its own.
        accepts_gaps: Whether a value may be missing, since the graph imputes it.
        dtype: NumPy dtype of the graph's input; object for texts.
        is_text: Whether the graph's input is texts. Such a column compares numbers by their text,
            so an array of them is validated value by value.
        accepts_texts: Whether a text can be a value in the formats that also have numbers and
            booleans, such as JSON. In CSV it always can.
        requires_float64: Whether shorter floats are refused, since they merge different values.
        gap_value: Value that stands for a gap in the graph's input.
        gap_texts: Lower-case texts that stand for a gap.
        gap_numbers: Numbers that stand for a gap in every format, such as -999.
        expected: Description of the accepted values, for error messages.
        magnitude_limit: Smallest magnitude of a number that is not accepted.
    """

    dtype: type
    is_text: ClassVar[bool] = False
    accepts_texts: bool = False
    requires_float64: bool = False
    gap_value: float | str = np.nan
    expected: str
    magnitude_limit = FLOAT32_LIMIT

    def __init__(self, column: InputColumn) -> None:
        self.name, self.input_name = column.name, column.input_name
        self.accepts_gaps = column.missing == "impute"
        self.gap_texts = resolve_gap_texts(column.gaps)
        self._max_gap_characters = max(map(len, self.gap_texts))
        self.gap_numbers = resolve_gap_numbers(column.gaps)

    def is_gap(self, text: str) -> bool:
        """Return whether a text, already stripped of white space, stands for a gap."""
        return is_gap_text(text, self.gap_texts, self._max_gap_characters)

    def is_gap_number(self, value: object) -> bool:
        """Return whether a value is one of the numbers that stand for a gap."""
        return (
            bool(self.gap_numbers)
            and isinstance(value, int | float)
            and not isinstance(value, bool)
            and value in self.gap_numbers
        )

    def needs_exact_values(self, are_booleans: bool) -> bool:
        """Return whether JSON numbers must be validated as they are, and not as float64.

        Beyond 2**53, two integers that are different values can be the same float64; and `true` can
        be another value than 1.

        Args:
            are_booleans: Whether the values are declared to be booleans.
        """
        del are_booleans
        return self.is_text

    def to_timestamp_schema(self) -> ColumnSchema | None:
        """Return the schema for timestamps of a typed format; None if the column accepts none."""
        return None

    @abstractmethod
    def validate(self, value: object) -> Any:
        """Return one value as the graph takes it: a float, or a text.

        Args:
            value: A JSON scalar as Python has it, None for a gap, or an `UnparsedValue`.

        Raises:
            WrongValueError: If the column does not accept the value.
        """

    def accepts(self, value: object) -> bool:
        """Return whether a request with this value is accepted; see `validate`."""
        try:
            self.validate(value)
        except WrongValueError:
            return False
        return True

    def validate_all(self, values: Sequence[object]) -> list[Any]:
        """Return each value as the graph takes it.

        Raises:
            WrongValueError: If the column does not accept one of them.
        """
        return [self.validate(value) for value in values]

    def validate_numbers(
        self, numbers: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[Any]:
        """Return the numbers of an array as the graph takes them, by the rule of `validate`.

        Booleans count as 1 and 0, unlike those of Python in a column of numbers.

        Args:
            numbers: Floats, of which NaN is a gap, integers or booleans, `(n,)`. A boolean array
                may hold no other bytes than 0 and 1.
            valid: Mask of the numbers that are values, bool `(n,)`; the others are gaps. None if
                all are values.

        Returns:
            Float64 `(n,)`, NaN for a gap.

        Raises:
            WrongNumberError: If the column does not accept a number.
        """
        with np.errstate(invalid="ignore"):  # NumPy warns when it converts a signalling NaN
            floats = numbers.astype(np.float64)
        if valid is not None:
            floats = np.where(valid, floats, np.nan)
        if self.gap_numbers:
            floats[are_gap_numbers(numbers, self.gap_numbers)] = np.nan
        gaps = np.isnan(floats)
        converted, wrong = self._convert_numbers(numbers, floats)
        wrong[gaps] = not self.accepts_gaps
        if wrong.any():
            index = int(wrong.argmax())
            is_null = valid is not None and not valid[index]
            number = None if is_null else numbers[index] if not gaps[index] else np.float64(np.nan)
            raise WrongNumberError(*self._explain_number(number), index, is_gap=bool(gaps[index]))
        return converted

    def _convert_numbers(
        self, numbers: NDArray[Any], floats: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the numbers as the graph takes them, and a mask of those that it does not accept.

        Args:
            numbers: The numbers as they came, `(n,)`.
            floats: The same in float64, NaN for a gap. Where that is NaN, the mask is undefined.
        """
        del numbers
        return floats, np.abs(floats) >= self.magnitude_limit

    def _explain_number(self, number: np.generic | None) -> tuple[str, str]:
        """Return what was expected, and what came instead, for a number that is not accepted.

        Args:
            number: The number, NaN for a gap; None for a null.
        """
        if number is None:
            return self.expected, f"null, {GAP_NOT_ACCEPTED}"
        value = float(number)
        if np.isnan(value):
            got = f"NaN, {GAP_NOT_ACCEPTED}"
        elif np.isfinite(value) and abs(value) >= self.magnitude_limit:
            got = f"a number that {self.dtype.__name__} cannot hold"
        else:
            got = f"the number {value:g}{self.advise_on_gap(value)}"
        return self.expected, got

    def parse_cell(self, text: str) -> object:
        """Return the value that a text of a CSV file stands for, in which all values are texts.

        Args:
            text: Text of a cell.

        Returns:
            A float, a bool, None for a gap; else the text itself, for `validate` to decide about.

        Raises:
            WrongCellError: If the text may mean two different values.
        """
        stripped = text.strip()
        if not stripped or self.is_gap(stripped):
            return None
        return self._parse_filled_cell(text, stripped)

    def _parse_filled_cell(self, text: str, stripped: str) -> object:
        """Return the value of a cell that is no gap; see `parse_cell`.

        Args:
            text: Text of the cell.
            stripped: The text without white space around it.
        """
        return float(stripped) if NUMBER_PATTERN.fullmatch(stripped) else text

    def fill_gap(self, got: str) -> float | str:
        """Return the value that stands for a gap in the graph's input.

        Args:
            got: Description of what the request has instead of a value, for the error message.

        Raises:
            WrongValueError: If the column accepts no gaps.
        """
        if self.accepts_gaps:
            return self.gap_value
        raise WrongValueError(self.expected, f"{got}, {GAP_NOT_ACCEPTED}", is_gap=True)

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
