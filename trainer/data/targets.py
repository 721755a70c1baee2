"""Targets: whether they hold classes or quantities, whether these can be learned; class codes."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.bundle import canonicalize_text, pluralize
from trainer.data.data_error import DataError
from trainer.data.records import SLICE_BYTES, iter_slices

Task = Literal["binary", "multiclass", "regression"]

# Integers with more distinct values than this are quantities by default, not classes.
MAX_INTEGER_CLASSES = 20
# From here on not every whole number is a float64, and JSON readers begin to round.
MAX_CLASS_NUMBER = 2.0**53
MIN_CLASS_ROWS = 5  # of each class, to share between training, validation and testing
MAX_LISTED_CLASSES = 10  # in a message
# A standard deviation of fewer float32 steps would be rounded away in the predictions.
MIN_FLOAT32_STEPS = 100


def check_target(
    target: NDArray[Any], names: tuple[str, ...], task: str | None
) -> tuple[NDArray[Any], Task]:
    """Infer the task of a target, and refuse a target that cannot be learned.

    Args:
        target: Numbers, booleans or texts `(n,)`, or numbers `(n, n_targets)`.
        names: Name of each column of the target.
        task: `classification`, `regression`, or None to infer it.

    Returns:
        The target, as `Table.target` has it, and its task.

    Raises:
        DataError: If the target does not fit the task; the message says why.
    """
    if _is_classification(target, task):
        classes = _check_classes(target, names[0])
        return classes, "binary" if len(_count_values(classes)) == 2 else "multiclass"
    return _check_quantities(target, names), "regression"


def _is_classification(target: NDArray[Any], task: str | None) -> bool:
    if task not in (None, "classification", "regression"):
        raise DataError(
            f"expected the task to be classification or regression; got {task!r}; choose one of "
            f"them"
        )
    if task is not None:
        return task == "classification"
    if target.ndim == 2 and target.shape[1] > 1:
        return False
    if target.dtype.kind in "iu":
        return len(_count_values(target, stop=MAX_INTEGER_CLASSES)) <= MAX_INTEGER_CLASSES
    return target.dtype.kind != "f"


def _check_classes(target: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the classes as integers or texts `(n,)`.

    Args:
        target: Numbers, booleans or texts, `(n,)` or `(n, 1)`.
        name: Name of the target.
    """
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        raise DataError(
            f"expected one class per row in {name}; got an array of {target.shape}; give one column"
        )
    if target.dtype.kind == "b":  # become "False" and "True": a graph has no boolean labels
        target = target.astype(np.str_)
    is_text = target.dtype.kind == "U"
    counts = _count_values(target)
    if is_text and any(word != canonicalize_text(word) for word in counts):
        target = _canonicalize_texts(target)
        counts = _count_values(target)
    if target.dtype.kind == "f":
        values = np.array(list(counts))
        if not (np.isfinite(values) & (values == np.round(values))).all():
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
    if not is_text:
        if any(abs(float(value)) > MAX_CLASS_NUMBER for value in counts):
            raise DataError(
                f"expected whole numbers up to 2^53 as classes in {name}; got larger ones; "
                f"write them as text"
            )
        target = target.astype(np.int64, copy=False)
    _check_class_counts(counts, name, is_text=is_text)
    return target


def _check_class_counts(counts: dict[Any, int], name: str, *, is_text: bool) -> None:
    """Refuse fewer than two classes, and classes of too few rows."""
    if len(counts) < 2:
        raise DataError(
            f"expected at least two classes in {name}; got only {list(counts)}; choose another "
            f"target"
        )
    rare = sorted(value for value, count in counts.items() if count < MIN_CLASS_ROWS)
    if rare:
        more = f" and {len(rare) - MAX_LISTED_CLASSES:,} more" * (len(rare) > MAX_LISTED_CLASSES)
        other = "another target" if is_text else "the task regression or another target"
        raise DataError(
            f"expected at least {MIN_CLASS_ROWS} rows of every class of {name}, to share between "
            f"training, validation and test; got fewer of "
            f"{', '.join(map(str, rare[:MAX_LISTED_CLASSES]))}{more}; merge or drop them; if they "
            f"are no classes, choose {other}"
        )


def _canonicalize_texts(target: NDArray[Any]) -> NDArray[Any]:
    """Return texts in the spelling that classes of files have."""
    words, places = np.unique(target, return_inverse=True)
    texts: NDArray[Any] = np.array([canonicalize_text(word) for word in words.tolist()])[places]
    return texts


def _count_values(target: NDArray[Any], stop: int | None = None) -> dict[Any, int]:
    """Return the rows of each value, in no order; stop early once there are more than `stop`."""
    counts: Counter[Any] = Counter()
    for part in iter_slices(target):
        values, rows = np.unique(part, return_counts=True)
        counts.update(dict(zip(values.tolist(), rows.tolist(), strict=True)))
        if stop is not None and len(counts) > stop:
            break
    return counts


def _check_quantities(target: NDArray[Any], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the quantities as float64 `(n, n_targets)`."""
    if target.dtype.kind not in "fiub":
        raise DataError(
            f"expected numbers to regress on in {', '.join(names)}; got text; choose the task "
            f"classification"
        )
    values = target.astype(np.float64, copy=False).reshape(len(target), -1)
    limits = np.finfo(np.float32)
    # NaN is refused too. The limit is below the largest float32, near which predictions that miss
    # the target by a little would overflow.
    bad_rows = sum(
        np.count_nonzero(~(np.abs(part) <= limits.max / 16).all(axis=1))
        for part in iter_slices(values)
    )
    if bad_rows:
        raise DataError(
            f"expected finite float32 targets in {', '.join(names)}; got missing, infinite or too "
            f"large values in {pluralize(int(bad_rows), 'row')}; drop those rows, or rescale the "
            f"target"
        )
    deviation = values.std(axis=0)
    constant = [name for name, std in zip(names, deviation, strict=True) if std < limits.tiny]
    if constant:
        raise DataError(
            f"expected targets that vary; got one value throughout in {', '.join(constant)}; "
            f"choose another target, since there is nothing to learn"
        )
    largest = np.maximum(values.max(axis=0), -values.min(axis=0))
    steps = np.spacing(largest.astype(np.float32))  # distance to the next float32
    coarse = [
        name
        for name, std, step in zip(names, deviation, steps, strict=True)
        if std < MIN_FLOAT32_STEPS * step
    ]
    if coarse:
        raise DataError(
            f"expected targets whose differences float32 can hold; got values in "
            f"{', '.join(coarse)} that are too large for how little they vary; "
            f"subtract a constant from them"
        )
    return values


def class_codes(target: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Return the sorted distinct classes, and the position of each row's class, int32 `(n,)`.

    Equals `numpy.unique` with `return_inverse`, but never sorts or copies all texts at once.

    Args:
        target: Classes, integers or texts `(n,)`.
    """
    slices = range(0, len(target), SLICE_BYTES)
    classes = np.unique(np.concatenate([np.unique(target[at : at + SLICE_BYTES]) for at in slices]))
    codes = np.empty(len(target), np.int32)
    for at in slices:
        codes[at : at + SLICE_BYTES] = np.searchsorted(classes, target[at : at + SLICE_BYTES])
    return classes, codes
