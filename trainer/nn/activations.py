"""Activation functions a = f(z), applied to each element, with their derivatives.

Here z is the pre-activation of a layer and a its output, both float `(batch, units)`. Every
function writes its result into an array that the caller passes. All accept complex z for the
complex-step derivative of the gradient check: they then follow the branch that the real part of z
selects (Squire and Trapp 1998, https://doi.org/10.1137/S003614459631241X).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import kernels
from trainer.nn.buffers import Buffers
from trainer.nn.erf import erf

Array = NDArray[Any]


class Activation(ABC):
    """Base class of activations: an elementwise function and its derivative.

    An instance holds scratch buffers, so each layer needs an instance of its own.

    Attributes:
        name: Name of the activation in options and in the manifest of a bundle.
        initializer: Name of the default initializer of weights that feed it (see `initializers`).
        slope: f'(z) for z < 0 in the ReLU family, which scales He's initializers; 0 for all others.
        max_slope: The largest |f'(z)|: the factor by which an error in z can grow.
        has_output_derivative: Whether f'(z) can be computed from a alone, so that a may overwrite
            z.
        has_kernel: Whether there is a compiled loop for it; see `kernels`.
        is_compiled: Whether the compiled loop is used, for float32 [default: False].
    """

    name: str
    initializer: str = "glorot_uniform"
    slope: float = 0.0
    max_slope: float = 1.0
    has_output_derivative: bool = True
    has_kernel = False
    is_compiled = False

    def __init__(self) -> None:
        self._buffers = Buffers()

    @abstractmethod
    def value(self, z: Array, out: Array) -> None:
        """Write f(z) into `out`, which may be `z` itself if `has_output_derivative`."""

    @abstractmethod
    def derivative(self, z: Array, a: Array, out: Array) -> None:
        """Write f'(z) into `out`, given z and a = f(z).

        `z` is not read if `has_output_derivative`.
        """

    def backward(self, gradient: Array, z: Array, a: Array) -> None:
        """Multiply ∂L/∂a in place by f'(z), which makes it ∂L/∂z."""
        slope = self._scratch("slope", a)
        self.derivative(z, a, slope)
        np.multiply(gradient, slope, out=gradient)

    def _scratch(self, name: str, like: Array) -> Array:
        return self._buffers.get(name, like.shape, like.dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Identity(Activation):
    """f(z) = z, for layers that output logits or values."""

    name = "identity"

    def value(self, z: Array, out: Array) -> None:
        if out is not z:
            np.copyto(out, z)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        out.fill(1)

    def backward(self, gradient: Array, z: Array, a: Array) -> None:
        pass  # The derivative is 1 everywhere.


class Sigmoid(Activation):
    """σ(z) = 1 / (1 + e^−z), with σ' = σ (1 − σ), at most 0.25 at z = 0."""

    name = "sigmoid"
    max_slope = 0.25

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
        np.maximum(z, self._workspace(z)[0], out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        np.greater(a, 0, out=out, casting="unsafe")

    def backward(self, gradient: Array, z: Array, a: Array) -> None:
        zeros, mask = self._workspace(a)
        np.greater(a, zeros, out=mask)
        np.multiply(gradient, mask, out=gradient)

    def _workspace(self, a: Array) -> tuple[Array, ...]:
        """Return zeros and a boolean mask of the shape of `a`, reused for batches of one size."""
        # `np.maximum` with an array of zeros is three times as fast as with the scalar 0.
        workspace = self._buffers.workspace
        if not workspace or workspace[0].shape != a.shape or workspace[0].dtype != a.dtype:
            zeros = self._buffers.full(0, a.shape, a.dtype)
            workspace = self._buffers.workspace = (
                zeros,
                self._buffers.get("mask", a.shape, np.bool_),
            )
        return workspace


class LeakyReLU(Activation):
    """f(z) = z for z > 0, αz elsewhere.

    Maas et al. 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf.

    Args:
        alpha: Slope α for z ≤ 0, in (0, 1) [default: 0.01].
    """

    name = "leaky_relu"
    initializer = "he_normal"

    def __init__(self, alpha: float = 0.01) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"expected a slope between 0 and 1; got {alpha}; for 0 use relu")
        super().__init__()
        self.slope = self.alpha = alpha

    def value(self, z: Array, out: Array) -> None:
        scaled = self._scratch("scaled", z)
        np.multiply(z, self.alpha, out=scaled)
        np.maximum(z, scaled, out=out)  # the larger of z and αz, since α < 1

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
        alpha: α, above 0; f tends to −α for z → −∞ [default: 1].
    """

    name = "elu"
    initializer = "he_normal"
    scale = 1.0

    def __init__(self, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"expected an alpha above 0; got {alpha}")
        super().__init__()
        self.alpha = alpha
        self.max_slope = self.scale * max(1.0, alpha)

    def value(self, z: Array, out: Array) -> None:
        zeros = self._buffers.full(0, z.shape, z.dtype)
        negative = self._scratch("negative", z)
        np.minimum(z, zeros, out=negative)
        np.expm1(negative, out=negative)
        np.multiply(negative, self.alpha, out=negative)
        np.maximum(z, zeros, out=out)
        np.add(out, negative, out=out)
        if self.scale != 1:
            np.multiply(out, self.scale, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        zeros = self._buffers.full(0, a.shape, a.dtype)
        step = self._scratch("negative", a)
        np.minimum(a, zeros, out=out)
        np.add(out, self.scale * self.alpha, out=out)  # λα e^z = f + λα for z ≤ 0
        if self.alpha != 1:  # the derivative jumps from λα to λ at 0
            np.greater(a, zeros, out=step, casting="unsafe")
            np.multiply(step, self.scale * (1 - self.alpha), out=step)
            np.add(out, step, out=out)

    def __repr__(self) -> str:
        return f"ELU({self.alpha})"


class SELU(ELU):
    """λ times ELU, with the λ and α that preserve mean 0 and variance 1 from layer to layer.

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
    """f(z) = z Φ(z) with the cumulative normal distribution Φ; f' = Φ(z) + z φ(z).

    Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2.
    """

    name = "gelu"
    initializer = "he_normal"
    max_slope = 1.13  # at z = √2
    has_output_derivative = False

    def value(self, z: Array, out: Array) -> None:
        phi = self._scratch("cumulative", z)
        self._compute_cdf(z, phi)
        np.multiply(z, phi, out=out)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        phi = self._scratch("cumulative", z)
        self._compute_cdf(z, phi)
        np.multiply(z, z, out=out)
        np.multiply(out, -0.5, out=out)
        np.exp(out, out=out)
        np.multiply(out, z, out=out)
        np.multiply(out, 1 / math.sqrt(2 * math.pi), out=out)
        np.add(out, phi, out=out)

    def _compute_cdf(self, z: Array, out: Array) -> None:
        """Write Φ(z) = (1 + erf(z / √2)) / 2 into `out`."""
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
    max_slope = 1.1  # at z = 2.4
    has_output_derivative = False
    has_kernel = True

    def value(self, z: Array, out: Array) -> None:
        s = self._scratch("sigmoid", z)
        if self._can_use_kernel(z, out):
            kernels.compile_swish()(z.reshape(-1), s.reshape(-1), out.reshape(-1))
        else:
            sigmoid(z, s)
            np.multiply(z, s, out=out)
        self._buffers.workspace = (z, s)

    def derivative(self, z: Array, a: Array, out: Array) -> None:
        s = self._get_sigmoid(z)
        np.subtract(1, s, out=out)
        np.multiply(out, a, out=out)
        np.add(out, s, out=out)

    def backward(self, gradient: Array, z: Array, a: Array) -> None:
        if self._can_use_kernel(gradient, a):
            multiply = kernels.compile_swish_backward()
            multiply(gradient.reshape(-1), self._get_sigmoid(z).reshape(-1), a.reshape(-1))
        else:
            super().backward(gradient, z, a)

    def _get_sigmoid(self, z: Array) -> Array:
        """Return σ(z): that of the last forward pass, if that was of this very array."""
        workspace = self._buffers.workspace
        if workspace and workspace[0] is z:
            return workspace[1]
        s = self._scratch("sigmoid", z)
        sigmoid(z, s)
        self._buffers.workspace = ()  # σ of the last forward pass is overwritten
        return s

    def _can_use_kernel(self, x: Array, y: Array) -> bool:
        """Return whether the kernel is chosen and accepts the two arrays, of one shape each."""
        is_float32 = self.is_compiled and x.dtype == y.dtype == np.float32
        return is_float32 and x.flags.c_contiguous and y.flags.c_contiguous


def sigmoid(z: Array, out: Array) -> None:
    """Write σ(z) = 1 / (1 + e^−z) into `out`, which may be z; never overflows."""
    # For z < −limit, e^−z would overflow; σ(z) is below the smallest normal number there.
    limit = math.floor(math.log(np.finfo(z.dtype).max))
    np.maximum(z, -limit, out=out)
    np.negative(out, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    np.divide(1, out, out=out)


def softplus(z: Array, out: Array, work: Array) -> None:
    """Write ln(1 + e^z) = max(z, 0) + ln(1 + e^−|z|) into `out`; `work` is scratch."""
    np.copysign(1, z.real, out=work.real)
    if np.iscomplexobj(work):
        work.imag.fill(0)
    np.multiply(z, work, out=work)  # |z|, differentiable on both sides of 0
    np.negative(work, out=work)
    np.exp(work, out=work)
    np.log1p(work, out=work)
    np.maximum(z, 0, out=out)
    np.add(out, work, out=out)


# From the oldest to the newest.
ACTIVATIONS: dict[str, type[Activation]] = {
    a.name: a for a in (Identity, Sigmoid, Tanh, Softplus, ReLU, LeakyReLU, ELU, GELU, SELU, Swish)
}
