"""The heap of this process: returns freed memory to the system.

The C library keeps what is freed, and may keep many times what the process needs: after a model
has been replaced, or a large body answered. Giving it back takes milliseconds, in which no thread
can allocate, so it is done at most once for what is freed within a few seconds.
"""

from __future__ import annotations

import ctypes
import math
from time import monotonic

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others have none
_trim_at = math.inf


def trim_heap() -> None:
    """Give free memory back to the system, where the C library can."""
    global _trim_at  # noqa: PLW0603
    _trim_at = math.inf
    if _malloc_trim is not None:
        _malloc_trim(0)


def request_trim(delay: float = 0.0) -> None:
    """Ask for a trim, since much memory was freed or will be soon.

    Args:
        delay: Longest time until `is_trim_due`, in seconds.
    """
    global _trim_at  # noqa: PLW0603
    _trim_at = min(_trim_at, monotonic() + delay)


def is_trim_due() -> bool:
    """Return whether the heap should be trimmed now."""
    return monotonic() >= _trim_at
