"""Timers with microsecond resolution, because event loops round delays to milliseconds.

Linux offers `timerfd`, a timer that the event loop watches like a socket. On other systems the
timer of the event loop is used.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A one-shot timer that can be set again."""

    def schedule(self, moment: float) -> None:
        """Set the timer, which replaces the time set before.

        Args:
            moment: Time on the clock of `time.perf_counter()`, in seconds; a time in the past
                expires at once.
        """

    def close(self) -> None:
        """Release the timer; its callback is not called any more."""


def create_timer(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> Timer:
    """Create the most precise timer of this system.

    Args:
        loop: Running event loop.
        callback: Function that the loop calls each time the timer expires.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "timerfd_create"):
        return _KernelTimer(libc, loop, callback)
    return _EventLoopTimer(loop, callback)


class _EventLoopTimer:
    """The event loop's own timer, in whole milliseconds under uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop, self._callback = loop, callback
        self._handle: asyncio.TimerHandle | None = None

    def schedule(self, moment: float) -> None:
        self.close()
        delay = max(0.0, moment - time.perf_counter())
        self._handle = self._loop.call_later(delay, self._callback)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec`: the interval and the expiry, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("expiry_s", ctypes.c_long),
        ("expiry_ns", ctypes.c_long),
    )


class _KernelTimer:
    """Linux's `timerfd_create(2)`, on the monotonic clock that `time.perf_counter()` reads."""

    ABSOLUTE_TIME = 1  # TFD_TIMER_ABSTIME of timerfd_settime(2)

    def __init__(
        self, libc: ctypes.CDLL, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]
    ) -> None:
        self._libc, self._loop, self._callback = libc, loop, callback
        self._descriptor = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "expected a timer from timerfd_create")
        self._spec = _TimerSpec()
        self._spec_pointer = ctypes.byref(self._spec)
        loop.add_reader(self._descriptor, self._on_expired)

    def schedule(self, moment: float) -> None:
        seconds = int(moment)
        self._spec.expiry_s = seconds
        # An expiry of 0 s and 0 ns would disarm the timer.
        self._spec.expiry_ns = max(1, int((moment - seconds) * 1e9))
        self._libc.timerfd_settime(self._descriptor, self.ABSOLUTE_TIME, self._spec_pointer, None)

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _on_expired(self) -> None:
        try:
            os.read(
                self._descriptor, 8
            )  # the number of expiries; until it is read, the loop calls again
        except BlockingIOError:  # the timer was set again after the loop saw it expire
            return
        self._callback()
