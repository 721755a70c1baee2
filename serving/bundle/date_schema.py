"""The schema of a column of dates: ISO 8601, the format of the training data, or numbers."""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle.column_schema import (
    NUMBER_PATTERN,
    ColumnSchema,
    WrongCellError,
    WrongValueError,
)
from serving.bundle.date_formats import (
    BASIC_DATE,
    DATE_UNITS,
    ISO8601,
    describe_date_numbers,
    is_iso8601,
    parse_date_number,
    parse_date_numbers,
    parse_date_text,
)
from serving.bundle.dates import END_DATE_SECONDS, MIN_DATE_SECONDS
from serving.bundle.manifest import DateColumn
from serving.bundle.quoting import describe_value

YEAR_DIGITS = 4
COMPACT_DATE_PATTERN = re.compile(r"[12]\d{3}(\d{4})?", re.ASCII)  # "2024" or "20240517"
FINER_TIME_UNITS = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}


class DateSchema(ColumnSchema):
    """A column of dates, with or without a time of day, in UTC unless a text has an offset.

    A value is a text in ISO 8601 or in the column's date format, or a number. Numbers are seconds
    since 1970-01-01 UTC unless the column's format names another unit; then texts of digits are
    read as numbers of that unit. Values outside the years 1 to 9999 UTC are not accepted: such a
    number most likely has another unit.

    Attributes:
        date_format: Date format of the column: ISO 8601, a unit of numbers, or a pattern such as
            `%d/%m/%Y`. ISO 8601 is always accepted as well.
        minimum: First date of the training rows in ISO 8601, not a limit.
        maximum: Last date of the training rows.
    """

    dtype = np.float64
    accepts_texts = True

    def __init__(self, column: DateColumn) -> None:
        super().__init__(column)
        self._column = column
        self.date_format = column.format
        self.minimum, self.maximum = column.minimum, column.maximum
        written = f"written {self.date_format}, " if "%" in self.date_format else ""
        self.expected = (
            f"a date {written}in ISO 8601, such as 2024-05-17 or 2024-05-17T12:30:00Z, or "
            f"{describe_date_numbers(self.date_format)}"
        )

    def needs_exact_values(self, are_booleans: bool) -> bool:
        """Return whether JSON numbers must be validated as they are.

        True for booleans, which as float64 would pass for dates, and for every format but ISO 8601,
        since numbers with a unit can have more digits than a float64 holds. See
        `ColumnSchema.needs_exact_values`.
        """
        return are_booleans or self.date_format != ISO8601

    def to_timestamp_schema(self) -> DateSchema:
        """Return the schema for timestamps of a typed format: seconds, none of which is a gap."""
        return DateSchema(self._column.model_copy(update={"format": ISO8601, "gaps": []}))

    def validate(self, value: object) -> Any:
        """Return seconds since 1970-01-01 UTC, NaN for a gap; see `ColumnSchema.validate`."""
        if value is None:
            return self.fill_gap("null")
        if self.is_gap_number(value):
            return self.fill_gap(describe_value(value))
        if isinstance(value, str):
            return self._validate_text(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            self.refuse_value(value)
        seconds = parse_date_number(value, self.date_format)
        if seconds is None:
            why = _describe_out_of_range(value) if self.date_format in (ISO8601, "seconds") else ""
            got = describe_value(value) + why + self.advise_on_gap(value)
            raise WrongValueError(self.expected, got)
        return seconds

    def _parse_filled_cell(self, text: str, stripped: str) -> object:
        """Return a float if the text is a number and not a date; see `ColumnSchema.parse_cell`."""
        if not NUMBER_PATTERN.fullmatch(stripped):
            return text
        number = float(stripped)
        if not self.is_gap_number(number):
            if self._is_read_as_text(stripped):
                return text
            if self.date_format != BASIC_DATE and COMPACT_DATE_PATTERN.fullmatch(stripped):
                self._require_unambiguous(stripped)
        return number

    def _convert_numbers(
        self, numbers: NDArray[Any], floats: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Convert the numbers to seconds; booleans are never dates."""
        if numbers.dtype == np.bool_:
            return floats, np.ones(len(numbers), np.bool_)
        # Integers are not converted to float64 first: beyond 2**53 that would move the date.
        exact = numbers if numbers.dtype.kind in "iu" else floats
        seconds = np.where(np.isnan(floats), np.nan, parse_date_numbers(exact, self.date_format))
        return seconds, np.isnan(seconds)

    def _explain_number(self, number: np.generic | None) -> tuple[str, str]:
        if number is not None and number == number:  # noqa: PLR0124 - NaN alone differs from itself
            try:
                self.validate(number.item())
            except WrongValueError as error:
                return error.expected, error.got
        return super()._explain_number(number)

    def _is_read_as_text(self, text: str) -> bool:
        """Return whether a text that looks like a number is parsed as a text, not as a float64.

        Texts of a column with a unit always are: a float64 does not hold all of their digits.
        """
        if self.date_format in DATE_UNITS:
            return True
        return self.date_format != ISO8601 and parse_date_text(text, self.date_format) is not None

    def _is_text_of_gap_number(self, text: str) -> bool:
        """Return whether a text is a gap number, in a column whose dates may be digits only."""
        are_texts_numbers = self.date_format == BASIC_DATE or self.date_format in DATE_UNITS
        return (
            are_texts_numbers
            and bool(NUMBER_PATTERN.fullmatch(text))
            and self.is_gap_number(float(text))
        )

    def _require_unambiguous(self, digits: str) -> None:
        """Raise WrongCellError if digits can be a year or a day.

        As seconds they would be a date in 1970.
        """
        try:
            day = date.fromisoformat(digits if len(digits) > YEAR_DIGITS else f"{digits}-01-01")
        except ValueError:
            return
        got = (
            f"{digits}, which may be either; write {day} for the day, or {digits}.0 for the seconds"
        )
        raise WrongCellError(self.expected, got, self.name)

    def _validate_text(self, value: str) -> float | str:
        text = value.strip()
        if self.is_gap(text) or (self.gap_numbers and self._is_text_of_gap_number(text)):
            return self.fill_gap_text(text)
        seconds = parse_date_text(text, self.date_format)
        if seconds is None and self.date_format != ISO8601:
            seconds = parse_date_text(text, ISO8601)
        if seconds is not None:
            return seconds
        if is_iso8601(text):
            got = f"{describe_value(value)}, which in UTC is outside the years 1 to 9999"
            raise WrongValueError(self.expected, got)
        self.refuse_value(value)


def _describe_out_of_range(number: float) -> str:
    """Return the reason why a number of seconds is no date, and the finer unit that would fit."""
    for parts, unit in FINER_TIME_UNITS.items():
        if MIN_DATE_SECONDS <= number / parts < END_DATE_SECONDS:
            return (
                f", which in seconds is outside the years 1 to 9999; were {unit} meant? divide by "
                f"{parts}"
            )
    return ", which is outside the years 1 to 9999"
