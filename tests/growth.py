"""How processor time grows with the size of an input, unaffected by other processes."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_RATIO = 3.0  # of the times at sizes 2n and n: 2 for linear work, 4 for quadratic work
NOISE_SECONDS = 0.002  # shorter times are not compared
ATTEMPTS = 5


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call in this thread, in seconds."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def assert_linear(prepare: Callable[[int], Callable[[], object]], size: int) -> None:
    """Assert that twice the input takes no more than about twice the processor time.

    Args:
        prepare: Function that returns the work for a size; only the work is measured.
        size: The smaller of the two sizes.
    """
    small, large = prepare(size), prepare(2 * size)
    fastest_small = fastest_large = float("inf")
    for _ in range(ATTEMPTS):
        fastest_small = min(fastest_small, cpu_seconds(small))
        fastest_large = min(fastest_large, cpu_seconds(large))
        if fastest_large <= MAX_RATIO * max(fastest_small, NOISE_SECONDS):
            return
    raise AssertionError(
        f"expected at most {MAX_RATIO:g} times the processor time for twice the size; got "
        f"{fastest_large:.4f} s after {fastest_small:.4f} s"
    )
