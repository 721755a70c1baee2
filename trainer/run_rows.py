"""Convert test rows to an Arrow table and back, without loss of a column's kind or values."""

from __future__ import annotations

from typing import Any

import trainer.train_extra  # noqa: F401 - says which extra to install

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from trainer.data.records import MISSING, Column, Kind, Records

TARGET_COLUMN = "__target__"
MICROSECONDS_PER_SECOND = 1_000_000  # dates are stored in microseconds since 1970


def rows_to_arrow(records: Records, truth: NDArray[Any]) -> pa.Table:
    """Return records and their targets as one table, in which a missing value is null.

    Args:
        records: The records.
        truth: Targets of the records, `(n,)` for classes, float64 `(n, n_targets)` for regression.

    Returns:
        The columns of the records, then those of the targets. The schema's metadata hold the number
        of the former under `features`, since a column may have the name of a target's column.
    """
    columns = [
        (column.name, _to_arrow(column, records.column(column.name))) for column in records.columns
    ]
    if truth.ndim == 1:
        columns.append((TARGET_COLUMN, pa.array(truth)))
    elif truth.shape[1] == 1:
        columns.append((TARGET_COLUMN, pa.array(truth[:, 0])))
    else:
        columns += [(f"__target_{i}__", pa.array(values)) for i, values in enumerate(truth.T)]
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in columns],
        metadata={"features": str(len(records.columns))},
    )
    return pa.Table.from_arrays([array for _, array in columns], schema=schema)


def rows_from_arrow(table: pa.Table) -> tuple[Records, NDArray[Any]]:
    """Return the records and targets of a table that `rows_to_arrow` made.

    Raises:
        KeyError, ValueError: If another program made the table.
    """
    n_features = int((table.schema.metadata or {})[b"features"])
    columns: list[Column] = []
    kinds = ("number", "date", "category", "precise")
    arrays: dict[str, list[NDArray[Any]]] = {kind: [] for kind in kinds}
    features = zip(list(table.schema)[:n_features], table.columns[:n_features], strict=True)
    for field, values in features:
        column, array = _from_arrow(field, values.combine_chunks())
        columns.append(column)
        arrays["number" if column.kind == "boolean" else column.kind].append(array)
    targets = [
        values.combine_chunks().to_numpy(zero_copy_only=False)
        for values in table.columns[n_features:]
    ]
    if targets[0].dtype.kind in "iO":  # class numbers or class names
        truth = targets[0].astype(np.str_) if targets[0].dtype == object else targets[0]
    else:
        truth = np.column_stack(targets)
    records = Records(
        tuple(columns),
        _stack_columns(arrays["number"], table.num_rows, np.float32),
        _stack_columns(arrays["date"], table.num_rows, np.float64),
        _stack_columns(arrays["category"], table.num_rows, np.int32),
        _stack_columns(arrays["precise"], table.num_rows, np.float64),
    )
    return records, truth


def _to_arrow(column: Column, values: NDArray[Any]) -> pa.Array:
    if column.kind == "category":
        texts = np.array([*column.words, None], dtype=object)
        return pa.array(texts[values], pa.string())  # the code MISSING, -1, selects the None
    is_missing = np.isnan(values)
    if column.kind == "boolean":
        return pa.array(values == 1, mask=is_missing)
    if column.kind == "date":
        seconds = np.where(is_missing, 0, values)
        microseconds = np.round(seconds * MICROSECONDS_PER_SECOND).astype(np.int64)
        return pa.array(microseconds, pa.timestamp("us", tz="UTC"), mask=is_missing)
    return pa.array(values, mask=is_missing)


def _from_arrow(field: pa.Field, values: pa.Array) -> tuple[Column, NDArray[Any]]:
    if pa.types.is_string(field.type):
        encoded = values.dictionary_encode()
        texts = tuple(encoded.dictionary.to_pylist())
        codes = encoded.indices.fill_null(MISSING).to_numpy(zero_copy_only=False)
        return Column(field.name, "category", texts), codes
    is_missing = values.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_timestamp(field.type):
        microseconds = values.cast(pa.int64()).fill_null(0).to_numpy()
        seconds = microseconds / MICROSECONDS_PER_SECOND
        return Column(field.name, "date"), np.where(is_missing, np.nan, seconds)
    if pa.types.is_boolean(field.type):
        booleans = values.fill_null(False).to_numpy(zero_copy_only=False)
        return Column(field.name, "boolean"), np.where(is_missing, np.nan, booleans)
    kind: Kind = "precise" if pa.types.is_float64(field.type) else "number"
    return Column(field.name, kind), np.where(is_missing, np.nan, values.fill_null(0).to_numpy())


def _stack_columns(arrays: list[NDArray[Any]], n_rows: int, dtype: DTypeLike) -> NDArray[Any]:
    """Return columns as a matrix `(n_rows, n_columns)`, which may have no column."""
    return np.column_stack(arrays).astype(dtype) if arrays else np.empty((n_rows, 0), dtype)
