"""Arrays by name: what a graph takes, and what it gives, for some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]  # of as many rows each


def concatenate_rows(parts: Sequence[Arrays]) -> Arrays:
    """The rows of all parts, at least one, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def iter_row_slices(arrays: Arrays, size: int) -> Iterator[Arrays]:
    """So many rows at a time, views of them; one slice without rows, if there are none."""
    rows = len(next(iter(arrays.values())))
    for at in range(0, max(rows, 1), size):
        yield {name: array[at : at + size] for name, array in arrays.items()}
