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


def run_in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises; other requests are answered meanwhile.

    In a process without gevent's loop, a test's or another server's, it is simply called: there
    other threads go on by themselves.
    """
    if not monkey.is_module_patched("threading"):
        return work()

    # What it raises comes as a value: gevent would print it as well, as it does with what no one
    # waits for.
    def attempt() -> tuple[T | None, Exception | None]:
        try:
            return work(), None
        except Exception as error:  # noqa: BLE001 - raised again, in the loop
            return None, error

    done, error = _thread_pool().apply(attempt)
    if error is not None:
        raise error
    return done  # type: ignore[no-any-return]


@cache
def _thread_pool() -> ThreadPool:
    # One: two versions that are proved at the same time would slow down the answers twice.
    return ThreadPool(1)
