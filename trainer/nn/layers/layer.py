"""What every layer is: a function of a batch, with a derivative, whose parameters lie elsewhere.

A layer owns neither its parameters nor their gradients: the network gives it views into its two
flat vectors. What it keeps for itself are buffers of the last forward pass, which the backward pass
reads; arrays it returns are views of them, valid until the next pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.nn.activations import Activation
from trainer.nn.buffers import Buffers

Array = NDArray[Any]


class Parameter(NamedTuple):
    """One array of parameters of a layer.

    Attributes:
        name: `W`, `b`, `gamma` or `beta`.
        value: a view into the network's parameters.
        gradient: a view into the network's gradients, of the same shape.
        is_weight: a matrix that penalties and norms apply to, as they do not to offsets.
    """

    name: str
    value: Array
    gradient: Array
    is_weight: bool


class Activity(NamedTuple):
    """What a layer's units made of the last batch, for diagnostics.

    Attributes:
        activation: the layer's.
        values: a = f(z), `(n, units)`.
        slopes: f'(z), `(n, units)`, a new array.
    """

    activation: Activation
    values: Array
    slopes: Array


class Layer(ABC):
    """One layer. It belongs to one network, to which it is bound once; a copy belongs to none.

    Attributes:
        settings: names of the attributes that a copy takes over.
    """

    settings: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._buffers = Buffers()
        self._bound = False
        # Of the last forward pass: its input and, of layers with an activation, z and a = f(z).
        self._x: Array | None = None
        self._z = self._a = np.empty((0, 0))

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.settings}

    def __setstate__(self, settings: dict[str, Any]) -> None:
        Layer.__init__(self)
        self.__dict__.update(settings)

    @abstractmethod
    def outputs(self, n_in: int) -> int:
        """Number of outputs when fed `n_in` inputs.

        Raises:
            ValueError: it cannot be fed that many.
        """

    def size(self, n_in: int) -> int:
        """Number of trained parameters when fed `n_in` inputs."""
        return 0

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        """Take views into `parameters` and `gradients`, both `(size(n_in),)`.

        Raises:
            ValueError: the layer is bound already, and would leave its network.
        """
        if self._bound:
            raise ValueError(f"expected a layer of its own; got {self!r} of another network again")
        self._bound = True
        self.n_in, self.n_out, self.dtype = n_in, self.outputs(n_in), parameters.dtype

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw the parameters anew."""
        return

    def parameters(self) -> list[Parameter]:
        """Views of the parameters with their gradients, in the order of the flat vector."""
        return []

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays that training changes beside the parameters; to restore them, write into them."""
        return {}

    def generators(self) -> list[np.random.Generator]:
        """Sources of the randomness that training draws on."""
        return []

    @abstractmethod
    def forward(self, x: Array, *, training: bool) -> Array:
        """The layer's output, `(n, n_in)` to `(n, n_out)`."""

    @abstractmethod
    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        """The chain rule through this layer, for the batch of the last forward pass.

        Args:
            gradient: ∂L/∂output, `(n, n_out)`; may be overwritten.
            to_inputs: whether ∂L/∂x is wanted; the first layer's is not.

        Returns:
            ∂L/∂x, `(n, n_in)`, if it is.

        Raises:
            RuntimeError: there was no forward pass.
        """

    def activity(self) -> Activity | None:
        """That of the last forward pass; None of a layer without units that bend.

        Raises:
            RuntimeError: there was no forward pass.
        """
        activation = getattr(self, "activation", None)
        if activation is None or activation.name == "identity":
            return None
        require_forward(self._x)
        slopes = np.empty_like(self._a)
        activation.derivative(self._z, self._a, slopes)
        return Activity(activation, self._a, slopes)

    def inner(self) -> list[Layer]:
        """The layers this one is made of, itself alone for most."""
        return [self]


def require_forward(x: Array | None) -> Array:
    """The input of the last forward pass.

    Raises:
        RuntimeError: there was none.
    """
    if x is None:
        raise RuntimeError("expected a forward pass before the backward pass; run forward(x)")
    return x
