"""Rows of a sparse matrix that are converted to dense arrays a few at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SparseRows:
    """A sparse matrix that can take the place of a dense array of features.

    Only the rows that are read become dense: one batch at a time in training, and as many rows as
    `Network.logits` computes at once in prediction.

    Args:
        matrix: Sparse matrix, `csr_matrix` or `csr_array` of SciPy, `(n, n_features)`.

    Attributes:
        shape: Shape of the matrix.
        dtype: Dtype of the matrix.
    """

    ndim = 2

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Array:
        """Return the rows as a new dense array."""
        dense: Array = self.matrix[rows].toarray()
        return dense

    def take(self, rows: NDArray[np.int64], *, axis: int, out: Array, mode: str) -> Array:
        """Write the rows into `out` and return it, like `numpy.ndarray.take` along axis 0."""
        self.matrix[rows].toarray(out=out)
        return out

    def select(self, rows: NDArray[np.int64]) -> SparseRows:
        """Return the rows as a sparse matrix."""
        return SparseRows(self.matrix[rows])
