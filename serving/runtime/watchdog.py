"""A watchdog that ends runs of ONNX Runtime which take too long.

A run cannot be interrupted from Python: it is one call into the library, and in a worker it holds
the event loop. The library looks at a flag of the run's options between two operators, so a thread
of the system's, which gevent knows nothing of, raises that flag.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from time import perf_counter
from typing import Any

MAX_PAUSE_SECONDS = 1.0  # seconds between two looks at the runs in progress


class RunWatchdog:
    """Raises the flag of runs whose time is over.

    Args:
        pause: Seconds between two looks at the runs in progress.
    """

    def __init__(self, pause: float) -> None:
        # On demand, so that the trainer does not load gevent.
        from gevent import monkey  # noqa: PLC0415

        self._pause = pause
        self._deadlines: dict[Any, float] = {}  # by the options of a run in progress
        self._sleep = monkey.get_original("time", "sleep")
        monkey.get_original("_thread", "start_new_thread")(self._watch, ())

    def begin(self, options: Any, seconds: float) -> None:
        """Watch a run from now on.

        Args:
            options: Its `onnxruntime.RunOptions`.
            seconds: Time it may take.
        """
        self._deadlines[options] = perf_counter() + seconds

    def end(self, options: Any) -> bool:
        """Stop watching a run. Return whether it was in time, and its options can be used again."""
        # Taken out before the clock is read: then the thread cannot have seen it too late.
        deadline = self._deadlines.pop(options)
        return perf_counter() < deadline

    def _watch(self) -> None:
        while True:
            self._sleep(self._pause)
            now = perf_counter()
            with suppress(RuntimeError):  # the runs changed meanwhile: next time
                for options, deadline in list(self._deadlines.items()):
                    if now > deadline:
                        options.terminate = True


@cache
def get_shared_watchdog(seconds: float) -> RunWatchdog:
    """Return this process's watchdog of runs with such a limit. To be called after fork."""
    return RunWatchdog(min(seconds / 4, MAX_PAUSE_SECONDS))
