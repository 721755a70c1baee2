"""A table: records with a target, checked once so that later code can rely on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import pluralize, to_nfc
from trainer.data.data_error import MAX_LISTED_NAMES, DataError, join_names
from trainer.data.precision_loss import PrecisionLoss
from trainer.data.read_options import ColumnProfile
from trainer.data.records import Column, Records, concatenate, iter_slices
from trainer.data.targets import Task, check_target

__all__ = [
    "DataError",
    "Table",
    "Task",
    "check_names",
    "join_names",
    "join_tables",
    "make_table",
    "match_column_names",
]

MIN_ROWS = 10  # to split and learn from
MAX_PRECISE_NUMBER = 1e150  # of float64 columns: a standard deviation needs the square


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Attributes:
        source: Name of the data or path of the file, for the manifest.
        records: Features of each row; no number is infinite, and every column has a name.
        target: Classes, integers or texts `(n,)`, or quantities, float64 `(n, n_targets)`.
        target_names: Name of each column of the target.
        task: Task that the target defines.
        test_rows: Number of rows at the end that are the test part; 0 if the source has none.
        groups: Group of each row, int64 `(n,)`: rows of one group stay in one part. None if each
            row is independent.
        times: Time of each row, float64 `(n,)`: the latest rows are the test part. None if the
            order of rows has no meaning.
        inferred: Profile of each column of a file; empty for other sources.
        losses: Distinct numbers lost in float32, for each feature that loses some.
        gaps: Texts, in lower case, that the user declared to be gaps; None for all of `GAPS`.
        has_nulls: Whether the file has nulls, so that no text of a category is a gap.
        index: Columns of the file that were left out because they only number its rows.
    """

    source: str
    records: Records
    target: NDArray[Any]
    target_names: tuple[str, ...]
    task: Task
    test_rows: int = 0
    groups: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None
    inferred: tuple[ColumnProfile, ...] = ()
    losses: tuple[PrecisionLoss, ...] = ()
    gaps: tuple[str, ...] | None = None
    has_nulls: bool = False
    index: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def fingerprint(self) -> str:
        """Return a digest of columns, values and target; it is equal for equal data."""
        digest = hashlib.sha256()
        digest.update(repr((self.records.columns, self.target_names, self.task)).encode())
        for array in self.records.arrays:
            for part in iter_slices(array):
                digest.update(np.ascontiguousarray(part).tobytes())
        separator = b""
        for part in iter_slices(self.target):
            if part.dtype.kind == "U":
                digest.update(separator + "\0".join(part.tolist()).encode())
                separator = b"\0"
            else:
                digest.update(np.ascontiguousarray(part).tobytes())
        return f"sha256:{digest.hexdigest()}"


def make_table(
    *,
    source: str,
    records: Records,
    target: NDArray[Any],
    target_names: tuple[str, ...],
    task: str | None = None,
    groups: NDArray[np.int64] | None = None,
    times: NDArray[np.float64] | None = None,
    inferred: tuple[ColumnProfile, ...] = (),
    losses: tuple[PrecisionLoss, ...] = (),
    index: tuple[str, ...] = (),
) -> Table:
    """Check records and target, and put them together.

    Args:
        source: Name of the data or path of the file, for the manifest.
        records: Rows of at least one column.
        target: Numbers, booleans or texts `(n,)`, or numbers `(n, n_targets)`.
        target_names: Name of each column of the target.
        task: `classification` or `regression`. By default texts and booleans are classes, floats
            are quantities, and integers are classes up to `MAX_INTEGER_CLASSES` values.
        groups: See `Table`, int64 `(n,)`.
        times: See `Table`, float64 `(n,)`.
        inferred: Profile of each column.
        losses: See `Table`.
        index: See `Table`.

    Raises:
        DataError: If the rows cannot be learned from; the message says why.
    """
    _check_records(records)
    if len(target) != len(records):
        raise DataError(
            f"{source}: expected one target per row; got {pluralize(len(records), 'row')} of "
            f"features and {pluralize(len(target), 'target')}; remove those without the other"
        )
    if target.dtype.kind not in "biufU":
        raise DataError(
            f"{source}: expected numbers, truth values or text in {', '.join(target_names)}; got "
            f"{target.dtype}; convert it"
        )
    target, kind = check_target(target, target_names, task)
    return Table(
        source,
        records,
        target,
        target_names,
        kind,
        groups=groups,
        times=times,
        inferred=inferred,
        losses=losses,
        index=index,
    )


def match_column_names(source: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a file's columns in Unicode's normal form NFC.

    Args:
        source: Path of the file, for the message.
        names: Names as the file has them.

    Raises:
        DataError: If a name occurs twice, also in two normal forms, or several are empty.
    """
    normalized = tuple(map(to_nfc, names))
    spelling: dict[str, str] = {}
    for name, as_written in zip(normalized, names, strict=True):
        first = spelling.setdefault(name, as_written)
        if first != as_written:
            raise DataError(
                f"{source}: expected distinct column names; got {name!r} in two of Unicode's "
                f"normal forms, {first!a} and {as_written!a}; rename one of them"
            )
    check_names(source, normalized)
    return normalized


def check_names(source: str, names: Sequence[str]) -> None:
    """Refuse names of a file's columns that a record cannot have.

    Args:
        source: Path of the file, for the message.
        names: Names of the columns.

    Raises:
        DataError: If a name occurs twice, or several are empty.
    """
    repeated = _find_repeated(name for name in names if name)
    if repeated:
        raise DataError(
            f"{source}: expected distinct column names; got {join_names(repeated)} twice; rename "
            f"one of them"
        )
    unnamed = [str(place) for place, name in enumerate(names, 1) if not name]
    if len(unnamed) > 1:
        more = (
            f" and {len(unnamed) - MAX_LISTED_NAMES} more"
            if len(unnamed) > MAX_LISTED_NAMES
            else ""
        )
        raise DataError(
            f"{source}: expected a name for every column; got none for columns "
            f"{', '.join(unnamed[:MAX_LISTED_NAMES])}{more}; name them in "
            f"the header, or remove them"
        )


def _find_repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def join_tables(source: str, train: Table, test: Table) -> Table:
    """Return one table of training rows and, after them, test rows.

    Args:
        source: Name of the data or path of the file, for the manifest.
        train: Rows that are not for testing.
        test: Rows of the test part.

    Raises:
        DataError: If their columns or tasks differ.
    """
    for what, ours, theirs in (
        ("columns", train.records.columns, test.records.columns),
        ("target_names", train.target_names, test.target_names),
        ("task", train.task, test.task),
    ):
        if ours != theirs:
            raise DataError(
                f"{source}: expected the same {what} in training rows and test rows; got {ours} "
                f"and {theirs}; use two files of the same form"
            )
    return replace(
        train,
        source=source,
        records=concatenate([train.records, test.records]),
        target=np.concatenate([train.target, test.target]),
        test_rows=len(test),
    )


def _check_records(records: Records) -> None:
    if not records.columns:
        raise DataError("expected at least one column beside the target; got none; add features")
    if len(records) < MIN_ROWS:
        raise DataError(
            f"expected at least {MIN_ROWS} rows to split and learn from; got {len(records)}; add "
            f"rows"
        )
    repeated = _find_repeated(records.names)
    if repeated:
        raise DataError(
            f"expected distinct column names; got {join_names(repeated)} more than once; rename "
            f"them"
        )
    _check_numbers(records.of_kind("number", "boolean"), records.numbers, np.inf, "float32")
    _check_numbers(records.of_kind("precise"), records.precise, MAX_PRECISE_NUMBER, "float64")


def _check_numbers(columns: Sequence[Column], rows: NDArray[Any], limit: float, dtype: str) -> None:
    """Refuse a column without a value, and a value as large as a limit.

    Args:
        columns: Columns of the array.
        rows: Their values, `(n, len(columns))`; NaN is a gap.
        limit: Smallest magnitude that is refused.
        dtype: Name of the array's dtype, for the message.
    """
    too_large = np.zeros(rows.shape[1], np.int64)
    present = np.zeros_like(too_large)
    for part in iter_slices(rows):
        too_large += (np.abs(part) >= limit).sum(axis=0)
        present += (~np.isnan(part)).sum(axis=0)
    if not present.all():
        empty = [columns[int(i)].name for i in np.flatnonzero(present == 0)]
        raise DataError(
            f"expected values in every column; got none at all in {join_names(empty)}; drop them"
        )
    if too_large.any():
        places = ", ".join(
            f"{columns[int(i)].name} ({pluralize(too_large[i], 'row')})"
            for i in np.flatnonzero(too_large)[:10]
        )
        raise DataError(
            f"expected numbers that {dtype} can hold; got infinite or too large values in "
            f"{places}; drop those rows or columns"
        )
