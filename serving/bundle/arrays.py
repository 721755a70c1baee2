"""Arrays by name: the inputs or outputs of a graph for a batch of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]  # the first axis of all arrays is the row, with the same length


def concatenate_rows(parts: Sequence[Arrays]) -> Arrays:
    """Return the rows of all parts as one batch.

    Args:
        parts: One or more batches with the same names, in the order of their rows.

    Returns:
        New arrays; the arrays of the part itself if there is only one.
    """
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def iter_row_slices(arrays: Arrays, size: int) -> Iterator[Arrays]:
    """Yield views of consecutive rows; a batch without rows is yielded as one empty slice.

    Args:
        arrays: Batch to split.
        size: Number of rows of each slice; the last one may be shorter.

    Yields:
        Slices in the order of the rows.
    """
    rows = len(next(iter(arrays.values())))
    for start in range(0, max(rows, 1), size):
        yield {name: array[start : start + size] for name, array in arrays.items()}
