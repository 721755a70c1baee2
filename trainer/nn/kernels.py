"""Compiled kernels: what NumPy does in ten passes over a long vector, in one.

Optional: with Numba installed (the extra `fast`) the long updates of `optimizers` use them; without
it NumPy computes the same, and the tests hold the two equal. The first use loads Numba and
compiles, for about a second, into a cache that later runs read.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from typing import Any

AVAILABLE = importlib.util.find_spec("numba") is not None
SHORTEST = 50_000  # elements; below, a run is over before Numba has loaded


@cache
def adam() -> Any:
    """The update of `optimizers.Adam`, compiled.

    Called with the vectors p, g, m, v and the numbers kept, beta1, beta2, scale, epsilon:
    m ← β₁ m + g, v ← β₂ v + g², p ← kept · p − scale · m / (√v + ε).
    """
    import numba  # noqa: PLC0415 - it takes half a second, and most runs do not need it

    def update(p, g, m, v, kept, beta1, beta2, scale, epsilon):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            a = beta1 * m[i] + g[i]
            b = beta2 * v[i] + g[i] * g[i]
            m[i] = a
            v[i] = b
            p[i] = kept * p[i] - scale * a / (math.sqrt(b) + epsilon)

    # Without a branch for division by zero the loop is vectorised. One thread: a second one would
    # fight with those of BLAS, which wait busily for the next product.
    options: dict[str, Any] = {"fastmath": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(update)
    except RuntimeError:  # no place to keep the cache
        return numba.njit(**options)(update)
