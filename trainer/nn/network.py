"""The network: layers in order, all their parameters in one vector.

Each W and b is a view into `parameters`, each gradient a view into `gradients`. So an optimizer
step is a few operations on whole vectors, and a checkpoint is one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.nn.layers import Dense
from trainer.nn.losses import Loss

Array = NDArray[np.floating[Any]]


class Network:
    """A multilayer perceptron. Not safe to share between threads: layers keep their last batch.

    Args:
        n_inputs: number of features of a row, at least 1.
        layers: the layers in order; the last one's outputs are the logits.
        rng: where the first weights are drawn from.
        dtype: float32 to train, float64 to check gradients.

    Attributes:
        parameters: every weight and bias, `(n_parameters,)`; written to by optimizers.
        gradients: the gradient of the last `loss_and_gradients`, same shape.
    """

    def __init__(
        self,
        n_inputs: int,
        layers: Sequence[Dense],
        *,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if n_inputs < 1:
            raise ValueError(f"expected at least 1 input; got {n_inputs}")
        if not layers:
            raise ValueError("expected at least 1 layer; got none")
        self.n_inputs = n_inputs
        self.layers = list(layers)
        self.dtype = np.dtype(dtype)
        widths = [n_inputs, *(layer.units for layer in self.layers)]
        sizes = [layer.size(n) for layer, n in zip(self.layers, widths, strict=False)]
        self.parameters: Array = np.zeros(sum(sizes), self.dtype)
        self.gradients: Array = np.zeros(sum(sizes), self.dtype)
        start = 0
        for layer, n_in, size in zip(self.layers, widths, sizes, strict=False):
            here = slice(start, start + size)
            layer.bind(n_in, self.parameters[here], self.gradients[here])
            layer.initialize(rng)
            start += size
        self._reserve(1)

    @property
    def n_outputs(self) -> int:
        """Number of logits of a row."""
        return self.layers[-1].units

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return self.parameters.size

    def logits(self, x: Array) -> Array:
        """The forward pass: `(n, n_inputs)` to a new `(n, n_outputs)`; n may be 0.

        BLAS adds up in an order that depends on n, so a row's last digits may too.

        Raises:
            ValueError: x has another shape or dtype.
        """
        return self._forward(x).copy()

    def loss_and_gradients(self, x: Array, targets: NDArray[Any], loss: Loss) -> float:
        """Forward, then the chain rule backwards; fills `gradients` and returns the mean loss.

        Args:
            x: `(n, n_inputs)`, n ≥ 1.
            targets: one per row, in the form `loss` asks for.
            loss: applied to the logits.

        Raises:
            ValueError: x has another shape or dtype.
        """
        logits = self._forward(x)
        n = len(x)
        gradient = self._flow[-1][:n]
        value = loss.value_and_gradient(logits, targets, out=gradient)
        for i in range(len(self.layers) - 1, -1, -1):
            to_inputs = self._flow[i - 1][:n] if i else None
            self.layers[i].backward(gradient, to_inputs=to_inputs)
            if to_inputs is not None:
                gradient = to_inputs
        return value

    def summary(self) -> str:
        """A table of the layers with their shapes and parameter counts."""
        rows = [("layer", "shape", "parameters")]
        rows += [
            (repr(layer), f"{layer.W.shape[0]} → {layer.units}", f"{layer.W.size + layer.b.size:,}")
            for layer in self.layers
        ]
        rows.append(("total", f"{self.n_inputs} → {self.n_outputs}", f"{self.n_parameters:,}"))
        a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
        return "\n".join(f"{x:<{a}}  {y:<{b}}  {z:>{c}}" for x, y, z in rows)

    def __repr__(self) -> str:
        return f"Network({self.n_inputs}, {self.layers!r})"

    def _forward(self, x: Array) -> Array:
        if x.ndim != 2 or x.shape[1] != self.n_inputs:
            raise ValueError(f"expected rows of shape (n, {self.n_inputs}); got {x.shape}")
        if x.dtype != self.dtype:
            raise ValueError(f"expected rows of {self.dtype}; got {x.dtype}; convert them first")
        if len(x) > self._capacity:
            self._reserve(len(x))
        a = x
        for layer in self.layers:
            a = layer.forward(a)
        return a

    def _reserve(self, n: int) -> None:
        self._capacity = n
        for layer in self.layers:
            layer.reserve(n, self.dtype)
        # ∂L/∂a of each layer, filled from the last to the first
        self._flow = [np.empty((n, layer.units), self.dtype) for layer in self.layers]
