"""Fields: what one value of each column may be, and how it reaches the graph.

One class a kind. `check` is the rule, and refuses precisely; `check_all` is the same rule over
many values, and quick over those that need no second look.

A gap is `null`, a key that is not there, or a category's text that stands for one, as "" and "NA".
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

from serving.bundle import FEATURES, GAPS, Arrays, Boolean, Category, Date, Input, Number
from serving.codec.values import quoted, shown

FLOAT32_LIMIT = 2.0**128 - 2.0**103  # halfway past the largest: rounds to infinity from here on
EXACT = 2.0**53  # from here on a whole number may not be the one that was written
# Possessive quantifiers: a long text that does not match is looked at once.
FRACTIONLESS = re.compile(r"(?:0|-?[1-9][0-9]*+)\.0++")
DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d++)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?",
    re.ASCII,
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LISTED = 5  # categories that an error names
NOT_FILLED = "and the model fills no gap here"


class WrongValueError(Exception):
    """A value that its column does not take: what was expected, and what came, in words."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected, self.got = expected, got


class Field(ABC):
    """What a column's values may be.

    Attributes:
        name: the column's.
        fills_gaps: whether the graph takes a gap.
        dtype: of the column as the graph takes it; texts are objects.
        gap: how the graph is told of a gap.
        expected: what a value should be, in words.
    """

    dtype: type
    gap: float | str = np.nan
    expected: str

    def __init__(self, column: Input) -> None:
        self.name = column.name
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

    def fill(self, came: str) -> float | str:
        """The gap, where the graph takes one; else the refusal of what `came` instead."""
        if self.fills_gaps:
            return self.gap
        raise WrongValueError(self.expected, f"{came}, {NOT_FILLED}")

    def refuse(self, value: object) -> NoReturn:
        """Say what was expected in place of `value`."""
        raise WrongValueError(self.expected, shown(value))


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
            raise WrongValueError(self.expected, "a number that float32 cannot hold")
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
        if not isinstance(value, int | float) or value not in (0, 1):
            self.refuse(value)
        return float(value)


class CategoryField(Field):
    """A text, one of those the model tells apart or, where it knows what to do, another."""

    dtype = np.object_
    gap = ""

    def __init__(self, column: Category) -> None:
        super().__init__(column)
        self.takes_unseen = column.unseen == "unknown"
        self.categories = {text: text for text in column.categories}
        self.whole = column.whole
        self.truths = column.truths
        also = " or a whole number" * self.whole + ", true or false" * bool(self.truths)
        self.expected = f"a text{also}"

    def check(self, value: object) -> Any:
        """The text without spaces around it, "" for a gap."""
        if value is None:
            return self.fill("null")
        text = self._text(value)
        if text.lower() in GAPS:
            return self.fill(shown(text) if text else "an empty text")
        known = self.categories.get(text)
        if known is None:
            self._require_unseen(text)
        return known or text

    def check_all(self, values: Sequence[object]) -> list[Any]:
        """As `check`; a category that is written as it is known needs no second look."""
        known = self.categories.get
        return [(known(v) if type(v) is str else None) or self.check(v) for v in values]

    def _text(self, value: object) -> str:
        if isinstance(value, str):
            text = value.strip()
            # As tables write whole numbers once there are gaps between them.
            return text.split(".")[0] if self.whole and FRACTIONLESS.fullmatch(text) else text
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
    """A date, or date and time, in ISO 8601; without a zone it is UTC."""

    dtype = np.float64
    expected = "a date in ISO 8601, such as 2024-05-17 or 2024-05-17T12:30:00Z"

    def check(self, value: object) -> Any:
        """Seconds since 1970-01-01 UTC, NaN for a gap."""
        if value is None:
            return self.fill("null")
        if not isinstance(value, str):
            self.refuse(value)
        text = value.strip()
        if not DATE.fullmatch(text):
            self.refuse(value)
        try:
            date = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(value)
        return ((date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH).total_seconds()


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

    Attributes:
        columns: in the order of a row.
        places: of each column in that order, by name.
        all_numbers: the graph takes a row as a vector; each column by itself otherwise.
    """

    def __init__(self, inputs: Sequence[Input]) -> None:
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
            `features`, float32 `(n, len(self))`, or each column under its name, `(n, 1)` of its
            own dtype.
        """
        if self.all_numbers:
            across = np.array(columns, dtype=np.float64)
            return {FEATURES: across.T.astype(np.float32, order="C")}
        return {
            field.name: np.array(column, dtype=field.dtype)[:, None]
            for field, column in zip(self.columns, columns, strict=True)
        }


def most_cells(body_length: int) -> int:
    """Values, gaps among them, that a body of so many bytes may come to.

    A value that is written takes two bytes and more. Gaps need not be written: without a bound a
    small body of `{}` would become rows of any size.
    """
    return max(body_length // 2, 2**20)
