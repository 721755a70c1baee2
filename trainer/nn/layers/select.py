"""The feature-selection layer, which passes on only some of the inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.nn.layers.layer import Array, Layer, require_forward


class FeatureSelect(Layer):
    """A layer that outputs a subset of its inputs, in their order.

    Args:
        columns: Indices of the inputs to pass on, int64 `(n_out,)`, ascending, at least one.
    """

    settings = ("columns",)

    def __init__(self, columns: NDArray[np.int64]) -> None:
        indices = np.asarray(columns, np.int64)
        if indices.ndim != 1 or not len(indices) or (np.diff(indices) < 1).any() or indices[0] < 0:
            raise ValueError(
                f"expected ascending indices of columns without duplicates; got "
                f"{indices.ravel()[:8].tolist()} of shape {indices.shape}"
            )
        super().__init__()
        self.columns = indices

    def outputs(self, n_in: int) -> int:
        if self.columns[-1] >= n_in:
            raise ValueError(
                f"expected at least {self.columns[-1] + 1} inputs to select from; got {n_in}"
            )
        return len(self.columns)

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x = x
        out = self._buffers.get("out", (len(x), self.n_out), x.dtype)
        # The indices are valid. The mode `raise` would first write into a new array.
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
        return f"FeatureSelect({len(self.columns)})"
