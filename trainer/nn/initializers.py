"""Initializers: the first values of a weight matrix, scaled so that signals keep their variance.

A layer has shape `(fan_in, fan_out)`. Biases start at zero. Weights must not: equal weights get
equal gradients, so the units of a layer would stay copies of each other for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Initializer(ABC):
    """Fills a weight matrix in place."""

    name: str

    @abstractmethod
    def fill(self, W: Array, rng: np.random.Generator) -> None:
        """Overwrite W, `(fan_in, fan_out)`, with draws from `rng`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class GlorotUniform(Initializer):
    """Uniform in ±√(6 / (fan_in + fan_out)), of variance 2 / (fan_in + fan_out).

    Keeps the variance of signals and of gradients for functions of slope 1 at 0 (tanh, identity).
    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html, equation 16.
    """

    name = "glorot_uniform"

    def fill(self, W: Array, rng: np.random.Generator) -> None:
        fan_in, fan_out = W.shape
        limit = np.sqrt(6 / (fan_in + fan_out))
        W[...] = rng.uniform(-limit, limit, size=W.shape)


class HeNormal(Initializer):
    """Normal of variance 2 / fan_in: ReLU silences half of its inputs, so twice the variance.

    He et al. 2015, https://arxiv.org/abs/1502.01852, equation 10.
    """

    name = "he_normal"

    def fill(self, W: Array, rng: np.random.Generator) -> None:
        W[...] = rng.normal(0, np.sqrt(2 / W.shape[0]), size=W.shape)


INITIALIZERS: dict[str, Initializer] = {i.name: i for i in (GlorotUniform(), HeNormal())}
