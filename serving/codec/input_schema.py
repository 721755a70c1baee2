"""The input schema: the columns of a model, by name and in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    FEATURES_INPUT,
    Arrays,
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    InputColumn,
    NumberColumn,
    are_gap_numbers,
    to_nfc,
)
from serving.bundle.spelling import MAX_NFC_EXPANSION
from serving.codec.column_validators import (
    BooleanValidator,
    CategoryValidator,
    ColumnValidator,
    Float64Validator,
    NumberValidator,
)
from serving.codec.date_validator import DateValidator

MAX_EXTRA_COLUMNS = (
    2**12
)  # columns that are left out of a request; each costs the time to step over it


def _create_validator(column: InputColumn) -> ColumnValidator:
    match column:
        case NumberColumn(dtype="float64"):
            return Float64Validator(column)
        case NumberColumn():
            return NumberValidator(column)
        case BooleanColumn():
            return BooleanValidator(column)
        case CategoryColumn():
            return CategoryValidator(column)
        case DateColumn():
            return DateValidator(column)


class InputSchema:
    """The columns of a model.

    Args:
        build_inputs: Columns as the manifest declares them.
        should_ignore_extra: Whether a request may name columns that the model does not have; they are
            left out.

    Attributes:
        should_ignore_extra: As above.
        most_names: Largest number of columns that a record or another form of request may name.
        columns: in the order of a row.
        column_positions: of each column in that order, by name.
        has_single_input: the graph takes a row as a vector; each column by itself otherwise.
        gap_numbers: Numbers that stand for a gap in some column.
    """

    def __init__(self, inputs: Sequence[InputColumn], *, should_ignore_extra: bool = False) -> None:
        self.should_ignore_extra = should_ignore_extra
        self.max_named_columns = len(inputs) + should_ignore_extra * MAX_EXTRA_COLUMNS
        self.columns = tuple(_create_validator(column) for column in inputs)
        self.column_positions = {field.name: place for place, field in enumerate(self.columns)}
        self.has_single_input = all(field.dtype is np.float32 for field in self.columns)
        self.gap_numbers = frozenset().union(*(field.gap_numbers for field in self.columns))
        self._max_name_characters = MAX_NFC_EXPANSION * max(
            map(len, self.column_positions), default=0
        )
        self._boolean_positions = [
            place for place, field in enumerate(self.columns) if isinstance(field, BooleanValidator)
        ]

    def __len__(self) -> int:
        return len(self.columns)

    def resolve_column_name(self, name: str) -> str:
        """Return the column's name for one that is not in Unicode's form NFC, others as they are.

        A name of a column is left as it is, whatever its form.
        """
        if name.isascii() or name in self.column_positions or len(name) > self._max_name_characters:
            return name
        normal = to_nfc(name)
        return normal if normal in self.column_positions else name

    def accepts_rows(self, rows: NDArray[np.float32]) -> bool:
        """Whether numbers `(n, len(self))` are values of these columns, all of one vector.

        Numbers that stand for a gap are none.
        """
        if self.gap_numbers and are_gap_numbers(rows, self.gap_numbers).any():
            return False
        if not self._boolean_positions:
            return True
        truths = rows[:, self._boolean_positions]
        return bool(((truths == 0) | (truths == 1)).all())

    def build_inputs(self, columns: Sequence[Sequence[Any]]) -> Arrays:
        """The graph's inputs.

        Args:
            columns: the n values of each, checked.

        Returns:
            `features`, float32 `(n, len(self))`, or each column under the name of its input,
            `(n, 1)` of its own dtype.
        """
        if self.has_single_input:
            across = np.array(columns, dtype=np.float64)
            return {FEATURES_INPUT: across.T.astype(np.float32, order="C")}
        return {
            field.input_name: np.array(column, dtype=field.dtype)[:, None]
            for field, column in zip(self.columns, columns, strict=True)
        }


def compute_max_cells(body_length: int) -> int:
    """Values, gaps among them, that a body of so many bytes may come to.

    A value that is written takes two bytes and more. Gaps need not be written: without a bound a
    small body of `{}` would become rows of any size.
    """
    return max(body_length // 2, 2**20)
