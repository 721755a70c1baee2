"""Activations: the functions f in a = f(z), applied to each element, with their derivatives.

Every function writes into a buffer it is given, so that a training step allocates nothing.
Here z is a layer's pre-activation and a its output, both float `(batch, units)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Activation(ABC):
    """One elementwise function and its derivative.

    Attributes:
        name: what a layer and a manifest call it.
        initializer: name of the initializer whose variance suits it (see `initializers`).
    """

    name: str
    initializer: str = "glorot_uniform"

    @abstractmethod
    def value(self, z: Array, out: Array) -> None:
        """Write f(z) into `out`; both `(batch, units)`. `out` may be `z` itself."""

    @abstractmethod
    def derivative(self, z: Array, a: Array, out: Array) -> None:
        """Write f'(z) into `out`, given z and a = f(z). `out` may be `z` itself."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Identity(Activation):
    """f(z) = z, for the logits and for regression."""

    name = "identity"

    def value(self, z: Array, out: Array) -> None:
        np.copyto(out, z)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        out.fill(1)


class ReLU(Activation):
    """f(z) = max(z, 0). The derivative at the kink is taken as 0."""

    name = "relu"
    initializer = "he_normal"

    def value(self, z: Array, out: Array) -> None:
        np.maximum(z, 0, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.sign(a, out=out)  # a is never negative, so this is 1 where z > 0 and 0 elsewhere


class Sigmoid(Activation):
    """σ(z) = 1 / (1 + e^−z), with σ' = σ (1 − σ), at most 0.25 at z = 0."""

    name = "sigmoid"

    def value(self, z: Array, out: Array) -> None:
        # Below −limit, e^−z would overflow; σ is smaller than the smallest normal number there.
        limit = np.floor(np.log(np.finfo(z.dtype).max))
        np.maximum(z, -limit, out=out)
        np.negative(out, out=out)
        np.exp(out, out=out)
        out += 1
        np.reciprocal(out, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.subtract(1, a, out=out)
        out *= a


class Tanh(Activation):
    """tanh(z), with tanh' = 1 − tanh²."""

    name = "tanh"

    def value(self, z: Array, out: Array) -> None:
        np.tanh(z, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.multiply(a, a, out=out)
        np.subtract(1, out, out=out)


ACTIVATIONS: dict[str, Activation] = {a.name: a for a in (Identity(), ReLU(), Sigmoid(), Tanh())}
