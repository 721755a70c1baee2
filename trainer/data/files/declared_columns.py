"""Declared: a file's columns as a bundle's manifest declares them, read as a server reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from serving.bundle import (
    BooleanColumn,
    CategorySchema,
    ColumnSchema,
    DateColumn,
    InputColumn,
    NumberColumn,
    WrongNumberError,
    create_column_schema,
    to_nfc,
)
from trainer.data.files import cell_parsing, declared_values
from trainer.data.files.columnar import check_row_count
from trainer.data.files.file_records import (
    RowNames,
    describe_column,
    refuse_cell,
    require_float64,
    to_records,
)
from trainer.data.records import MISSING, Column, Records
from trainer.data.tables import DataError

MOST_UNSEEN = 0.2  # share of a column's values; of more a warning says what may be wrong


class DeclaredColumns:
    """The columns of a manifest, and how often texts came that none of its categories is.

    Args:
        inputs: The columns.
        gaps: Texts, in lower case, that stand for a gap; None for what the manifest says of each
            column.

    Attributes:
        columns: The columns of records, with the spellings that the manifest admits.
    """

    def __init__(self, inputs: Sequence[InputColumn], gaps: Collection[str] | None = None) -> None:
        declared = [
            column if gaps is None else column.model_copy(update={"gaps": list(gaps)})
            for column in inputs
        ]
        self.columns = [_column(column) for column in declared]
        self._schemas = {column.name: create_column_schema(column) for column in declared}
        self._values: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def read(
        self,
        batch: pa.RecordBatch,
        row: int = 0,
        *,
        decimal: str | None = None,
        row_names: RowNames = check_row_count,
    ) -> Records:
        """Return the rows of a batch as records, by the schema of each column.

        Args:
            batch: Rows of a source, whose names are in Unicode's form NFC; the names of an earlier
                manifest may be in another form.
            row: Number of rows before the batch, for messages.
            decimal: Decimal sign of numbers in texts; None for a plain point.
            row_names: Function that names rows for messages, as `Source.row_names`.

        Raises:
            DataError: If a column is not there, or the model does not accept a value; the message
                names column, value and row.
        """

        def read(array: pa.Array, column: Column) -> tuple[Column, NDArray[Any]]:
            schema = self._schemas[column.name]
            try:
                return _read_column(array, column, schema, decimal)
            except WrongNumberError as error:
                _refuse(array, column, schema, error, row_names(row + error.index)[0])

        names = {to_nfc(name): name for name in self._schemas}
        batch = batch.rename_columns([names.get(name, name) for name in batch.schema.names])
        records = to_records(batch, self.columns, read=read)
        self._count(records)
        return records

    def _count(self, records: Records) -> None:
        """Take in how many values of the records are none of the categories."""
        for column in records.columns:
            schema = self._schemas[column.name]
            if not isinstance(schema, CategorySchema):
                continue
            codes, known = records.column(column.name), schema.categories
            strange = np.array([*(word not in known for word in column.words), False])[codes]
            self._values[column.name] += int(np.count_nonzero(codes != MISSING))
            if strange.any():
                self._unseen[column.name] += int(np.count_nonzero(strange))
                first = column.words[codes[int(strange.argmax())]]
                self._examples.setdefault(column.name, first)

    def unseen(self) -> Iterator[str]:
        """Say of which columns a large share of the values is none of the categories."""
        for name, schema in self._schemas.items():
            if not isinstance(schema, CategorySchema) or not self._unseen[name]:
                continue
            share = self._unseen[name] / self._values[name]
            if share > MOST_UNSEEN:
                yield (
                    f"{share:.0%} of the values of {name!r} ({self._unseen[name]:,} of "
                    f"{self._values[name]:,}) are none that the model tells apart, such as "
                    f"{self._examples[name][:40]!r}, and are answered as unknown ones; write them "
                    f"as in training, such as {next(iter(schema.categories))[:40]!r}, or train on "
                    f"data that have them"
                )


def _column(declared: InputColumn) -> Column:
    """The column of a record, with the spellings that the manifest admits."""
    match declared:
        case NumberColumn(dtype="float64"):
            return Column(declared.name, "precise")
        case BooleanColumn():
            return Column(declared.name, "boolean", texts=declared.texts)
        case DateColumn():
            return Column(declared.name, "date", format=declared.format)
        case _:
            return Column(declared.name, declared.type)


def _read_column(
    array: pa.Array, column: Column, schema: ColumnSchema, decimal: str | None
) -> tuple[Column, NDArray[Any]]:
    if schema.requires_float64:
        require_float64(array, column.name)
    if not schema.is_text:
        return column, declared_values.read_values(array, schema, decimal)
    encoded = declared_values.read_categories(array, schema).dictionary_encode()
    words = tuple(encoded.dictionary.to_pylist())
    codes = encoded.indices.fill_null(MISSING).to_numpy()
    return Column(column.name, column.kind, words), codes


def _refuse(
    array: pa.Array, column: Column, schema: ColumnSchema, error: WrongNumberError, called: str
) -> NoReturn:
    """Raise DataError for a value that the model does not accept.

    Args:
        array: The column in a batch.
        column: The column of records.
        schema: The schema of the column.
        error: The error of the schema, with the place of the value.
        called: Name of the row.
    """
    if error.is_gap:
        raise DataError(
            f"expected a value in every row of {column.name!r}, which had no gaps in training; "
            f"got none in {called}; fill it, or train on data with gaps"
        )
    text = cell_parsing.describe_value(array, error.index)
    if not isinstance(schema, CategorySchema):
        refuse_cell(describe_column(column), column.name, text, called)
    if schema.accepts_unseen:  # a number or a truth value where the categories have none
        refuse_cell(schema.expected, column.name, text, called)
    raise DataError(
        f"expected one of the texts of {column.name!r} that were there in training; got "
        f"{text!r} in {called}; train with --unseen unknown to have such rows answered"
    )
