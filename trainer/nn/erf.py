"""The error function erf, which GELU needs and NumPy lacks.

erf x = sign(x) (1 − e^−x² w(|x|)), where w is the scaled complementary error function. On x ≥ 0 it
is 2 p(Z) / (L + x)² + π^−½ / (L + x) with Z = (L − x) / (L + x) and a polynomial p, whose
coefficients are Fourier coefficients (Weideman 1994, https://doi.org/10.1137/0731077, section 4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TERMS = {np.dtype(np.float32): 20, np.dtype(np.float64): 36, np.dtype(np.complex128): 36}


def _coefficients(terms: int) -> tuple[float, list[float]]:
    """Return L and the coefficients of the polynomial p, highest power first."""
    points = 4 * terms
    scale = float(np.sqrt(terms / np.sqrt(2)))
    k = np.arange(-points + 1, points)
    t = scale * np.tan(k * np.pi / (2 * points))
    f = np.concatenate([[0.0], np.exp(-(t**2)) * (scale**2 + t**2)])
    a = np.fft.fft(np.fft.fftshift(f)).real / (2 * points)
    return scale, a[1 : terms + 1][::-1].tolist()


_TABLE = {dtype: _coefficients(terms) for dtype, terms in TERMS.items()}


def erf(x: Array, out: Array, work: Array) -> None:
    """Write erf x into `out`.

    `work` is a scratch array. The three arrays have one shape and must not overlap. The absolute
    error is a few rounding units of the dtype. Complex x with a small imaginary part is accepted
    too, as the complex-step derivative needs it.
    """
    scale, coefficients = _TABLE[x.dtype]
    _write_signs(x, work)
    np.multiply(x, work, out=work)  # |x|, differentiable on both sides of 0
    np.add(work, scale, out=out)
    np.subtract(scale, work, out=work)
    np.divide(work, out, out=work)  # Z
    z, polynomial = work, out
    polynomial.fill(coefficients[0])
    for c in coefficients[1:]:
        np.multiply(polynomial, z, out=polynomial)
        np.add(polynomial, c, out=polynomial)
    # 1 / (L + |x|) = (1 + Z) / 2L
    np.add(z, 1, out=z)
    np.multiply(z, 1 / (2 * scale), out=z)
    np.multiply(polynomial, z, out=polynomial)
    np.multiply(polynomial, 2, out=polynomial)
    np.add(polynomial, 1 / np.sqrt(np.pi), out=polynomial)
    np.multiply(polynomial, z, out=polynomial)  # w(|x|)
    np.multiply(x, x, out=work)
    np.negative(work, out=work)
    np.exp(work, out=work)
    np.multiply(polynomial, work, out=out)
    np.subtract(1, out, out=out)
    _write_signs(x, work)
    np.multiply(out, work, out=out)


def _write_signs(x: Array, out: Array) -> None:
    """Write the sign of each x, 1 or −1, into `out`."""
    out.fill(0)
    np.copysign(1, x.real, out=out.real)
