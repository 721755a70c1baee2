"""Work that shares the event loop: yielding to others, and running in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import gevent
from gevent import Greenlet, getcurrent, monkey
from gevent.threadpool import ThreadPool


def yield_to_loop() -> None:
    """Let whoever is ready have a turn: other connections, or other threads.

    In a gevent loop by a timer, if the shortest: without one the loop would come back dozens of
    times before it looked at any connection.
    """
    if isinstance(getcurrent(), Greenlet):
        gevent.sleep(1e-9)
    else:
        time.sleep(0)


class TurnBudget:
    """Work that is done in steps; others have their turn after so many units of it.

    Args:
        units_per_turn: Units of a turn.
    """

    def __init__(self, units_per_turn: int) -> None:
        self._units_per_turn = self._units_left = units_per_turn

    def spend(self, units: int) -> None:
        """Count units as done, and give way if they are more than the turn has left."""
        self._units_left -= units
        if self._units_left < 0:
            self._units_left = self._units_per_turn
            yield_to_loop()


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
