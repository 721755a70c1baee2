"""Optimizers, in order of increasing complexity.

Each updates a flat parameter vector in place from a flat gradient of the same shape. State is made
at the first step; a step allocates nothing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Optimizer(ABC):
    """Moves parameters against their gradient.

    Args:
        learning_rate: size of a step, positive.
    """

    name: str

    def __init__(self, learning_rate: float) -> None:
        if not learning_rate > 0:
            raise ValueError(f"expected a learning rate above 0; got {learning_rate}")
        self.learning_rate = learning_rate
        self._scratch: Array | None = None

    @abstractmethod
    def step(self, parameters: Array, gradients: Array) -> None:
        """Update `parameters` in place; both `(n_parameters,)` and of one dtype."""

    def _buffer(self, like: Array) -> Array:
        if self._scratch is None or self._scratch.shape != like.shape:
            self._scratch = np.empty_like(like)
        return self._scratch

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.learning_rate})"


class SGD(Optimizer):
    """θ ← θ − η g. Robbins and Monro 1951."""

    name = "sgd"

    def step(self, parameters: Array, gradients: Array) -> None:
        change = self._buffer(parameters)
        np.multiply(gradients, self.learning_rate, out=change)
        parameters -= change


class Adam(Optimizer):
    """Steps scaled by running estimates m of the gradient's mean and v of its square.

    θ ← θ − η m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).
    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1.

    Args:
        learning_rate: η.
        beta1: share of m kept from step to step, in [0, 1).
        beta2: share of v kept from step to step, in [0, 1).
        epsilon: added to √v̂, positive.
    """

    name = "adam"

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self._t = 0
        self._m: Array | None = None
        self._v: Array | None = None

    def step(self, parameters: Array, gradients: Array) -> None:
        if self._m is None or self._v is None:
            self._m, self._v = np.zeros_like(parameters), np.zeros_like(parameters)
        m, v, work = self._m, self._v, self._buffer(parameters)
        self._t += 1

        m *= self.beta1
        np.multiply(gradients, 1 - self.beta1, out=work)
        m += work

        v *= self.beta2
        np.multiply(gradients, gradients, out=work)
        work *= 1 - self.beta2
        v += work

        # η m̂ / (√v̂ + ε), with both bias corrections taken out of the vectors
        np.sqrt(v, out=work)
        work /= math.sqrt(1 - self.beta2**self._t)  # a NumPy scalar would widen the vector
        work += self.epsilon
        np.divide(m, work, out=work)
        work *= self.learning_rate / (1 - self.beta1**self._t)
        parameters -= work


OPTIMIZERS: dict[str, type[Optimizer]] = {o.name: o for o in (SGD, Adam)}
