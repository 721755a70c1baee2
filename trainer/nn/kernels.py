"""Optimizer updates compiled by Numba: one pass over a long vector instead of about ten in NumPy.

Optional: `optimizers` uses them for long vectors if Numba is installed (the extra `fast`).
Otherwise NumPy computes the same update; tests compare the two. The first use loads Numba and
compiles, which takes about a second; later runs read the compiled code from a cache on disk.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from typing import Any

AVAILABLE = importlib.util.find_spec("numba") is not None
MIN_SIZE = 50_000  # parameters; smaller networks finish training before Numba has loaded


@cache
def compile_adam(*, has_parameter_rates: bool = False) -> Any:
    """Return the compiled update of `optimizers.Adam`.

    Its arguments are the vectors p, g, m, v `(n,)` and the numbers d, beta1, beta2, scale, epsilon:
    m ← β₁ m + g, v ← β₂ v + g², p ← d p − scale · m / (√v + ε). It writes p, m and v in place.

    Args:
        has_parameter_rates: Whether the vectors r and k `(n,)`, the rate factors and the decay
            mask, follow v: p ← (1 − (1 − d) k) p − scale · r · m / (√v + ε) [default: False].
    """
    import numba  # noqa: PLC0415 - the import takes half a second, and most runs do not need it

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

    # The error model of NumPy has no branch for division by zero, so that the loop is vectorised.
    # It runs in one thread: more would compete with those of BLAS, which wait in a busy loop.
    options: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}
    function = update_by_rates if has_parameter_rates else update
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable folder for the cache
        return numba.njit(**options)(function)
