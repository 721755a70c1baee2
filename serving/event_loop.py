"""Cooperation with the gevent event loop of a worker: yielding to it, and work outside it.

All connections of a worker share one event loop in one thread. Work that takes longer than about a
millisecond must either yield in between (`yield_to_loop`, `TurnBudget`) or run in a thread
(`run_in_thread`), or every other client waits for it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import gevent
from gevent import Greenlet, getcurrent, monkey
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

EV_READ = 1  # libev's event mask: a file descriptor is readable

Result = TypeVar("Result")

# The original function: gevent's replacement would run the event loop while it polls.
_unpatched_poll = get_original("select", "poll")


def yield_to_loop() -> None:
    """Let every greenlet or thread that is ready run before the caller continues.

    In a greenlet this sleeps for the shortest possible time. With `gevent.sleep(0)` the loop would
    resume the caller dozens of times before it polls the sockets once.
    """
    if isinstance(getcurrent(), Greenlet):
        gevent.sleep(1e-9)
    else:
        time.sleep(0)


class TurnBudget:
    """Yields to the event loop each time that a long computation has done enough work.

    Args:
        units_per_turn: Units of work to do between two yields. The caller defines the unit, for
            example bytes or values.
    """

    def __init__(self, units_per_turn: int) -> None:
        self._units_per_turn = self._units_left = units_per_turn

    def spend(self, units: int) -> None:
        """Count units of work as done, and yield if they exceed what is left of the budget."""
        self._units_left -= units
        if self._units_left < 0:
            self._units_left = self._units_per_turn
            yield_to_loop()


def run_in_thread(work: Callable[[], Result]) -> Result:
    """Call a function in a thread, while the event loop goes on answering other requests.

    Without gevent's monkey patching, for example in a test or under another WSGI server, the
    function is called directly: other threads continue anyway.

    Args:
        work: Function without arguments. It must not log or wait for a lock of `threading`: in a
            worker these belong to gevent and to the thread of the event loop.

    Returns:
        The function's result.

    Raises:
        Exception: If the function raises one; it is raised again in the caller.
    """
    if not monkey.is_module_patched("threading"):
        return work()

    # The exception is returned as a value, because gevent prints what a pool's function raises.
    def capture_error() -> tuple[Result | None, Exception | None]:
        try:
            return work(), None
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            return None, error

    result, error = _thread_pool().apply(capture_error)
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


@cache
def _thread_pool() -> ThreadPool:
    # One per process, created at its first use, since threads do not survive a fork. A single
    # thread: two self-tests at the same time would slow down predictions twice as much.
    return ThreadPool(1)


def is_readable(descriptor: int) -> bool:
    """Return whether a read from, or an accept on, a file descriptor would not block now."""
    poll = _unpatched_poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
