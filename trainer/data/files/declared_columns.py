"""Read the columns of a file as a bundle's manifest declares them, and as a server reads them."""

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
from trainer.data.files.cell_texts import describe_cell
from trainer.data.files.declared_values import read_categories, read_values
from trainer.data.files.file_records import (
    describe_column,
    refuse_cell,
    require_float64,
    to_records,
)
from trainer.data.files.file_sources import RowNames, number_rows
from trainer.data.records import MISSING, Column, Records
from trainer.data.tables import DataError

MAX_UNSEEN_SHARE = 0.2  # share of a column's values; if it is larger, there is a warning
MAX_SHOWN_CHARACTERS = 40


class DeclaredColumns:
    """The columns of a manifest, with counts of the texts that none of their categories has.

    Args:
        inputs: Columns of the manifest.
        gaps: Lower-case texts that stand for a gap; None for those that the manifest has for each
            column.

    Attributes:
        columns: Columns of the records, with the spellings that the manifest accepts.
    """

    def __init__(self, inputs: Sequence[InputColumn], gaps: Collection[str] | None = None) -> None:
        declarations = [
            column if gaps is None else column.model_copy(update={"gaps": list(gaps)})
            for column in inputs
        ]
        self.columns = [_to_column(declaration) for declaration in declarations]
        self._schemas = {each.name: create_column_schema(each) for each in declarations}
        # Numbers of values and of unseen ones, by column.
        self._value_counts: Counter[str] = Counter()
        self._unseen_counts: Counter[str] = Counter()
        self._unseen_examples: dict[str, str] = {}

    def read(
        self,
        batch: pa.RecordBatch,
        row: int = 0,
        *,
        decimal: str | None = None,
        row_names: RowNames = number_rows,
    ) -> Records:
        """Return the rows of a batch as records, by the schema of each column.

        Args:
            batch: Rows of a file. Its column names are in Unicode's form NFC; those of an old
                manifest may be in another form.
            row: Number of rows before the batch, for messages.
            decimal: Decimal sign of numbers in texts; None for a plain point.
            row_names: Function that names rows for messages, as `FileSource.name_rows` does.

        Raises:
            DataError: If the batch lacks a column, or the model does not accept a value. The
                message has the column, the value and the row.
        """

        def read(array: pa.Array, column: Column) -> tuple[Column, NDArray[Any]]:
            schema = self._schemas[column.name]
            try:
                return _read_column(array, column, schema, decimal)
            except WrongNumberError as error:
                row_name = row_names(row + error.index)[0]
                _refuse_value(array, column, schema, error, row_name)

        names = {to_nfc(name): name for name in self._schemas}
        batch = batch.rename_columns([names.get(name, name) for name in batch.schema.names])
        records = to_records(batch, self.columns, read=read)
        self._count_unseen(records)
        return records

    def _count_unseen(self, records: Records) -> None:
        """Count the values of the records that are not among the categories of their column."""
        for column in records.columns:
            schema = self._schemas[column.name]
            if not isinstance(schema, CategorySchema):
                continue
            codes, categories = records.column(column.name), schema.categories
            # `MISSING`, which is −1, selects the last element.
            is_unseen = np.array([*(word not in categories for word in column.words), False])[codes]
            self._value_counts[column.name] += int(np.count_nonzero(codes != MISSING))
            if is_unseen.any():
                self._unseen_counts[column.name] += int(np.count_nonzero(is_unseen))
                example = column.words[codes[int(is_unseen.argmax())]]
                self._unseen_examples.setdefault(column.name, example)

    def iter_unseen_warnings(self) -> Iterator[str]:
        """Yield a warning for each column with a large share of values in no category."""
        for name, schema in self._schemas.items():
            if not isinstance(schema, CategorySchema) or not self._unseen_counts[name]:
                continue
            n_unseen, n_values = self._unseen_counts[name], self._value_counts[name]
            if n_unseen / n_values > MAX_UNSEEN_SHARE:
                category = next(iter(schema.categories))[:MAX_SHOWN_CHARACTERS]
                yield (
                    f"{n_unseen / n_values:.0%} of the values of {name!r} ({n_unseen:,} of "
                    f"{n_values:,}) are not among its categories in training, such as "
                    f"{self._unseen_examples[name][:MAX_SHOWN_CHARACTERS]!r}, and are answered as "
                    f"unknown; write them as in training, such as {category!r}, or train on "
                    f"data that have them"
                )


def _to_column(declaration: InputColumn) -> Column:
    """Return the column of the records, with the spellings that the manifest accepts."""
    match declaration:
        case NumberColumn(dtype="float64"):
            return Column(declaration.name, "precise")
        case BooleanColumn():
            return Column(declaration.name, "boolean", texts=declaration.texts)
        case DateColumn():
            return Column(declaration.name, "date", format=declaration.format)
        case _:
            return Column(declaration.name, declaration.type)


def _read_column(
    array: pa.Array, column: Column, schema: ColumnSchema, decimal: str | None
) -> tuple[Column, NDArray[Any]]:
    """Return the column, of categories with its words, and its values, of categories as codes.

    Raises:
        DataError: If a column of float64 has shorter floats.
        WrongNumberError: If the schema does not accept a value.
    """
    if schema.requires_float64:
        require_float64(array, column.name)
    if not schema.is_text:
        return column, read_values(array, schema, decimal)
    dictionary_array = read_categories(array, schema).dictionary_encode()
    words = tuple(dictionary_array.dictionary.to_pylist())
    codes = dictionary_array.indices.fill_null(MISSING).to_numpy()
    return Column(column.name, column.kind, words), codes


def _refuse_value(
    array: pa.Array, column: Column, schema: ColumnSchema, error: WrongNumberError, row_name: str
) -> NoReturn:
    """Raise DataError for a value that the model does not accept.

    Args:
        array: Column of a batch, `(n,)`.
        column: Column of the records.
        schema: Schema of the column.
        error: Error of the schema, with the index of the value.
        row_name: Name of the row.
    """
    if error.is_gap:
        raise DataError(
            f"expected a value in every row of {column.name!r}, which had no gaps in training; "
            f"got none in {row_name}; fill it, or train on data with gaps"
        )
    text = describe_cell(array, error.index)
    if not isinstance(schema, CategorySchema):
        refuse_cell(describe_column(column), column.name, text, row_name)
    if schema.accepts_unseen:  # the value is a number or a boolean, and the categories are texts
        refuse_cell(schema.expected, column.name, text, row_name)
    raise DataError(
        f"expected one of the texts that {column.name!r} had in training; got "
        f"{text!r} in {row_name}; train with --unseen unknown to have such rows answered"
    )
