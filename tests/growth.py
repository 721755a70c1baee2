"""How processor time and calls grow with the size of an input, unaffected by other processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType

MAX_RATIO = 3.0  # of the times at sizes 2n and n: 2 for linear work, 4 for quadratic work
MAX_CALL_RATIO = 2.1  # of the calls at sizes 2n and n
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


def count_calls(work: Callable[[], object]) -> int:
    """Return the number of calls of functions, in Python and in C, and of steps of generators.

    Unlike the processor time it is the same in every run, but it does not show how long a call in C
    takes.
    """
    count = 0

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(previous)
    return count


def assert_linear_calls(prepare: Callable[[int], Callable[[], object]], size: int) -> None:
    """Assert that twice the input takes no more than about twice the calls.

    Args:
        prepare: Function that returns the work for a size; only the work is counted.
        size: The smaller of the two sizes.
    """
    prepare(size)()  # imports and caches
    small, large = count_calls(prepare(size)), count_calls(prepare(2 * size))
    if large > MAX_CALL_RATIO * small:
        raise AssertionError(
            f"expected at most {MAX_CALL_RATIO:g} times the calls for twice the size; got "
            f"{large:,} calls after {small:,}"
        )
