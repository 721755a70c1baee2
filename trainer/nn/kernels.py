"""Loops compiled by Numba: one pass over an array instead of several in NumPy.

Optional: they are used if Numba is installed (the extra `fast`) and the run is long enough to pay
for loading it, which takes about a second even if the compiled code is in the cache on disk.
Otherwise NumPy computes the same; tests compare the two. All loops run in one thread: more would
compete with those of BLAS, which wait in a busy loop.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

AVAILABLE = importlib.util.find_spec("numba") is not None

# Parameters from which Adam is compiled if nothing is known about the length of the run.
MIN_SIZE = 50_000

# Parameters times steps from which a run pays for loading Numba, which takes 0.8 s: the loops save
# about 5 ns per parameter and step, and many runs stop early, after half of their steps.
MIN_WORK = 400_000_000

# The rules of IEEE 754 for NaN and infinity stay, so that a run that diverges is noticed; sums are
# not reordered either, which would remove the rounding that `compile_swish` relies on.
STRICT_MATH = frozenset({"contract", "nsz", "arcp"})


def are_worthwhile(n_parameters: int, n_steps: int) -> bool:
    """Return whether a run pays for loading Numba.

    It depends on nothing else, so that a run that is resumed computes like the one that was not
    interrupted.

    Args:
        n_parameters: Number of parameters of the network.
        n_steps: Number of steps that the run has if it does not stop early.
    """
    return AVAILABLE and n_parameters * n_steps >= MIN_WORK


@cache
def compile_adam(*, has_parameter_rates: bool = False) -> Any:
    """Return the compiled update of `optimizers.Adam`.

    Its arguments are the vectors p, g, m, v `(n,)` and the numbers d, beta1, beta2, scale, epsilon:
    m ← β₁ m + g, v ← β₂ v + g², p ← d p − scale · m / (√v + ε). It writes p, m and v in place.

    Args:
        has_parameter_rates: Whether the vectors r and k `(n,)`, the rate factors and the decay
            mask, follow v: p ← (1 − (1 − d) k) p − scale · r · m / (√v + ε) [default: False].
    """

    def update(p, g, m, v, d, beta1, beta2, scale, epsilon):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            a = beta1 * m[i] + g[i]
            b = beta2 * v[i] + g[i] * g[i]
            m[i] = a
            v[i] = b
            p[i] = d * p[i] - scale * a / (math.sqrt(b) + epsilon)

    def update_by_rates(p, g, m, v, r, k, d, beta1, beta2, scale, epsilon):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            a = beta1 * m[i] + g[i]
            b = beta2 * v[i] + g[i] * g[i]
            m[i] = a
            v[i] = b
            p[i] -= (1 - d) * k[i] * p[i] + scale * r[i] * a / (math.sqrt(b) + epsilon)

    return _compile(update_by_rates if has_parameter_rates else update, fastmath=True)


@cache
def compile_average() -> Any:
    """Return the compiled update of `regularizers.WeightAverage`.

    Its arguments are the vectors a and p `(n,)`, the average and the parameters, and the number s,
    the share of p: a ← a + s (p − a).
    """

    def update(a, p, s):  # type: ignore[no-untyped-def]
        for i in range(a.size):
            a[i] += s * (p[i] - a[i])

    return _compile(update, fastmath=STRICT_MATH)


@cache
def compile_swish() -> Any:
    """Return the compiled value of `activations.Swish`.

    Its arguments are the float32 vectors z, s and a `(n,)`; it writes s = σ(z) and a = z σ(z). The
    relative error of σ(z) is at most 3 · 10⁻⁷ for all z ≥ −87. Below, σ(z) is about 10⁻³⁸, and
    nothing overflows.
    """
    # e^x = 2ⁿ e^r with |r| ≤ ln(2) / 2, for which the Taylor polynomial of degree 7 has a relative
    # error below 8 · 10⁻⁹. Adding 1.5 · 2²³ rounds x / ln 2 to the whole number n, which then
    # stands in the low bits of the sum; moved to the place of the exponent, it makes 2ⁿ. All of
    # this is arithmetic, which LLVM vectorises; calls and conversions of NaN to int are not.
    f32, i32 = np.float32, np.int32
    low, high = f32(-87), f32(88)  # 2ⁿ is a normal number between these x
    per_ln2, rounder = f32(1 / math.log(2)), f32(1.5 * 2**23)
    # ln 2 in two parts: the first has so few digits that its products with n are exact.
    ln2_head = f32(round(math.log(2) * 2**12) / 2**12)
    ln2_tail = f32(math.log(2) - float(ln2_head))
    c7, c6, c5, c4, c3, c2 = (f32(1 / math.factorial(k)) for k in (7, 6, 5, 4, 3, 2))
    one, bias, exponent_place = f32(1), i32(127), i32(23)

    def evaluate(z, s, a):  # type: ignore[no-untyped-def]
        for i in range(z.size):
            x = -z[i]
            x = low if x < low else x  # NaN fails both comparisons, and stays
            x = high if x > high else x
            rounded = f32(x * per_ln2 + rounder)
            n = rounded - rounder
            r = (x - n * ln2_head) - n * ln2_tail
            e = ((((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + c2) * r + one) * r + one
            power = i32((i32(rounded.view(i32)) + bias) << exponent_place)
            sigmoid = one / (one + e * power.view(f32))
            s[i] = sigmoid
            a[i] = z[i] * sigmoid

    return _compile(evaluate, fastmath=STRICT_MATH)


@cache
def compile_swish_backward() -> Any:
    """Return the compiled backward pass of `activations.Swish`.

    Its arguments are the vectors g, s and a `(n,)`, s and a of `compile_swish`: it multiplies the
    gradient g in place by the derivative s + a (1 − s).
    """
    one = np.float32(1)

    def multiply(g, s, a):  # type: ignore[no-untyped-def]
        for i in range(g.size):
            g[i] *= s[i] + a[i] * (one - s[i])

    return _compile(multiply, fastmath=STRICT_MATH)


@cache
def compile_dropout() -> Any:
    """Return the compiled forward pass of `layers.Dropout`.

    Its arguments are the vectors x float32 and draws uint16 `(n,)`, the numbers threshold uint16
    and gain float32, and the vectors mask and out float32 `(n,)`: mask is the gain where the draw
    is at least the threshold and 0 elsewhere, out = x · mask.
    """
    zero = np.float32(0)

    def drop(x, draws, threshold, gain, mask, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            factor = gain if draws[i] >= threshold else zero
            mask[i] = factor
            out[i] = x[i] * factor

    return _compile(drop, fastmath=STRICT_MATH)


def _compile(function: Callable[..., None], *, fastmath: bool | frozenset[str]) -> Any:
    """Return the compiled function, from the cache on disk if there is one."""
    import numba  # noqa: PLC0415 - the import takes half a second, and most runs do not need it

    # The error model of NumPy has no branch for division by zero, so that the loop is vectorised.
    options: dict[str, Any] = {
        "fastmath": fastmath if isinstance(fastmath, bool) else set(fastmath),
        "error_model": "numpy",
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder for the cache
        return numba.njit(**options)(function)
