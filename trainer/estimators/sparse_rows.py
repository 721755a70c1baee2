"""Sparse rows: made dense a slice at a time, so that what is dense fits into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SparseRows:
    """A sparse matrix where an array of rows is asked for: each part that is taken of it is dense.

    Training takes a batch of it at a time, and answering as many rows as `Network.logits` does.

    Args:
        matrix: a `csr_matrix` or `csr_array` of SciPy, `(n, n_features)`.
    """

    ndim = 2

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Array:
        """Those rows, a new array."""
        dense: Array = self.matrix[rows].toarray()
        return dense

    def take(self, rows: NDArray[np.int64], *, axis: int, out: Array, mode: str) -> Array:
        """Those rows, written into `out`, as `numpy.ndarray.take` does along the axis 0."""
        self.matrix[rows].toarray(out=out)
        return out

    def part(self, rows: NDArray[np.int64]) -> SparseRows:
        """Those rows, still sparse."""
        return SparseRows(self.matrix[rows])
