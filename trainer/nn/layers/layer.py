"""The base class of layers: a function of a batch with a backward pass.

The parameters of a layer and their gradients are views into two flat vectors of the network. The
layer itself owns only buffers of the last forward pass, which the backward pass reads. The arrays
that it returns are views of these buffers and valid until the next pass.
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
    """A parameter array of a layer, such as weights or biases, and its gradient.

    Attributes:
        name: Name of the array: `W`, `b`, `gamma`, `beta`, `table_0`, …
        value: View into the parameters of the network.
        gradient: View into the gradients of the network, same shape.
        is_weight: Whether it is a weight matrix, to which penalties and max-norm apply.
    """

    name: str
    value: Array
    gradient: Array
    is_weight: bool


class Activity(NamedTuple):
    """Outputs and slopes of a layer's units on the last batch, for diagnostics.

    Attributes:
        activation: Activation f of the layer.
        values: a = f(z), float `(n, units)`.
        slopes: f'(z), float `(n, units)`, a new array.
    """

    activation: Activation
    values: Array
    slopes: Array


class Layer(ABC):
    """Base class of layers: a function of a batch of rows, with a backward pass.

    It is bound to one network, once. A copy has the same settings and is not bound.

    Attributes:
        settings: Names of the attributes that a copy or a pickle contains.
        n_in: Number of inputs, once bound.
        n_out: Number of outputs, once bound.
        dtype: Dtype of parameters and outputs, once bound.
        n_members: Number of networks that the layer averages; see `Members` [default: 1].
        is_compiled: Whether compiled loops are used where there are some; see `set_compiled`.
    """

    settings: tuple[str, ...] = ()
    n_members: int = 1
    is_compiled = False

    def __init__(self) -> None:
        self._buffers = Buffers()
        self._bound = False
        # The input of the last forward pass, and z and a = f(z) if the layer has an activation.
        self._x: Array | None = None
        self._z = self._a = np.empty((0, 0))

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.settings}

    def __setstate__(self, settings: dict[str, Any]) -> None:
        Layer.__init__(self)
        self.__dict__.update(settings)

    @abstractmethod
    def outputs(self, n_in: int) -> int:
        """Return the number of outputs for `n_in` inputs.

        Raises:
            ValueError: If the layer does not accept so many inputs.
        """

    def size(self, n_in: int) -> int:
        """Return the number of trained parameters for `n_in` inputs."""
        return 0

    def bind(self, n_in: int, parameters: Array, gradients: Array) -> None:
        """Bind the layer to a network: take views into its flat vectors.

        Args:
            n_in: Number of inputs.
            parameters: The layer's part of the parameters, `(size(n_in),)`.
            gradients: The layer's part of the gradients, same shape and dtype.

        Raises:
            ValueError: If the layer is already bound to a network.
        """
        if self._bound:
            raise ValueError(
                f"expected a layer that is in no network yet; got {self!r}, which is in "
                f"one; make a new layer"
            )
        self._bound = True
        self.n_in, self.n_out, self.dtype = n_in, self.outputs(n_in), parameters.dtype

    def initialize(self, rng: np.random.Generator) -> None:
        """Set the parameters to initial values drawn from `rng`."""
        return

    def parameters(self) -> list[Parameter]:
        """Return the parameter arrays with their gradients, in the order of the flat vector."""
        return []

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the other arrays that training changes, by name; not copies."""
        return {}

    def generators(self) -> list[np.random.Generator]:
        """Return the random generators that training draws from."""
        return []

    @abstractmethod
    def forward(self, x: Array, *, training: bool) -> Array:
        """Return the output `(n, n_out)` for the input x `(n, n_in)`.

        Args:
            x: Input, of the dtype of the layer.
            training: Whether the pass is part of training; matters to dropout and batch
                normalisation.
        """

    @abstractmethod
    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        """Write the gradients of the parameters for the batch of the last forward pass.

        Args:
            gradient: ∂L/∂output, `(n, n_out)`; may be overwritten.
            to_inputs: Whether to compute ∂L/∂x; not needed for the first layer.

        Returns:
            ∂L/∂x, `(n, n_in)`, if `to_inputs`.

        Raises:
            RuntimeError: If there was no forward pass.
        """

    def activity(self) -> Activity | None:
        """Return outputs and slopes of the last forward pass; None without a nonlinear activation.

        Raises:
            RuntimeError: If there was no forward pass.
        """
        activation = getattr(self, "activation", None)
        if activation is None or activation.name == "identity":
            return None
        require_forward(self._x)
        slopes = np.empty_like(self._a)
        activation.derivative(self._z, self._a, slopes)
        return Activity(activation, self._a, slopes)

    @property
    def output_activation(self) -> Activation | None:
        """Activation that the outputs have passed; None if the layer has none."""
        return getattr(self, "activation", None)

    def summarize(self) -> list[tuple[str, int, int, int]]:
        """Return name, number of inputs, of outputs and of parameters of each part, once bound."""
        return [(repr(self), self.n_in, self.n_out, self.size(self.n_in))]

    @property
    def has_kernel(self) -> bool:
        """Whether there are compiled loops for this layer or its activation; see `kernels`."""
        activation = getattr(self, "activation", None)
        return activation is not None and activation.has_kernel

    def set_compiled(self, is_compiled: bool) -> None:
        """Choose between the compiled loops and NumPy, for the layer and its activation."""
        self.is_compiled = is_compiled
        activation = getattr(self, "activation", None)
        if activation is not None:
            activation.is_compiled = is_compiled

    def list_sublayers(self) -> list[Layer]:
        """Return the layers that this layer consists of; by default the layer itself."""
        return [self]


def require_forward(x: Array | None) -> Array:
    """Return the input of the last forward pass.

    Raises:
        RuntimeError: If there was no forward pass.
    """
    if x is None:
        raise RuntimeError("expected a forward pass before the backward pass; run forward(x)")
    return x
