"""The dense layer: z = x W + b and a = f(z), with rows as the first axis."""

from __future__ import annotations

import numpy as np

from trainer.nn.activations import ACTIVATIONS, Activation
from trainer.nn.initializers import INITIALIZERS, find_by_name
from trainer.nn.layers.layer import Array, Layer, Parameter, require_forward


class Dense(Layer):
    """A fully connected layer: a = f(x W + b) with the activation f.

    Args:
        units: Number of outputs, at least 1.
        activation: Name of f, or f itself, for example `LeakyReLU(0.2)` [default: identity].
        initializer: Name of the initializer of W [default: `activation.initializer`].

    Attributes:
        W: Weights, `(n_in, units)`.
        b: Biases, `(units,)`.
        dW: Gradient of the loss by W, same shape.
        db: Gradient of the loss by b, same shape.
    """

    W: Array
    b: Array
    dW: Array
    db: Array

    settings: tuple[str, ...] = ("units", "activation", "initializer")

    _rows: int | None = None  # number of rows of the buffers below
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
        self.initializer = find_by_name("initializer", INITIALIZERS, name)

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
        """Draw W from the initializer and set b to zero."""
        self.initializer.fill(self.W, rng, slope=self.activation.slope)
        self.b.fill(0)

    def parameters(self) -> list[Parameter]:
        return [Parameter("W", self.W, self.dW, True), Parameter("b", self.b, self.db, False)]

    def forward(self, x: Array, *, training: bool) -> Array:
        self._x = x
        if self._rows != len(x):
            self._allocate(len(x))
        z, a = self._z, self._a
        np.dot(x, self.W, out=z)
        np.add(z, self.b, out=z)
        self.activation.value(z, out=a)
        return a

    def _allocate(self, n: int) -> None:
        """Get buffers for batches of n rows."""
        get, shape = self._buffers.get, (n, self.units)
        self._rows = n
        self._z = self._a = get("z", shape, self.dtype)
        if not self.activation.has_output_derivative:
            self._a = get("a", shape, self.dtype)
        self._ones, self._dx = self._buffers.full(1, (n,), self.dtype), None

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        self.activation.backward(gradient, self._z, self._a)
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
        return f"Dense({self.units}, {format_activation(self.activation)})"


def format_activation(activation: Activation) -> str:
    """Return the name of an activation in quotes, or its repr if its arguments are not defaults."""
    is_default = repr(activation) == repr(ACTIVATIONS[activation.name]())
    return repr(activation.name) if is_default else repr(activation)


def make_activation(activation: str | Activation) -> Activation:
    """Return a new activation of this name, or `activation` itself if it is an object.

    Raises:
        ValueError: If there is no activation of that name.
    """
    if isinstance(activation, Activation):
        return activation
    return find_by_name("activation", ACTIVATIONS, activation)()
