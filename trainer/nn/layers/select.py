"""Selection: the inputs that a network looks at, where it does not look at all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer, require_forward


class FeatureSelect(Layer):
    """Passes on some of a row's inputs, in their order; the others say nothing to the network.

    Args:
        columns: places of those that pass, ascending, `(n_out,)`, at least one.
    """

    settings = ("columns",)

    def __init__(self, columns: NDArray[np.int64]) -> None:
        found = np.asarray(columns, np.int64)
        if found.ndim != 1 or not len(found) or (np.diff(found) < 1).any() or found[0] < 0:
            raise ValueError(
                f"expected places of columns, ascending, none twice; got "
                f"{found.ravel()[:8].tolist()} in the shape {found.shape}"
            )
        super().__init__()
        self.columns = found

    def outputs(self, n_in: int) -> int:
        if self.columns[-1] >= n_in:
            raise ValueError(
                f"expected at least {self.columns[-1] + 1} inputs to select from; got {n_in}"
            )
        return len(self.columns)

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x = x
        out = self._buffers.get("out", (len(x), self.n_out), x.dtype)
        # The places are valid; the mode `raise` would gather into a new array first.
        x.take(self.columns, axis=1, out=out, mode="clip")
        return out

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        if not to_inputs:
            return None
        dx = self._buffers.get("dx", x.shape, gradient.dtype)
        dx.fill(0)
        dx[:, self.columns] = gradient
        return dx

    def __repr__(self) -> str:
        return f"Select({len(self.columns)})"
