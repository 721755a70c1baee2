"""The validator of a column of dates: ISO 8601, the format of the training data, or numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    DATE_UNITS,
    END_DATE_SECONDS,
    ISO8601,
    MIN_DATE_SECONDS,
    DateColumn,
    describe_date_numbers,
    is_iso8601,
    parse_date_number,
    parse_date_numbers,
    parse_date_text,
)
from serving.codec.column_validators import ColumnValidator, WrongValueError
from serving.codec.quoting import describe_value

FINER_TIME_UNITS = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}


class DateValidator(ColumnValidator):
    """A column of dates, with or without a time of day, in UTC unless a text has an offset.

    A value is a text in ISO 8601 or in the column's date format, or a number. Numbers are seconds
    since 1970-01-01 UTC unless the column's format names another unit; then texts of digits are
    read as numbers of that unit. Values outside the years 1 to 9999 UTC are not accepted: such a
    number most likely has another unit.

    Attributes:
        date_format: Date format of the column: ISO 8601, a unit of numbers, or a pattern such as
            `%d/%m/%Y`. ISO 8601 is always accepted as well.
    """

    dtype = np.float64

    def __init__(self, column: DateColumn) -> None:
        super().__init__(column)
        self._column = column
        self.date_format = column.format
        written = f"written {self.date_format}, " if "%" in self.date_format else ""
        self.expected = (
            f"a date {written}in ISO 8601, such as 2024-05-17 or 2024-05-17T12:30:00Z, or "
            f"{describe_date_numbers(self.date_format)}"
        )

    @property
    def has_number_unit(self) -> bool:
        """Whether the format says how to read a number.

        Such numbers may have more digits than a float64 holds.
        """
        return self.date_format != ISO8601

    def for_timestamps(self) -> DateValidator:
        """Return a validator for timestamps of a binary format: their unit is seconds."""
        return DateValidator(self._column.model_copy(update={"format": ISO8601}))

    def validate(self, value: object) -> Any:
        """Return seconds since 1970-01-01 UTC, NaN for a gap; see `ColumnValidator.validate`."""
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

    def find_accepted(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which numbers are dates; see `ColumnValidator.find_accepted`."""
        return ~np.isnan(parse_date_numbers(numbers, self.date_format))

    def convert_numbers(self, numbers: NDArray[Any]) -> NDArray[np.float64]:
        """Return seconds since 1970-01-01 UTC, float64 `(n,)`, NaN for numbers that are no date."""
        return parse_date_numbers(numbers, self.date_format)

    def is_read_as_text(self, text: str) -> bool:
        """Return whether a text that looks like a number is parsed as a text, not as a float64.

        Texts of a column with a unit always are: a float64 does not hold all of their digits.
        """
        if self.date_format in DATE_UNITS:
            return True
        return self.date_format != ISO8601 and parse_date_text(text, self.date_format) is not None

    def _validate_text(self, value: str) -> float | str:
        text = value.strip()
        if self.is_gap(text):
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
