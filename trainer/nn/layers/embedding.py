"""Embeddings: each category of a column gets a few numbers of its own, which are learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer, Parameter, require_forward

WIDEST = 50  # units of a default embedding
DEVIATION = 0.05  # of the first numbers of a category
# Rows × categories up to which a product with zeros and ones is faster than to sort.
LARGEST_PRODUCT = 2**17


def embedding_width(size: int) -> int:
    """Numbers per category, of a column of `size` categories: min(50, ⌈1.6 size^0.56⌉).

    A rule of thumb, found by trial, of fastai, https://docs.fast.ai/tabular.model.html, which
    rounds to the nearest and stops at 600.
    """
    return min(WIDEST, math.ceil(1.6 * math.pow(size, 0.56)))


class Embedding(Layer):
    """Replaces each of a row's last inputs, the number of a category, by the category's vector.

    The inputs before them pass through as they are. `Embedding([7, 3], [4, 2])` fed 10 inputs
    passes on 8, then 4 numbers for a category out of 7 and 2 for one out of 3: 14 outputs.
    Guo and Berkhahn 2016, https://arxiv.org/abs/1604.06737, who show it equal to a dense layer
    without biases on one-hot columns.

    The numbers of categories are whole, 0 ≤ i < size, in the network's dtype; that they are is for
    the caller to see to. Category 0 is for what was not known in training: its vector starts at 0.

    Args:
        sizes: numbers of categories, one for each column, 0 counted in.
        units: lengths of their vectors, one for each column.

    Attributes:
        tables: of each column, its vectors, `(size, units)`.
        dtables: gradients of the loss with respect to them, same shapes.
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
                f"expected at least the {len(self.sizes)} inputs that number categories; got {n_in}"
            )
        return n_in - len(self.sizes) + sum(self.units)

    def size(self, n_in: int) -> int:
        return sum(size * units for size, units in zip(self.sizes, self.units, strict=True))

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        self.passed = n_in - len(self.sizes)
        self.tables, self.dtables, self._columns = [], [], []
        start, read = 0, self.passed
        for size, units in zip(self.sizes, self.units, strict=True):
            stop = start + size * units
            self.tables.append(parameters[start:stop].reshape(size, units))
            self.dtables.append(gradients[start:stop].reshape(size, units))
            self._columns.append(slice(read, read + units))
            start, read = stop, read + units

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the vectors anew, normal and small; that of category 0 is 0."""
        for table in self.tables:
            table[...] = rng.normal(0, DEVIATION, size=table.shape)
            table[0] = 0

    def parameters(self) -> list[Parameter]:
        # No weights to penalties and norms: a rare category's vector would only ever shrink.
        return [
            Parameter(f"table_{k}", table, dtable, False)
            for k, (table, dtable) in enumerate(zip(self.tables, self.dtables, strict=True))
        ]

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x, n = x, len(x)
        get = self._buffers.get
        out = get("out", (n, self.n_out), self.dtype)
        np.copyto(out[:, : self.passed], x[:, : self.passed])
        for k, (table, columns) in enumerate(zip(self.tables, self._columns, strict=True)):
            chosen = get(f"chosen {k}", (n,), np.intp)
            # The gradient check's rows are complex.
            np.copyto(chosen, x[:, self.passed + k].real, casting="unsafe")
            vectors = get(f"vectors {k}", (n, table.shape[1]), self.dtype)
            # The mode `raise` would gather into a new array first.
            table.take(chosen, axis=0, out=vectors, mode="clip")
            np.copyto(out[:, columns], vectors)
        return out

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        get, n = self._buffers.get, len(x)
        for k, (dtable, columns) in enumerate(zip(self.dtables, self._columns, strict=True)):
            flow = get(f"vectors {k}", (n, dtable.shape[1]), self.dtype)
            np.copyto(flow, gradient[:, columns])
            chosen = get(f"chosen {k}", (n,), np.intp)
            if n * len(dtable) <= LARGEST_PRODUCT:
                self._add_by_product(chosen, flow, dtable)
            else:
                self._add_by_sorting(chosen, flow, dtable)
        if not to_inputs:
            return None
        dx = get("dx", x.shape, self.dtype)
        np.copyto(dx[:, : self.passed], gradient[:, : self.passed])
        dx[:, self.passed :] = 0  # a category has no slope
        return dx

    def _add_by_product(self, chosen: NDArray[np.intp], flow: Array, dtable: Array) -> None:
        """Sum the rows of each category by a product with one-hot rows."""
        n, size = len(chosen), len(dtable)
        marks = self._buffers.get(f"marks {size}", (n, size), self.dtype)
        marks.fill(0)
        marks[np.arange(n), chosen] = 1
        np.dot(marks.T, flow, out=dtable)

    def _add_by_sorting(self, chosen: NDArray[np.intp], flow: Array, dtable: Array) -> None:
        """Sum the rows of each category as runs of rows in order of category.

        What it allocates grows with the batch, not with the table.
        """
        get, n = self._buffers.get, len(chosen)
        order = chosen.argsort(kind="stable")
        ordered = chosen.take(order, out=get("ordered", (n,), np.intp), mode="clip")
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
