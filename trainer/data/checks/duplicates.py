"""Checks for columns that are equal, and for rows that are in the training part and in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.checks.finding import REMEDIES, Details, Finding
from trainer.data.checks.sample import ColumnValues, TableSample
from trainer.data.records import MISSING, Column
from trainer.data.splits import Split
from trainer.data.tables import Table
from trainer.data.targets import class_codes

# Share of the test or validation rows that may be repeated: it shifts no metric by more than this.
MAX_REPEATED_SHARE = 0.01
HASH_BATCH_BYTES = 2**22  # bytes of rows hashed at once


def find_duplicate_columns(sample: TableSample, columns: Iterable[ColumnValues]) -> Details:
    """Return the columns that equal an earlier column in all training rows.

    Args:
        sample: Training rows.
        columns: The columns of the sample to check.
    """
    text_numbers: dict[str, int] = {}  # one numbering for the texts of all columns

    def comparable(column: Column) -> Callable[[NDArray[Any]], NDArray[Any]]:
        if column.kind != "category":
            return _normalize_floats
        numbers = [text_numbers.setdefault(word, len(text_numbers)) for word in column.words]
        number_of_code = np.array(
            [*numbers, MISSING]
        )  # the last is that of a gap, whose code is −1
        return lambda codes: number_of_code[codes]

    seen: dict[tuple[bool, bytes], Column] = {}
    found = {}
    for column, values in columns:
        to_comparable = comparable(column)
        key = (column.kind == "category", np.ascontiguousarray(to_comparable(values)).tobytes())
        first = seen.setdefault(key, column)
        if first is column:
            continue
        first_to_comparable = comparable(first)
        slices = sample.iter_train_values(column.name, first.name)
        if all(
            np.array_equal(to_comparable(ours), first_to_comparable(theirs), equal_nan=True)
            for ours, theirs in slices
        ):
            found[column.name] = f"{column.name} equals {first.name}"
    return found


def _normalize_floats(values: NDArray[Any]) -> NDArray[Any]:
    """Replace −0 by 0 and each NaN by the same one, so that equal numbers have equal bytes."""
    dtype = values.dtype.type
    normalized: NDArray[Any] = np.where(np.isnan(values), dtype(np.nan), values + dtype(0))
    return normalized


def find_duplicate_rows(table: Table, split: Split) -> Finding | None:
    """Count test and validation rows whose features a training row has too.

    Returns:
        The finding, or None where no more than one row, and no more than 1 %, of either part are
        repeated.
    """
    features, with_target = _hash_rows(table)
    train = np.sort(features[split.train])
    train_with_target = np.sort(with_target[split.train])
    counts, repeated, with_same_target, is_frequent = [], 0, 0, False
    for name, rows in (("test", split.test), ("validation", split.validation)):
        count = _count_members(features[rows], train)
        counts.append(f"{count:,} of {len(rows):,} {name} rows ({count / len(rows):.1%})")
        repeated += count
        with_same_target += _count_members(with_target[rows], train_with_target)
        is_frequent |= count > max(1, MAX_REPEATED_SHARE * len(rows))
    if not is_frequent:
        return None
    detail = (
        f"{' and '.join(counts)} have the features of a training row, and {with_same_target:,} of "
        f"these {repeated:,} its target too"
    )
    return Finding("duplicate_rows", (), detail, REMEDIES["duplicate_rows"])


def _count_members(values: NDArray[np.int64], ordered: NDArray[np.int64]) -> int:
    """Count the values that occur in a sorted array; `numpy.isin` takes ten times as long."""
    nearest = ordered[np.searchsorted(ordered, values).clip(max=len(ordered) - 1)]
    return int(np.count_nonzero(nearest == values))


def _hash_rows(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return 64-bit hashes of each row's features, and of features and target, int64 `(n,)` each.

    Among ten million rows the probability that two different ones have the same hash is 3 in a
    million.
    """
    records, target = table.records, table.target
    if table.task != "regression":
        target = class_codes(target)[1]
    arrays = [array for array in records.arrays if array.shape[1]]
    row_bytes = sum(a.shape[1] * a.itemsize for a in arrays)
    features, with_target = np.empty((2, len(table)), np.int64)
    step = max(1, HASH_BATCH_BYTES // row_bytes)
    for start in range(0, len(table), step):
        part = slice(start, start + step)
        rows = np.hstack([_to_bytes(array[part]) for array in arrays])
        features[part] = _hash(rows)
        with_target[part] = _hash(np.hstack([rows, _to_bytes(target[part])]))
    return features, with_target


def _to_bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    normalized = rows if rows.dtype.kind == "i" else _normalize_floats(rows)
    return np.ascontiguousarray(normalized).view(np.uint8).reshape(len(rows), -1)


def _hash(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    texts = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel().tolist()
    return np.fromiter(map(hash, texts), np.int64, len(texts))
