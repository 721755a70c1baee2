"""A table: records and a target, checked once, so that later code need not ask again."""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import canonicalize_text, pluralize, to_nfc
from trainer.data.precision_loss import PrecisionLoss
from trainer.data.read_options import ColumnProfile
from trainer.data.records import Column, Records, concatenate

Task = Literal["binary", "multiclass", "regression"]

# Integers with more distinct values than this are taken for quantities, not for classes.
MAX_INTEGER_CLASSES = 20
# From here on not every whole number is a float64, and JSON readers begin to round.
MAX_CLASS_NUMBER = 2.0**53
# A spread of fewer float32 steps would be rounded away in the answers.
FEWEST_STEPS = 100
MAX_PRECISE_NUMBER = 1e150  # of a number in float64, whose square a standard deviation needs
SLICE_BYTES = 2**20  # bytes of rows looked at in one go
MAX_LISTED_NAMES = 20  # names that an error lists at most


class DataError(ValueError):
    """The data cannot be trained on as they are; the message says why and what to do."""


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Attributes:
        source: where they came from, for the manifest.
        records: what is known of each row; no number infinite, no column without a name.
        target: integers or strings `(n,)` for classes, float64 `(n, n_targets)` for regression.
        target_names: one per column of the target.
        task: what the target asks for.
        judged: how many rows, the last of them, are there for the model to be judged on; 0 if the
            data do not say.
        groups: whose row each is, int64 `(n,)`: rows of one group never part; None where each row
            is by itself.
        times: when each row came about, float64 `(n,)`: later rows are kept to judge by; None where
            order means nothing.
        inferred: what was found in each column of a file; of other sources nothing.
        losses: Distinct numbers lost in float32, for each feature that loses some.
        gaps: texts, in lower case, that were said to stand for a gap; None for all of `GAPS`.
        has_nulls: whether no text of a category stands for a gap, since the file has nulls.
        index: Columns of the file that were left out because they only number its rows.
    """

    source: str
    records: Records
    target: NDArray[Any]
    target_names: tuple[str, ...]
    task: Task
    judged: int = 0
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
        """A digest of columns, values and target: equal for equal data."""
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
    """Check the parts and put them together.

    Args:
        source: where they came from, for the manifest.
        records: of at least one column.
        target: `(n,)`, or numbers `(n, n_targets)`.
        target_names: one per column of the target.
        task: `classification` or `regression`; by default text and truth values are classes,
            floats are quantities, and integers are classes up to `MOST_INTEGER_CLASSES` values.
        groups: as of `Table`, as are the two after it.
        times: `(n,)`.
        inferred: one per column.
        losses: See `Table`.
        index: See `Table`.

    Raises:
        DataError: naming the first fault found.
    """
    _check_records(records)
    if len(target) != len(records):
        raise DataError(
            f"{source}: expected one target per row; got {pluralize(len(records), 'row')} of "
            f"features and {pluralize(len(target), 'target')}"
        )
    if target.dtype.kind not in "biufU":
        raise DataError(
            f"{source}: expected numbers, truth values or text in {', '.join(target_names)}; got "
            f"{target.dtype}; convert it"
        )
    if _is_classification(target, task):
        target = _checked_classes(target, target_names[0])
        kind: Task = "binary" if len(_counts(target)) == 2 else "multiclass"
    else:
        target = _checked_values(target, target_names)
        kind = "regression"
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


def iter_slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array, about `SLICE` bytes at a time; mapped files are let go of again."""
    base: object = array.base
    rows = max(1, SLICE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


def join_names(names: Sequence[str]) -> str:
    """Names as an error shows them: the first `SHOWN`, and how many more there are."""
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return ", ".join(map(repr, names[:MAX_LISTED_NAMES])) + more


def match_column_names(source: str, written: Sequence[str]) -> tuple[str, ...]:
    """The columns' names of a file in Unicode's form NFC.

    Raises:
        DataError: If a name is empty or occurs twice, also in two normal forms.
    """
    names = tuple(map(to_nfc, written))
    spelled: dict[str, str] = {}
    for name, as_written in zip(names, written, strict=True):
        first = spelled.setdefault(name, as_written)
        if first != as_written:
            raise DataError(
                f"{source}: expected distinct column names; got {name!r} in two of Unicode's "
                f"normal forms, {first!a} and {as_written!a}; rename one of them"
            )
    check_names(source, names)
    return names


def check_names(source: str, names: Sequence[str]) -> None:
    """Hold the columns' names of a file to what a record can have.

    Raises:
        DataError: If a name occurs twice, or several are empty.
    """
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{source}: expected distinct column names; got {join_names(repeated)} twice"
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


def join_tables(source: str, train: Table, test: Table) -> Table:
    """One table of rows to learn from and rows to be judged on.

    Raises:
        DataError: their columns or tasks differ.
    """
    for what, ours, theirs in (
        ("columns", train.records.columns, test.records.columns),
        ("target_names", train.target_names, test.target_names),
        ("task", train.task, test.task),
    ):
        if ours != theirs:
            raise DataError(
                f"{source}: expected the same {what} in the rows to learn from and to be judged "
                f"on; got {ours} and {theirs}"
            )
    return replace(
        train,
        source=source,
        records=concatenate([train.records, test.records]),
        target=np.concatenate([train.target, test.target]),
        judged=len(test),
    )


def _check_records(records: Records) -> None:
    names = records.names
    if not names:
        raise DataError("expected at least one column beside the target; got none")
    if len(records) < 10:
        raise DataError(f"expected at least 10 rows to split and learn from; got {len(records)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"expected distinct column names; got {', '.join(repeated)} more than once")
    _check_numbers(records.of_kind("number", "boolean"), records.numbers, np.inf, "float32")
    _check_numbers(records.of_kind("precise"), records.precise, MAX_PRECISE_NUMBER, "float64")


def _check_numbers(columns: Sequence[Column], rows: NDArray[Any], limit: float, dtype: str) -> None:
    """Refuse columns `(n, len(columns))` without a value, or with one of `limit` or more."""
    infinite = np.zeros(rows.shape[1], np.int64)
    values = np.zeros_like(infinite)
    for part in iter_slices(rows):
        infinite += (np.abs(part) >= limit).sum(axis=0)
        values += (~np.isnan(part)).sum(axis=0)
    if not values.all():
        empty = [columns[int(i)].name for i in np.flatnonzero(values == 0)]
        raise DataError(
            f"expected values in every column; got none at all in {join_names(empty)}; drop them"
        )
    if infinite.any():
        places = ", ".join(
            f"{columns[int(i)].name} ({pluralize(infinite[i], 'row')})"
            for i in np.flatnonzero(infinite)[:10]
        )
        raise DataError(
            f"expected numbers that {dtype} can hold; got infinite or too large values in "
            f"{places}; drop those rows or columns"
        )


def _is_classification(target: NDArray[Any], task: str | None) -> bool:
    if task not in (None, "classification", "regression"):
        raise DataError(f"expected the task to be classification or regression; got {task!r}")
    if task is not None:
        return task == "classification"
    if target.ndim == 2 and target.shape[1] > 1:
        return False
    if target.dtype.kind in "iu":
        return len(_counts(target, most=MAX_INTEGER_CLASSES)) <= MAX_INTEGER_CLASSES
    return target.dtype.kind != "f"


def _checked_classes(target: NDArray[Any], name: str) -> NDArray[Any]:
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        raise DataError(f"expected one class per row in {name}; got an array of {target.shape}")
    if target.dtype.kind == "b":  # as "False" and "True": a graph has no truth-valued labels
        target = target.astype(np.str_)
    counts = _counts(target)
    if target.dtype.kind == "U" and any(word != canonicalize_text(word) for word in counts):
        target = _spelled_alike(target)
        counts = _counts(target)
    classes = np.array(list(counts))
    if target.dtype.kind == "f":
        if not (np.isfinite(classes) & (classes == np.round(classes))).all():
            raise DataError(
                f"expected whole numbers or text as classes in {name}; got fractions or missing "
                f"values; choose the task regression or fill the gaps"
            )
        counts = {int(value): count for value, count in counts.items()}
    if "" in counts:
        raise DataError(
            f"expected a class in every row of {name}; got none in {counts['']}; name them or drop "
            f"those rows"
        )
    text = target.dtype.kind == "U"
    if not text:
        if (np.abs(classes.astype(np.float64)) > MAX_CLASS_NUMBER).any():
            raise DataError(
                f"expected whole numbers up to 2^53 as classes in {name}; got larger ones; "
                f"write them as text"
            )
        target = target.astype(np.int64, copy=False)
    if len(classes) < 2:
        raise DataError(f"expected at least two classes in {name}; got only {list(counts)}")
    rare = sorted(word for word, count in counts.items() if count < 5)
    if rare:
        raise DataError(
            f"expected at least 5 rows of every class of {name}, to share between training, "
            f"validation and test; got fewer of {', '.join(map(str, rare[:10]))}; "
            f"merge or drop them{'' if text else ', or choose the task regression'}"
        )
    return target


def _spelled_alike(target: NDArray[Any]) -> NDArray[Any]:
    """Texts in the one spelling of classes, which files give them as they are read."""
    words, places = np.unique(target, return_inverse=True)
    found: NDArray[Any] = np.array([canonicalize_text(word) for word in words.tolist()])[places]
    return found


def _counts(target: NDArray[Any], most: int | None = None) -> dict[Any, int]:
    """How often each value is there, in no order; of more than `most` values only some."""
    found: Counter[Any] = Counter()
    for part in iter_slices(target):
        values, counts = np.unique(part, return_counts=True)
        found.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if most is not None and len(found) > most:
            break
    return found


def _checked_values(target: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.float64]:
    if target.dtype.kind not in "fiub":
        raise DataError(f"expected numbers to regress on in {', '.join(names)}; got text")
    values = target.astype(np.float64, copy=False).reshape(len(target), -1)
    limits = np.finfo(np.float32)
    # NaN among them; near the largest float32, answers that miss the target a little overflow.
    bad = sum(
        np.count_nonzero(~(np.abs(part) <= limits.max / 16).all(axis=1))
        for part in iter_slices(values)
    )
    if bad:
        raise DataError(
            f"expected finite float32 targets in {', '.join(names)}; got missing, infinite or too "
            f"large values in {pluralize(int(bad), 'row')}; drop those rows, or rescale the target"
        )
    spread = values.std(axis=0)
    flat = [name for name, std in zip(names, spread, strict=True) if std < limits.tiny]
    if flat:
        raise DataError(
            f"expected targets that vary; got one value throughout in {', '.join(flat)}; "
            f"there is nothing to learn"
        )
    largest = np.maximum(values.max(axis=0), -values.min(axis=0))
    steps = np.spacing(largest.astype(np.float32))  # between two float32 values
    coarse = [
        n for n, std, step in zip(names, spread, steps, strict=True) if std < FEWEST_STEPS * step
    ]
    if coarse:
        raise DataError(
            f"expected targets whose differences float32 can hold; got values in "
            f"{', '.join(coarse)} that are too large for how little they vary; "
            f"subtract a constant from them"
        )
    return values
