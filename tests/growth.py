"""How processor time grows with the size of an input, which no other process can change."""

from __future__ import annotations

import time
from collections.abc import Callable

LINEAR = 3.0  # of the times at 2n and n: linear work has 2, quadratic 4
SHORTEST = 0.002  # seconds; what takes less in both cases is not told from noise
TRIES = 5


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call in this thread, in seconds."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def assert_linear(prepare: Callable[[int], Callable[[], object]], size: int) -> None:
    """Assert that twice the input takes no more than about twice the processor time.

    Args:
        prepare: Function that makes the work for a size; making it is not measured.
        size: The smaller size.
    """
    small, large = prepare(size), prepare(2 * size)
    fastest_small = fastest_large = float("inf")
    for _ in range(TRIES):
        fastest_small = min(fastest_small, cpu_seconds(small))
        fastest_large = min(fastest_large, cpu_seconds(large))
        if fastest_large <= LINEAR * max(fastest_small, SHORTEST):
            return
    raise AssertionError(
        f"expected at most {LINEAR:g} times the processor time for twice the size; got "
        f"{fastest_large:.4f} s after {fastest_small:.4f} s"
    )
