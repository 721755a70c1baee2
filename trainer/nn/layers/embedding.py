"""The embedding layer, which replaces categories by learned vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer, Parameter, require_forward

MAX_WIDTH = 50  # units of a default embedding
INITIAL_DEVIATION = 0.05  # standard deviation of the initial vectors
# Rows × categories up to which a product with a one-hot matrix is faster than sorting.
MAX_PRODUCT_SIZE = 2**17


def embedding_width(size: int) -> int:
    """Return the default vector length for `size` categories: min(50, ⌈1.6 size^0.56⌉).

    The empirical rule of fastai, https://docs.fast.ai/tabular.model.html, which rounds to the
    nearest integer and has a maximum of 600.
    """
    return min(MAX_WIDTH, math.ceil(1.6 * math.pow(size, 0.56)))


class Embedding(Layer):
    """A layer that replaces its last inputs, category indices, by the vectors of the categories.

    The inputs before them are passed on unchanged. `Embedding([7, 3], [4, 2])` with 10 inputs
    outputs 8 of them, then 4 numbers for a category out of 7 and 2 for one out of 3: 14 outputs.
    Equal to a dense layer without biases on one-hot columns (Guo and Berkhahn 2016,
    https://arxiv.org/abs/1604.06737).

    Category indices are integers 0 ≤ i < size in the dtype of the network; the caller must make
    sure that they are. Index 0 stands for categories that were not in the training rows; its vector
    is initially 0.

    Args:
        sizes: Number of categories of each column, index 0 included.
        units: Vector length of each column.

    Attributes:
        tables: Vectors of each column, `(size, units)`.
        dtables: Gradients of the loss by the vectors, same shapes.
        n_numeric: Number of inputs that are passed on unchanged, once bound.
    """

    tables: list[Array]
    dtables: list[Array]

    settings = ("sizes", "units")

    def __init__(self, sizes: Sequence[int], units: Sequence[int]) -> None:
        if not sizes or len(sizes) != len(units) or min(*sizes, *units) < 1:
            raise ValueError(
                f"expected at least 1 column, each of at least 1 category and 1 unit; got sizes "
                f"{list(sizes)} and units {list(units)}"
            )
        super().__init__()
        self.sizes, self.units = list(sizes), list(units)

    def outputs(self, n_in: int) -> int:
        if n_in < len(self.sizes):
            raise ValueError(
                f"expected at least {len(self.sizes)} inputs, one for each column of categories; "
                f"got {n_in}"
            )
        return n_in - len(self.sizes) + sum(self.units)

    def size(self, n_in: int) -> int:
        return sum(size * units for size, units in zip(self.sizes, self.units, strict=True))

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        self.n_numeric = n_in - len(self.sizes)
        self.tables, self.dtables, self._columns = [], [], []
        start, read = 0, self.n_numeric
        for size, units in zip(self.sizes, self.units, strict=True):
            stop = start + size * units
            self.tables.append(parameters[start:stop].reshape(size, units))
            self.dtables.append(gradients[start:stop].reshape(size, units))
            self._columns.append(slice(read, read + units))
            start, read = stop, read + units

    def find_sources(self) -> NDArray[np.int64]:
        """Return the index of the input that each output is computed from, int64 `(n_out,)`."""
        columns = np.arange(self.n_numeric, self.n_in)
        return np.concatenate([np.arange(self.n_numeric), np.repeat(columns, self.units)])

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw small normal vectors; the vector of category 0 is 0."""
        for table in self.tables:
            table[...] = rng.normal(0, INITIAL_DEVIATION, size=table.shape)
            table[0] = 0

    def parameters(self) -> list[Parameter]:
        # Penalties and max-norm do not apply: they would shrink the vector of a rare category in
        # every batch, also in those that do not contain it.
        return [
            Parameter(f"table_{k}", table, dtable, False)
            for k, (table, dtable) in enumerate(zip(self.tables, self.dtables, strict=True))
        ]

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x, n = x, len(x)
        get = self._buffers.get
        out = get("out", (n, self.n_out), self.dtype)
        np.copyto(out[:, : self.n_numeric], x[:, : self.n_numeric])
        for k, (table, columns) in enumerate(zip(self.tables, self._columns, strict=True)):
            categories = get(f"categories {k}", (n,), np.intp)
            # The rows of a gradient check may be complex.
            np.copyto(categories, x[:, self.n_numeric + k].real, casting="unsafe")
            vectors = get(f"vectors {k}", (n, table.shape[1]), self.dtype)
            # The mode `raise` would first write into a new array.
            table.take(categories, axis=0, out=vectors, mode="clip")
            np.copyto(out[:, columns], vectors)
        return out

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        get, n = self._buffers.get, len(x)
        for k, (dtable, columns) in enumerate(zip(self.dtables, self._columns, strict=True)):
            flow = get(f"vectors {k}", (n, dtable.shape[1]), self.dtype)
            np.copyto(flow, gradient[:, columns])
            categories = get(f"categories {k}", (n,), np.intp)
            if n * len(dtable) <= MAX_PRODUCT_SIZE:
                self._add_by_product(categories, flow, dtable)
            else:
                self._add_by_sorting(categories, flow, dtable)
        if not to_inputs:
            return None
        dx = get("dx", x.shape, self.dtype)
        np.copyto(dx[:, : self.n_numeric], gradient[:, : self.n_numeric])
        dx[:, self.n_numeric :] = 0  # no derivative by a category index
        return dx

    def _add_by_product(self, categories: NDArray[np.intp], flow: Array, dtable: Array) -> None:
        """Sum the gradients of each category by a product with a one-hot matrix."""
        n, size = len(categories), len(dtable)
        one_hot = self._buffers.get(f"one_hot {size}", (n, size), self.dtype)
        one_hot.fill(0)
        one_hot[np.arange(n), categories] = 1
        np.dot(one_hot.T, flow, out=dtable)

    def _add_by_sorting(self, categories: NDArray[np.intp], flow: Array, dtable: Array) -> None:
        """Sum the gradients of each category by sorting the rows by category.

        The memory that it needs grows with the batch, not with the table.
        """
        get, n = self._buffers.get, len(categories)
        order = categories.argsort(kind="stable")
        ordered = categories.take(order, out=get("ordered", (n,), np.intp), mode="clip")
        width = flow.shape[1]
        runs = get(f"runs {width}", flow.shape, self.dtype)
        flow.take(order, axis=0, out=runs, mode="clip")
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        sums = get(f"sums {width}", flow.shape, self.dtype)[: len(starts)]
        np.add.reduceat(runs, starts, axis=0, out=sums)
        dtable.fill(0)
        dtable[ordered[starts]] = sums

    def __repr__(self) -> str:
        return f"Embedding({self.sizes}, {self.units})"
