"""Checks of one column by itself: constant, nearly empty, or an identifier of the row."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trainer.data.checks.finding import Details
from trainer.data.checks.sample import ColumnValues, TableSample, find_gaps

MIN_IDENTIFIER_SHARE = 0.95  # of different texts among all texts of an identifier
MIN_IDENTIFIER_ROWS = 10  # with a value; with fewer, all may differ by chance
MAX_GAP_SHARE = 0.95

# Names that people give to identifiers: id, user_id, userId, PassengerId, index, row number.
IDENTIFIER_NAME = re.compile(
    r"(?:.*[\W_])?(?:id|key|uuid|guid|index|number|no)|(?s:.*)[a-z](?:Id|ID)|unnamed: [\d.]+"
)


def find_constant_columns(sample: TableSample) -> Details:
    """Return the columns with at most one value in all training rows, apart from gaps."""
    found = {}
    for column, values in sample.columns:
        present = values[~find_gaps(values)]
        if (present == present[:1]).all():
            # The sample shows one value only; all training rows decide.
            slices = sample.iter_train_values(column.name)
            distinct = [np.unique(part[~find_gaps(part)]) for (part,) in slices]
            if len(np.unique(np.concatenate(distinct))) < 2:
                found[column.name] = column.name
    return found


def find_identifiers(sample: TableSample, columns: Iterable[ColumnValues]) -> Details:
    """Return the columns that identify rows.

    These are texts that nearly all differ, whole numbers that rise by 1 from row to row, and
    different whole numbers whose column is named like an identifier.

    Args:
        sample: Training rows.
        columns: The columns of the sample to check.
    """
    found = {}
    for column, values in columns:
        is_present = ~find_gaps(values)
        n_present = np.count_nonzero(is_present)
        if n_present < MIN_IDENTIFIER_ROWS or column.kind not in ("category", "number", "precise"):
            continue
        present = values[is_present]
        if column.kind != "category" and not (present == np.round(present)).all():
            continue
        n_distinct = len(np.unique(present))
        if column.kind == "category":
            is_identifier = bool(n_distinct >= MIN_IDENTIFIER_SHARE * n_present)
        else:
            is_identifier = _is_row_number(present, sample.rows[is_present]) or (
                n_distinct == n_present and _is_identifier_name(column.name)
            )
        if is_identifier:
            found[column.name] = f"{column.name} ({n_distinct:,} different values in {n_present:,})"
    return found


def _is_identifier_name(name: str) -> bool:
    return any(IDENTIFIER_NAME.fullmatch(text) for text in (name, name.lower()))


def _is_row_number(values: NDArray[np.floating], rows: NDArray[np.int64]) -> bool:
    """Return whether values rise by 1 from row to row, to the precision of their dtype.

    Args:
        values: Whole numbers, float32 or float64 `(n,)`.
        rows: Row number of each value, `(n,)`.
    """
    difference = values.astype(np.float64) - rows
    return bool(np.ptp(difference) <= np.spacing(np.abs(values).max()))


def find_mostly_missing_columns(sample: TableSample) -> Details:
    """Return the columns with more than 95 % of gaps."""
    shares = {column.name: float(find_gaps(values).mean()) for column, values in sample.columns}
    return {
        name: f"{name} ({share:.1%})" for name, share in shares.items() if share > MAX_GAP_SHARE
    }
