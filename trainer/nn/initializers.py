"""Initializers: the initial values of a weight matrix, scaled to preserve the variance of signals.

Weights W have the shape `(fan_in, fan_out)`. Biases start at zero. Weights must not: units with
equal weights get equal gradients and would remain equal for ever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T")


class Initializer(ABC):
    """Base class of initializers: a distribution of initial weights, called by its name."""

    name: str

    @abstractmethod
    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        """Overwrite W, float `(fan_in, fan_out)`, with draws from `rng`.

        Args:
            W: Weight matrix, written in place.
            rng: Random generator.
            slope: Slope α of the activation for z < 0 (0 for ReLU, `alpha` for leaky ReLU). Only
                He's initializers use it [default: 0].
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Zeros(Initializer):
    """All weights 0. Units of a hidden layer then stay equal; use it for demonstrations only."""

    name = "zeros"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        W[...] = 0


class LeCunNormal(Initializer):
    """Normal, variance 1 / fan_in, which preserves the variance of signals if f has slope 1.

    LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf, equation 16.
    """

    name = "lecun_normal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        W[...] = rng.normal(0, np.sqrt(1 / W.shape[0]), size=W.shape)


class GlorotUniform(Initializer):
    """Uniform in ±√(6 / (fan_in + fan_out)), variance 2 / (fan_in + fan_out).

    Preserves the variance of signals and of gradients if f has slope 1 at 0 (tanh, identity).
    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html, equation 16.
    """

    name = "glorot_uniform"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        fan_in, fan_out = W.shape
        limit = np.sqrt(6 / (fan_in + fan_out))
        W[...] = rng.uniform(-limit, limit, size=W.shape)


class GlorotNormal(Initializer):
    """Normal, with Glorot's variance 2 / (fan_in + fan_out)."""

    name = "glorot_normal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        fan_in, fan_out = W.shape
        W[...] = rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), size=W.shape)


class HeNormal(Initializer):
    """Normal, variance 2 / ((1 + α²) fan_in), for ReLU (α = 0) and leaky ReLU (slope α for z < 0).

    The factor compensates the (1 + α²) / 2 of the variance that the activation passes on.
    He et al. 2015, https://arxiv.org/abs/1502.01852, equations 10 and 15.
    """

    name = "he_normal"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        W[...] = rng.normal(0, np.sqrt(2 / ((1 + slope**2) * W.shape[0])), size=W.shape)


class HeUniform(Initializer):
    """Uniform in ±√(6 / ((1 + α²) fan_in)), with He's variance (see `HeNormal`)."""

    name = "he_uniform"

    def fill(self, W: Array, rng: np.random.Generator, *, slope: float = 0.0) -> None:
        limit = np.sqrt(6 / ((1 + slope**2) * W.shape[0]))
        W[...] = rng.uniform(-limit, limit, size=W.shape)


class Orthogonal(Initializer):
    """Orthonormal rows or columns, whichever are fewer, uniformly distributed.

    Saxe et al. 2014, https://arxiv.org/abs/1312.6120. Computed by the QR decomposition of a normal
    matrix, with the signs that make it unique (Mezzadri 2007,
    https://arxiv.org/abs/math-ph/0609050).
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


def find_by_name(kind: str, table: Mapping[str, T], name: str) -> T:
    """Return the entry of `table` that is called `name`.

    Args:
        kind: Kind of the entries, for the error message, for example "activation".
        table: Entries by name, for example `INITIALIZERS`.
        name: Name of the entry.

    Raises:
        ValueError: If there is no such entry; the message lists the names that exist.
    """
    try:
        return table[name]
    except KeyError:
        article = "an" if kind[0] in "aeio" else "a"
        names = ", ".join(sorted(table))
        raise ValueError(f"expected the name of {article} {kind} ({names}); got {name!r}") from None
