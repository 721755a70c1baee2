"""Layers. One so far: the dense layer, z = x W + b and a = f(z), batch first.

A layer owns neither its parameters nor their gradients: the network gives it views into its two
flat vectors. What it keeps for itself are the buffers of the last forward pass, which the backward
pass reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.nn.activations import ACTIVATIONS
from trainer.nn.initializers import INITIALIZERS
from trainer.nn.lookup import lookup

Array = NDArray[np.floating[Any]]


class Dense:
    """A fully connected layer.

    Args:
        units: number of outputs, at least 1.
        activation: name of f; `identity` leaves z as it is.
        initializer: name of the initializer of W; by default the one that suits f.

    Attributes:
        W: weights, `(n_in, units)`.
        b: biases, `(units,)`.
        dW: gradient of the loss with respect to W, same shape.
        db: gradient of the loss with respect to b, same shape.
    """

    W: Array
    b: Array
    dW: Array
    db: Array

    def __init__(
        self, units: int, activation: str = "identity", *, initializer: str | None = None
    ) -> None:
        if units < 1:
            raise ValueError(f"expected a layer of at least 1 unit; got {units}")
        self.units = units
        self.activation = lookup("activation", ACTIVATIONS, activation)
        name = initializer or self.activation.initializer
        self.initializer = lookup("initializer", INITIALIZERS, name)
        self._bound = False
        self._x: Array | None = None
        self._capacity = 0

    def size(self, n_in: int) -> int:
        """Number of parameters when fed `n_in` inputs."""
        return (n_in + 1) * self.units

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        """Make W, b views into `parameters` and dW, db into `gradients`, both `(size(n_in),)`.

        Raises:
            ValueError: the layer is bound already, and would leave its network.
        """
        if self._bound:
            raise ValueError(f"expected a layer of its own; got {self!r} of another network again")
        self._bound = True
        split = n_in * self.units
        self.W, self.b = parameters[:split].reshape(n_in, self.units), parameters[split:]
        self.dW, self.db = gradients[:split].reshape(n_in, self.units), gradients[split:]

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W anew and set b to zero."""
        self.initializer.fill(self.W, rng)
        self.b.fill(0)

    def forward(self, x: Array) -> Array:
        """The layer's output, a = f(x W + b): `(n, n_in)` to `(n, units)`.

        The result is a view of this layer's buffer: it is valid until the next forward pass.
        """
        self._x = x
        z, a = self._z(len(x)), self._a(len(x))
        np.matmul(x, self.W, out=z)
        z += self.b
        self.activation.value(z, out=a)
        return a

    def backward(self, gradient: Array, *, to_inputs: Array | None) -> None:
        """The chain rule through this layer, for the batch of the last forward pass.

        Args:
            gradient: ∂L/∂a, `(n, units)`; overwritten with ∂L/∂z = ∂L/∂a · f'(z).
            to_inputs: where to write ∂L/∂x = ∂L/∂z Wᵀ, `(n, n_in)`; the first layer needs none.
        """
        if self._x is None:
            raise RuntimeError("expected a forward pass before the backward pass; run forward(x)")
        n = len(self._x)
        if self.activation.name != "identity":  # its slope is 1 everywhere
            slope = self._z(n)  # z has done its work: its buffer takes f'(z)
            self.activation.derivative(slope, self._a(n), out=slope)
            gradient *= slope
        np.matmul(self._x.T, gradient, out=self.dW)
        np.sum(gradient, axis=0, out=self.db)
        if to_inputs is not None:
            np.matmul(gradient, self.W.T, out=to_inputs)

    def reserve(self, n: int, dtype: DTypeLike) -> None:
        """Make the buffers hold batches of up to `n` rows."""
        if n > self._capacity:
            self._z_buffer = np.empty((n, self.units), dtype)
            self._a_buffer = np.empty((n, self.units), dtype)
            self._capacity = n

    def _z(self, n: int) -> Array:
        return self._z_buffer[:n]

    def _a(self, n: int) -> Array:
        return self._a_buffer[:n]

    def __repr__(self) -> str:
        return f"Dense({self.units}, {self.activation.name!r})"
