"""The input schema: a model's columns by name and in order, and the graph's inputs made of them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import (
    FEATURES_INPUT,
    Arrays,
    BooleanSchema,
    InputColumn,
    are_gap_numbers,
    concatenate_rows,
    create_column_schema,
    to_nfc,
)
from serving.bundle.spelling import MAX_NFC_EXPANSION

# Largest number of a request's columns that the model does not have, since skipping takes time.
MAX_EXTRA_COLUMNS = 2**12


class InputSchema:
    """The columns of a model. `len()` is their number.

    Args:
        inputs: Columns as the manifest declares them.
        should_ignore_extra: Whether a request may name columns that the model does not have, which
            are then ignored.

    Attributes:
        should_ignore_extra: Whether columns that the model does not have are ignored.
        max_named_columns: Largest number of columns that a record, or a table in another format,
            may name.
        columns: The schema of each column, in their order.
        column_positions: Position of each column in that order, by the column's name.
        has_single_input: Whether the graph takes all columns as one matrix `features`; otherwise
            each column is an input of its own.
        gap_numbers: Numbers that stand for a gap in some column.
    """

    def __init__(self, inputs: Sequence[InputColumn], *, should_ignore_extra: bool = False) -> None:
        self.should_ignore_extra = should_ignore_extra
        self.max_named_columns = len(inputs) + should_ignore_extra * MAX_EXTRA_COLUMNS
        self.columns = tuple(create_column_schema(column) for column in inputs)
        self.column_positions = {
            column.name: position for position, column in enumerate(self.columns)
        }
        self.has_single_input = all(column.dtype is np.float32 for column in self.columns)
        self.gap_numbers = frozenset().union(*(column.gap_numbers for column in self.columns))
        longest = max(map(len, self.column_positions), default=0)
        self._max_name_characters = MAX_NFC_EXPANSION * longest
        self._boolean_positions = [
            position
            for position, column in enumerate(self.columns)
            if isinstance(column, BooleanSchema)
        ]

    def __len__(self) -> int:
        return len(self.columns)

    def resolve_column_name(self, name: str) -> str:
        """Return the model's name of a column for the name in a request.

        The two may differ in their Unicode normal form: that in the request may be decomposed.
        A name that means no column is returned unchanged.
        """
        if name.isascii() or name in self.column_positions or len(name) > self._max_name_characters:
            return name
        normal = to_nfc(name)
        return normal if normal in self.column_positions else name

    def accepts_rows(self, rows: NDArray[np.float32]) -> bool:
        """Return whether rows of finite numbers are valid and need no conversion.

        A number other than 0 or 1 in a boolean column is invalid, and a number that stands for a
        gap needs conversion.

        Args:
            rows: Finite numbers of a model with a single input, float32 `(n, len(self))`.
        """
        if self.gap_numbers and are_gap_numbers(rows, self.gap_numbers).any():
            return False
        if not self._boolean_positions:
            return True
        booleans = rows[:, self._boolean_positions]
        return bool(((booleans == 0) | (booleans == 1)).all())

    def build_inputs(self, columns: Sequence[Sequence[Any]]) -> Arrays:
        """Return the graph's inputs by name.

        Args:
            columns: The validated values of each column, n of each.

        Returns:
            `features`, float32 `(n, len(self))`, or one array `(n, 1)` for each column under the
            name of its input, of the column's dtype.
        """
        if self.has_single_input:
            by_column = np.array(columns, dtype=np.float64)
            return {FEATURES_INPUT: by_column.T.astype(np.float32, order="C")}
        return {
            column.input_name: np.array(values, dtype=column.dtype)[:, None]
            for column, values in zip(self.columns, columns, strict=True)
        }


class InputBuilder:
    """A collector of validated instances, from which the graph's inputs are built.

    Args:
        schema: The model's columns.
    """

    def __init__(self, schema: InputSchema) -> None:
        self._schema = schema
        self._blocks: list[Arrays] = []
        self._start_block()

    def _start_block(self) -> None:
        self._columns: list[Any] = [
            [] if column.is_text else array("d") for column in self._schema.columns
        ]

    def append(self, row: Sequence[float | str]) -> None:
        """Add one instance: its validated values in the order of the columns."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def append_block(self, inputs: Arrays) -> None:
        """Add many instances, given as the graph's inputs."""
        if self._columns[0]:
            self._blocks.append(self._schema.build_inputs(self._columns))
            self._start_block()
        self._blocks.append(inputs)

    def build_inputs(self) -> Arrays:
        """Return the graph's inputs of all instances; see `InputSchema.build_inputs`."""
        return concatenate_rows([*self._blocks, self._schema.build_inputs(self._columns)])


def compute_max_cells(body_length: int) -> int:
    """Return the largest number of values, gaps included, that a body may decode to.

    A written value takes at least two bytes, but a gap may take none: without this bound a small
    body of many `{}` would become arrays of any size.

    Args:
        body_length: Length of the body, in bytes.
    """
    return max(body_length // 2, 2**20)
