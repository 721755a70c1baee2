"""Initializers: the first values of a weight matrix, scaled so that signals keep their variance.

A layer has shape `(fan_in, fan_out)`. Biases start at zero. Weights must not: equal weights get
equal gradients, so the units of a layer would stay copies of each other for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Initializer(ABC):
    """Fills a weight matrix in place."""

    name: str

    @abstractmethod
    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        """Overwrite W, `(fan_in, fan_out)`, with draws from `rng`.

        `slope` is the activation's for z < 0, which halves or not what reaches the next layer; only
        He's initializers look at it.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Zeros(Initializer):
    """All 0: no symmetry is broken, so it is for showing that, and for layers without learning."""

    name = "zeros"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        W[...] = 0


class LeCunNormal(Initializer):
    """Normal of variance 1 / fan_in, which keeps the variance of signals for functions of slope 1.

    LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf, equation 16.
    """

    name = "lecun_normal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        W[...] = rng.normal(0, np.sqrt(1 / W.shape[0]), size=W.shape)


class GlorotUniform(Initializer):
    """Uniform in ±√(6 / (fan_in + fan_out)), of variance 2 / (fan_in + fan_out).

    Keeps the variance of signals and of gradients for functions of slope 1 at 0 (tanh, identity).
    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html, equation 16.
    """

    name = "glorot_uniform"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        fan_in, fan_out = W.shape
        limit = np.sqrt(6 / (fan_in + fan_out))
        W[...] = rng.uniform(-limit, limit, size=W.shape)


class GlorotNormal(Initializer):
    """Normal of Glorot's variance, 2 / (fan_in + fan_out)."""

    name = "glorot_normal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        fan_in, fan_out = W.shape
        W[...] = rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), size=W.shape)


class HeNormal(Initializer):
    """Normal of variance 2 / ((1 + α²) fan_in): the ReLU family passes on (1 + α²) / 2 of it.

    He et al. 2015, https://arxiv.org/abs/1502.01852, equations 10 and 15, with the slope α.
    """

    name = "he_normal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        W[...] = rng.normal(0, np.sqrt(2 / ((1 + slope**2) * W.shape[0])), size=W.shape)


class HeUniform(Initializer):
    """Uniform of He's variance: in ±√(6 / ((1 + α²) fan_in))."""

    name = "he_uniform"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        limit = np.sqrt(6 / ((1 + slope**2) * W.shape[0]))
        W[...] = rng.uniform(-limit, limit, size=W.shape)


class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer, uniform among all such matrices.

    Saxe et al. 2014, https://arxiv.org/abs/1312.6120. From the QR decomposition of a normal matrix,
    with the signs that make it unique (Mezzadri 2007, https://arxiv.org/abs/math-ph/0609050).
    """

    name = "orthogonal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        tall = max(W.shape), min(W.shape)
        q, r = np.linalg.qr(rng.normal(size=tall))
        q *= np.sign(np.diag(r))
        W[...] = q if W.shape == tall else q.T


INITIALIZERS: dict[str, Initializer] = {
    i.name: i
    for i in (
        Zeros(),
        LeCunNormal(),
        GlorotUniform(),
        GlorotNormal(),
        HeNormal(),
        HeUniform(),
        Orthogonal(),
    )
}
