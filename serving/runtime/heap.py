"""Return freed memory to the operating system, once for all memory that is freed within seconds.

The C library keeps freed memory for later allocations. After a model was replaced or a large body
was processed, the process may hold many times the memory that it needs. Trimming the heap takes
milliseconds in which no other thread can allocate. So code that frees memory only requests a trim,
and one trim serves all requests made until it is due.
"""

from __future__ import annotations

import ctypes
import math
from time import monotonic

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # None without glibc
# Per process, as the heap is: one trim serves all that repositories and requests have freed.
_trim_at = math.inf  # time at which the next trim is due, in seconds of the monotonic clock


def trim_heap() -> None:
    """Return free memory to the operating system and forget the request to do so.

    Without glibc, only the request is forgotten.
    """
    global _trim_at  # noqa: PLW0603
    _trim_at = math.inf
    if _malloc_trim is not None:
        _malloc_trim(0)


def request_trim(delay: float = 0.0) -> None:
    """Request that the heap is trimmed, for example after a large object was freed.

    Args:
        delay: Time until the trim is due, in seconds. An earlier request keeps its time.
    """
    global _trim_at  # noqa: PLW0603
    _trim_at = min(_trim_at, monotonic() + delay)


def is_trim_due() -> bool:
    """Return whether a requested trim is due."""
    return monotonic() >= _trim_at
