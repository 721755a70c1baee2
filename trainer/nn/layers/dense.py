"""The dense layer: z = x W + b and a = f(z), batch first."""

from __future__ import annotations

import numpy as np

from trainer.nn.activations import ACTIVATIONS, Activation
from trainer.nn.initializers import INITIALIZERS
from trainer.nn.layers.layer import Array, Layer, Parameter, require_forward
from trainer.nn.lookup import lookup


class Dense(Layer):
    """A fully connected layer.

    Args:
        units: number of outputs, at least 1.
        activation: name of f, or f itself, say `LeakyReLU(0.2)`; `identity` leaves z as it is.
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

    settings: tuple[str, ...] = ("units", "activation", "initializer")

    _rows: int | None = None  # so many there there is room
    _ones: Array
    _dx: Array | None

    def __init__(
        self,
        units: int,
        activation: str | Activation = "identity",
        *,
        initializer: str | None = None,
    ) -> None:
        if units < 1:
            raise ValueError(f"expected a layer of at least 1 unit; got {units}")
        super().__init__()
        self.units = units
        self.activation = make_activation(activation)
        name = initializer or self.activation.initializer
        self.initializer = lookup("initializer", INITIALIZERS, name)

    def outputs(self, n_in: int) -> int:
        return self.units

    def size(self, n_in: int) -> int:
        return (n_in + 1) * self.units

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        super().bind(n_in, parameters, gradients)
        split = n_in * self.units
        self.W, self.b = parameters[:split].reshape(n_in, self.units), parameters[split:]
        self.dW, self.db = gradients[:split].reshape(n_in, self.units), gradients[split:]

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw W anew and set b to zero."""
        self.initializer.fill(self.W, rng, slope=self.activation.slope)
        self.b.fill(0)

    def parameters(self) -> list[Parameter]:
        return [Parameter("W", self.W, self.dW, True), Parameter("b", self.b, self.db, False)]

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x = x
        if self._rows != len(x):
            self._make_room(len(x))
        z, a = self._z, self._a
        np.dot(x, self.W, out=z)
        np.add(z, self.b, out=z)
        self.activation.value(z, out=a)
        return a

    def _make_room(self, n: int) -> None:
        get, shape = self._buffers.get, (n, self.units)
        self._rows = n
        self._z = self._a = get("z", shape, self.dtype)
        if not self.activation.from_output:
            self._a = get("a", shape, self.dtype)
        self._ones, self._dx = self._buffers.full(1, (n,), self.dtype), None

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        self.activation.chain(gradient, self._z, self._a)
        np.dot(x.T, gradient, out=self.dW)
        # A product with ones is two to ten times as fast as a sum over the first axis.
        np.dot(self._ones, gradient, out=self.db)
        if not to_inputs:
            return None
        if self._dx is None:
            self._dx = self._buffers.get("dx", x.shape, self.dtype)
        np.dot(gradient, self.W.T, out=self._dx)
        return self._dx

    def __repr__(self) -> str:
        return f"Dense({self.units}, {shown(self.activation)})"


def shown(activation: Activation) -> str:
    """An activation as one would write it: its name, or with its numbers if they are not usual."""
    usual = repr(activation) == repr(ACTIVATIONS[activation.name]())
    return repr(activation.name) if usual else repr(activation)


def make_activation(activation: str | Activation) -> Activation:
    """An activation of its own, by name or as it is given.

    Raises:
        ValueError: there is none of that name.
    """
    if isinstance(activation, Activation):
        return activation
    return lookup("activation", ACTIVATIONS, activation)()
