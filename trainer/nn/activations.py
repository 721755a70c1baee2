"""Activations: the functions f in a = f(z), applied to each element, with their derivatives.

Every function writes into a buffer it is given. Here z is a layer's pre-activation and a its
output, both `(batch, units)`. All are analytic in the complex step's sense: given complex z they
follow the branch of its real part (Squire and Trapp 1998, https://doi.org/10.1137/S003614459631241X).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.buffers import Buffers
from trainer.nn.erf import erf

Array = NDArray[Any]


class Activation(ABC):
    """One elementwise function and its derivative. Each layer has its own: they keep buffers.

    Attributes:
        name: what a layer and a manifest call it.
        initializer: name of the initializer whose variance suits it (see `initializers`).
        slope: f'(z) for z < 0 of the ReLU family, which its initializer's gain follows; else 0.
        steepest: the largest |f'(z)|, by which an error in z can grow.
        from_output: the derivative can be told from a alone, so that a may overwrite z.
    """

    name: str
    initializer: str = "glorot_uniform"
    slope: float = 0.0
    steepest: float = 1.0
    from_output: bool = True

    def __init__(self) -> None:
        self._buffers = Buffers()

    @abstractmethod
    def value(self, z: Array, out: Array) -> None:
        """Write f(z) into `out`, which may be `z` itself if `from_output`."""

    @abstractmethod
    def derivative(self, z: Array, a: Array, out: Array) -> None:
        """Write f'(z) into `out`, given z and a = f(z); `z` is not read if `from_output`."""

    def chain(self, gradient: Array, z: Array, a: Array) -> None:
        """Multiply ∂L/∂a in place by f'(z), which makes it ∂L/∂z."""
        slope = self._scratch("slope", a)
        self.derivative(z, a, slope)
        np.multiply(gradient, slope, out=gradient)

    def _scratch(self, name: str, like: Array) -> Array:
        return self._buffers.get(name, like.shape, like.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Identity(Activation):
    """f(z) = z, for the logits and for regression."""

    name = "identity"

    def value(self, z: Array, out: Array) -> None:
        if out is not z:
            np.copyto(out, z)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        out.fill(1)

    def chain(self, gradient: Array, z: Array, a: Array) -> None:
        pass  # its slope is 1 everywhere


class Sigmoid(Activation):
    """σ(z) = 1 / (1 + e^−z), with σ' = σ (1 − σ), at most 0.25 at z = 0."""

    name = "sigmoid"
    steepest = 0.25

    def value(self, z: Array, out: Array) -> None:
        sigmoid(z, out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.subtract(1, a, out=out)
        np.multiply(out, a, out=out)


class Tanh(Activation):
    """tanh z, with tanh' = 1 − tanh²."""

    name = "tanh"

    def value(self, z: Array, out: Array) -> None:
        np.tanh(z, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.multiply(a, a, out=out)
        np.subtract(1, out, out=out)


class ReLU(Activation):
    """f(z) = max(z, 0). The derivative at the kink is taken as 0."""

    name = "relu"
    initializer = "he_normal"

    def value(self, z: Array, out: Array) -> None:
        np.maximum(z, self._room(z)[0], out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.greater(a, 0, out=out, casting="unsafe")

    def chain(self, gradient: Array, z: Array, a: Array) -> None:
        zeros, mask = self._room(a)
        np.greater(a, zeros, out=mask)
        np.multiply(gradient, mask, out=gradient)

    def _room(self, a: Array) -> tuple[Array, ...]:
        """Zeros and a mask; the same arrays as the last time if the batch is as large."""
        # A whole array of zeros is three times as fast as a scalar, which NumPy does not vectorise.
        room = self._buffers.room
        if not room or room[0].shape != a.shape or room[0].dtype != a.dtype:
            zeros = self._buffers.full(0, a.shape, a.dtype)
            room = self._buffers.room = zeros, self._buffers.get("mask", a.shape, np.bool_)
        return room


class LeakyReLU(Activation):
    """f(z) = z for z > 0, αz elsewhere.

    Maas et al. 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf.

    Args:
        alpha: the slope for z ≤ 0, in (0, 1).
    """

    name = "leaky_relu"
    initializer = "he_normal"

    def __init__(self, alpha: float = 0.01) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"expected a slope between 0 and 1; got {alpha}; for 0 use relu")
        super().__init__()
        self.slope = self.alpha = alpha

    def value(self, z: Array, out: Array) -> None:
        leaked = self._scratch("leaked", z)
        np.multiply(z, self.alpha, out=leaked)
        np.maximum(z, leaked, out=out)  # α < 1, so the larger is the right one on either side

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.greater(a, 0, out=out, casting="unsafe")
        np.multiply(out, 1 - self.alpha, out=out)
        np.add(out, self.alpha, out=out)

    def __repr__(self) -> str:
        return f"LeakyReLU({self.alpha})"


class ELU(Activation):
    """f(z) = z for z > 0, α (e^z − 1) elsewhere, where f' = f + α.

    Clevert et al. 2016, https://arxiv.org/abs/1511.07289, equation 16.

    Args:
        alpha: −α is what f falls to, positive.
    """

    name = "elu"
    initializer = "he_normal"
    scale = 1.0

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"expected an alpha above 0; got {alpha}")
        super().__init__()
        self.alpha = alpha
        self.steepest = self.scale * max(1.0, alpha)

    def value(self, z: Array, out: Array) -> None:
        zeros = self._buffers.full(0, z.shape, z.dtype)
        below = self._scratch("below", z)
        np.minimum(z, zeros, out=below)
        np.expm1(below, out=below)
        np.multiply(below, self.alpha, out=below)
        np.maximum(z, zeros, out=out)
        np.add(out, below, out=out)
        if self.scale != 1:
            np.multiply(out, self.scale, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        zeros = self._buffers.full(0, a.shape, a.dtype)
        step = self._scratch("below", a)
        np.minimum(a, zeros, out=out)
        np.add(out, self.scale * self.alpha, out=out)  # λα e^z = f + λα for z ≤ 0
        if self.alpha != 1:  # a jump to λ at 0
            np.greater(a, zeros, out=step, casting="unsafe")
            np.multiply(step, self.scale * (1 - self.alpha), out=step)
            np.add(out, step, out=out)

    def __repr__(self) -> str:
        return f"ELU({self.alpha})"


class SELU(ELU):
    """λ times ELU, with the λ and α that keep mean 0 and variance 1 from layer to layer.

    Klambauer et al. 2017, https://arxiv.org/abs/1706.02515, equation 2 and section 2.
    """

    name = "selu"
    initializer = "lecun_normal"
    scale = 1.0507009873554805

    def __init__(self) -> None:
        super().__init__(1.6732632423543772)

    def __repr__(self) -> str:
        return "SELU()"


class GELU(Activation):
    """f(z) = z Φ(z) with the normal distribution Φ, by erf; f' = Φ(z) + z φ(z).

    Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2.
    """

    name = "gelu"
    initializer = "he_normal"
    steepest = 1.13  # at z = √2
    from_output = False

    def value(self, z: Array, out: Array) -> None:
        phi = self._scratch("cumulative", z)
        self._cumulative(z, phi)
        np.multiply(z, phi, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        phi = self._scratch("cumulative", z)
        self._cumulative(z, phi)
        np.multiply(z, z, out=out)
        np.multiply(out, -0.5, out=out)
        np.exp(out, out=out)
        np.multiply(out, z, out=out)
        np.multiply(out, 1 / math.sqrt(2 * math.pi), out=out)
        np.add(out, phi, out=out)

    def _cumulative(self, z: Array, out: Array) -> None:
        """Φ(z) = (1 + erf(z / √2)) / 2."""
        x, work = self._scratch("x", z), self._scratch("work", z)
        np.multiply(z, math.sqrt(0.5), out=x)
        erf(x, out, work)
        np.add(out, 1, out=out)
        np.multiply(out, 0.5, out=out)


class Softplus(Activation):
    """f(z) = ln(1 + e^z), a smooth ReLU, with f' = σ(z) = 1 − e^−f.

    Dugas et al. 2001, https://papers.nips.cc/paper/1920, section 2.
    """

    name = "softplus"
    initializer = "he_normal"

    def value(self, z: Array, out: Array) -> None:
        softplus(z, out, self._scratch("work", z))

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.negative(a, out=out)
        np.expm1(out, out=out)
        np.negative(out, out=out)


class Swish(Activation):
    """f(z) = z σ(z), also called SiLU; f' = σ(z) + f(z) (1 − σ(z)).

    Ramachandran et al. 2017, https://arxiv.org/abs/1710.05941, with β = 1.
    """

    name = "swish"
    initializer = "he_normal"
    steepest = 1.1  # at z = 2.4
    from_output = False

    def value(self, z: Array, out: Array) -> None:
        s = self._scratch("sigmoid", z)
        sigmoid(z, s)
        np.multiply(z, s, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        s = self._scratch("sigmoid", z)
        sigmoid(z, s)
        np.subtract(1, s, out=out)
        np.multiply(out, a, out=out)
        np.add(out, s, out=out)


def sigmoid(z: Array, out: Array) -> None:
    """Write 1 / (1 + e^−z) into `out`, which may be z; never overflows."""
    # Below −limit, e^−z would overflow; σ is smaller than the smallest normal number there.
    limit = math.floor(math.log(np.finfo(z.dtype).max))
    np.maximum(z, -limit, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.divide(1, out, out=out)


def softplus(z: Array, out: Array, work: Array) -> None:
    """Write ln(1 + e^z) = max(z, 0) + ln(1 + e^−|z|) into `out`; `work` is scratch, none is z."""
    np.copysign(1, z.real, out=work.real)
    if np.iscomplexobj(work):
        work.imag.fill(0)
    np.multiply(z, work, out=work)  # |z|, analytic on either side
    np.negative(work, out=work)
    np.exp(work, out=work)
    np.log1p(work, out=work)
    np.maximum(z, 0, out=out)
    np.add(out, work, out=out)


# In the order of their age.
ACTIVATIONS: dict[str, type[Activation]] = {
    a.name: a
    for a in (
        Identity,
        Sigmoid,
        Tanh,
        Softplus,
        ReLU,
        LeakyReLU,
        ELU,
        GELU,
        SELU,
        Swish,
    )
}
