"""Fields: what one value of each column may be, and how it reaches the graph.

One class a kind. `check` is the rule, and refuses precisely; `check_all` is the same rule over
many values, and quick over those that need no second look.

A gap is `null`, a key that is not there, or in a column of texts (categories, dates) a text that
stands for one, as "" and "NA".
Where the manifest says that the graph fills it, it goes in as NaN or ""; elsewhere it is refused.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    END_OF_DATES,
    FEATURES,
    FIRST_SECOND,
    GAPS,
    Arrays,
    Boolean,
    Category,
    Date,
    Input,
    Number,
    seconds_of_fraction,
)
from serving.codec.values import means_no_value, quoted, shown

FLOAT32_LIMIT = 2.0**128 - 2.0**103  # halfway past the largest: rounds to infinity from here on
EXACT = 2.0**53  # from here on a whole number may not be the one that was written
# Possessive quantifiers: a long text that does not match is looked at once.
FRACTIONLESS = re.compile(r"(-?(?:0|[1-9][0-9]*+))\.0++")
LONGEST_TRUTH = len("false")
LONGEST_GAP = max(map(len, GAPS))  # characters
DATE = re.compile(  # whose group is the digits of a second's fraction
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.(\d++))?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
FRACTION_DIGITS = 32  # of a second that are read; far more than a float64 tells apart
FINER_UNITS = {10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNSEEN_CHARACTERS = 256  # of an unseen text that the graph is given
LISTED = 5  # categories that an error names
MOST_EXTRA = 2**12  # columns that are left out of a request; each costs the time to step over it
NOT_FILLED = "and the model fills no gap here"
HOW_TO_SEND_A_GAP = "for a gap send null (NaN in binary, an empty value in CSV)"


class WrongValueError(Exception):
    """A value that its column does not take: what was expected, and what came, in words."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected, self.got = expected, got


class Field(ABC):
    """What a column's values may be.

    Attributes:
        name: the column's.
        tensor: Name of the graph's input, where the column is an input of its own.
        fills_gaps: whether the graph takes a gap.
        dtype: of the column as the graph takes it; texts are objects.
        gap: how the graph is told of a gap.
        expected: what a value should be, in words.
    """

    dtype: type
    gap: float | str = np.nan
    expected: str

    def __init__(self, column: Input) -> None:
        self.name, self.tensor = column.name, column.input_name
        self.fills_gaps = column.missing == "impute"

    @abstractmethod
    def check(self, value: object) -> Any:
        """One value as the graph takes it, a float or a text.

        Raises:
            WrongValueError: the column does not take it.
        """

    def check_all(self, values: Sequence[object]) -> list[Any]:
        """Each value as the graph takes it; raises as `check` does."""
        return [self.check(value) for value in values]

    def accepts(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which numbers `(n,)` `check` would take; NaN is left to the caller.

        Of a category it knows nothing: which texts its numbers become is for `check` to say.
        """
        inside: NDArray[np.bool_] = np.abs(numbers) < FLOAT32_LIMIT
        return inside

    def fill(self, came: str) -> float | str:
        """The gap, where the graph takes one; else the refusal of what `came` instead."""
        if self.fills_gaps:
            return self.gap
        raise WrongValueError(self.expected, f"{came}, {NOT_FILLED}")

    def fill_text(self, text: str) -> float | str:
        """The same where the gap came as a text, one of `GAPS`."""
        return self.fill(shown(text) if text else "an empty text")

    def refuse(self, value: object) -> NoReturn:
        """Say what was expected in place of `value`."""
        raise WrongValueError(self.expected, shown(value) + self.gap_advice(value))

    def gap_advice(self, value: object) -> str:
        """Return how to send a gap, to be put behind a wrong value that seems to stand for one."""
        if not means_no_value(value):
            return ""
        return f"; {HOW_TO_SEND_A_GAP}" if self.fills_gaps else f", {NOT_FILLED}"


class NumberField(Field):
    """A number that float32 can hold."""

    dtype = np.float32
    expected = "a finite number"

    def check(self, value: object) -> Any:
        """A float, NaN for a gap."""
        if value is None:
            return self.fill("null")
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(value)
        if abs(value) >= FLOAT32_LIMIT:
            came = "a number that float32 cannot hold"
            raise WrongValueError(self.expected, came + self.gap_advice(value))
        if math.isnan(value):  # which the standard library's parser takes for a number
            self.refuse(value)
        return float(value)

    def check_all(self, values: Sequence[object]) -> list[Any]:
        """As `check`; what is written as a fraction and in range needs no second look."""
        return [
            v if type(v) is float and -FLOAT32_LIMIT < v < FLOAT32_LIMIT else self.check(v)
            for v in values
        ]


class BooleanField(Field):
    """True or false, which may be written as 1 or 0."""

    dtype = np.float32
    expected = "true or false"

    def check(self, value: object) -> Any:
        """1.0 or 0.0, NaN for a gap."""
        if value is None:
            return self.fill("null")
        if not isinstance(value, int | float) or not self._is_truth(value):
            self.refuse(value)
        return float(value)

    def accepts(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """As `Field.accepts`."""
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32)
        truths: NDArray[np.bool_] = (rounded == 0) | (rounded == 1)
        return truths

    @staticmethod
    def _is_truth(value: float) -> bool:
        """Whether float32, as which the graph takes it, makes 0 or 1 of a number."""
        return value in (0, 1) or (-1 < value < 2 and float(np.float32(value)) in (0, 1))


class CategoryField(Field):
    """A text, one of those the model tells apart or, where it knows what to do, another."""

    dtype = np.object_
    gap = ""

    def __init__(self, column: Category) -> None:
        super().__init__(column)
        self.takes_unseen = column.unseen == "unknown"
        self.categories = {text: text for text in column.categories}
        # Longer than any category: what a text is cut to is none of them, if the text was none.
        self.longest = max(UNSEEN_CHARACTERS, 1 + max(map(len, column.categories)))
        self.whole = column.whole
        self.truths = column.truths
        self.truths_spelled = {str(truth).lower(): text for truth, text in self.truths.items()}
        also = " or a whole number" * self.whole + ", true or false" * bool(self.truths)
        self.expected = f"a text{also}"

    def check(self, value: object) -> Any:
        """The text without spaces around it, "" for a gap.

        A long unseen text is cut: in some formats many rows can refer to one text, and the graph is
        given a copy for each.
        """
        if value is None:
            return self.fill("null")
        text = self._text(value)
        if is_gap(text):
            return self.fill_text(text)
        known = self.categories.get(text)
        if known is None:
            self._require_unseen(text)
        return known or text[: self.longest]

    def check_all(self, values: Sequence[object]) -> list[Any]:
        """As `check`; a category that is written as it is known needs no second look."""
        known = self.categories.get
        return [(known(v) if type(v) is str else None) or self.check(v) for v in values]

    def _text(self, value: object) -> str:
        if isinstance(value, str):
            text = value.strip()
            if self.whole:
                # As tables write whole numbers once there are gaps between them.
                found = FRACTIONLESS.fullmatch(text)
                text = found[1] if found else text
                return "0" if text == "-0" else text
            if self.truths and len(text) <= LONGEST_TRUTH:
                # As pandas, or another writer, spells truth values in CSV.
                return self.truths_spelled.get(text.lower(), text)
            return text
        if isinstance(value, bool):
            if self.truths:
                return self.truths[value]
        elif self.whole and isinstance(value, int | float):
            if isinstance(value, int):
                return str(value)
            if abs(value) < EXACT and value.is_integer():
                return str(int(value))
        self.refuse(value)

    def _require_unseen(self, text: str) -> None:
        if not self.takes_unseen:
            some = list(self.categories)[:LISTED]
            more = len(self.categories) - len(some)
            rest = f" and {more} more" if more else ""
            raise WrongValueError(f"one of {', '.join(map(quoted, some))}{rest}", shown(text))
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a pair of surrogates, which no other text can hold
            raise WrongValueError("a text that UTF-8 can hold", shown(text)) from None


class DateField(Field):
    """A date, or date and time, in ISO 8601, UTC where it names no zone; or a number of seconds.

    Both end at the years 1 and 9999 in UTC: beyond them a number is most likely of another unit.
    """

    dtype = np.float64
    expected = (
        "a date in ISO 8601, such as 2024-05-17 or 2024-05-17T12:30:00Z, or a number of seconds "
        "since 1970-01-01 UTC"
    )

    def check(self, value: object) -> Any:
        """Seconds since 1970-01-01 UTC, NaN for a gap."""
        if value is None:
            return self.fill("null")
        if isinstance(value, str):
            return self._check_text(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            self.refuse(value)
        if not FIRST_SECOND <= value < END_OF_DATES:
            raise WrongValueError(
                self.expected, shown(value) + _outside(value) + self.gap_advice(value)
            )
        return float(value)

    def accepts(self, numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
        """As `Field.accepts`."""
        return (numbers >= FIRST_SECOND) & (numbers < END_OF_DATES)

    def _check_text(self, value: str) -> float | str:
        text = value.strip()
        if is_gap(text):
            return self.fill_text(text)
        found = DATE.fullmatch(text)
        if not found:
            self.refuse(value)
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(value)
        since = (date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH
        digits = (found[1] or "")[:FRACTION_DIGITS]
        seconds = seconds_of_fraction(since.days * 86400 + since.seconds, digits)
        if not FIRST_SECOND <= seconds < END_OF_DATES:
            raise WrongValueError(
                self.expected, f"{shown(value)}, which in UTC is not of the years 1 to 9999"
            )
        return seconds


def is_gap(text: str) -> bool:
    """Whether a text without spaces around it stands for a gap."""
    return len(text) <= LONGEST_GAP and text.lower() in GAPS


def _outside(number: float) -> str:
    """Say that seconds are of no year from 1 to 9999, and which finer unit would be."""
    for parts, unit in FINER_UNITS.items():
        if FIRST_SECOND <= number / parts < END_OF_DATES:
            return (
                f", which in seconds is not of the years 1 to 9999; were {unit} meant? divide by "
                f"{parts}"
            )
    return ", which is not of the years 1 to 9999"


def _field(column: Input) -> Field:
    match column:
        case Number():
            return NumberField(column)
        case Boolean():
            return BooleanField(column)
        case Category():
            return CategoryField(column)
        case Date():
            return DateField(column)


class Fields:
    """The columns of a model.

    Args:
        inputs: Columns as the manifest declares them.
        ignores_extra: Whether a request may name columns that the model does not have; they are
            left out.

    Attributes:
        ignores_extra: As above.
        most_names: Largest number of columns that a record or another form of request may name.
        columns: in the order of a row.
        places: of each column in that order, by name.
        all_numbers: the graph takes a row as a vector; each column by itself otherwise.
    """

    def __init__(self, inputs: Sequence[Input], *, ignores_extra: bool = False) -> None:
        self.ignores_extra = ignores_extra
        self.most_names = len(inputs) + ignores_extra * MOST_EXTRA
        self.columns = tuple(_field(column) for column in inputs)
        self.places = {field.name: place for place, field in enumerate(self.columns)}
        self.all_numbers = all(field.dtype is np.float32 for field in self.columns)
        self._booleans = [
            place for place, field in enumerate(self.columns) if isinstance(field, BooleanField)
        ]

    def __len__(self) -> int:
        return len(self.columns)

    def take(self, rows: NDArray[np.float32]) -> bool:
        """Whether numbers `(n, len(self))` are values of these columns, all of one vector."""
        if not self._booleans:
            return True
        truths = rows[:, self._booleans]
        return bool(((truths == 0) | (truths == 1)).all())

    def inputs(self, columns: Sequence[Sequence[Any]]) -> Arrays:
        """The graph's inputs.

        Args:
            columns: the n values of each, checked.

        Returns:
            `features`, float32 `(n, len(self))`, or each column under the name of its input,
            `(n, 1)` of its own dtype.
        """
        if self.all_numbers:
            across = np.array(columns, dtype=np.float64)
            return {FEATURES: across.T.astype(np.float32, order="C")}
        return {
            field.tensor: np.array(column, dtype=field.dtype)[:, None]
            for field, column in zip(self.columns, columns, strict=True)
        }


def most_cells(body_length: int) -> int:
    """Values, gaps among them, that a body of so many bytes may come to.

    A value that is written takes two bytes and more. Gaps need not be written: without a bound a
    small body of `{}` would become rows of any size.
    """
    return max(body_length // 2, 2**20)
