"""Aside: work that takes a while and must not hold the worker's loop, in a thread of its own.

What is done there may not log, nor wait for a lock of `threading`: in a worker those are gevent's,
and belong to the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from gevent import monkey
from gevent.threadpool import ThreadPool

T = TypeVar("T")


def aside(work: Callable[[], T]) -> T:
    """What `work` returns; other requests are answered meanwhile.

    In a process without gevent's loop, a test's or another server's, it is simply called: there
    other threads go on by themselves.
    """
    if not monkey.is_module_patched("threading"):
        return work()
    done, fault = _thread().apply(_caught, (work,))
    if fault is not None:
        raise fault
    return done  # type: ignore[no-any-return]


def _caught(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What it returns or raises: gevent would print an error besides passing it on."""
    try:
        return work(), None
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is the caller's
        return None, fault


@cache
def _thread() -> ThreadPool:
    # One: two versions that are proved at the same time would slow down the answers twice.
    return ThreadPool(1)
