"""An alarm to the microsecond: loops count in milliseconds, and requests are due in between."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Calls back once the time it was last set to has come."""

    def set(self, moment: float) -> None:
        """Go off at a moment of `time.perf_counter()`; at once if that is over."""

    def close(self) -> None:
        """Never go off again."""


def create_timer(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> Timer:
    """The best that this system has."""
    libc = ctypes.CDLL(None, use_errno=True)
    return (
        _KernelTimer(libc, loop, call)
        if hasattr(libc, "timerfd_create")
        else _EventLoopTimer(loop, call)
    )


class _EventLoopTimer:
    """The loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop, self._call = loop, call
        self._handle: asyncio.TimerHandle | None = None

    def set(self, moment: float) -> None:
        self.close()
        self._handle = self._loop.call_later(max(0.0, moment - time.perf_counter()), self._call)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class _TimerSpec(ctypes.Structure):
    """`struct itimerspec`, of two `struct timespec`, in seconds and nanoseconds."""

    _fields_ = (
        ("again_s", ctypes.c_long),
        ("again_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class _KernelTimer:
    """Linux's `timerfd_create(2)`, on the clock that `time.perf_counter()` reads."""

    ABSOLUTE = 1  # TFD_TIMER_ABSTIME

    def __init__(
        self, libc: ctypes.CDLL, loop: asyncio.AbstractEventLoop, call: Callable[[], None]
    ) -> None:
        self._libc, self._loop, self._call = libc, loop, call
        self._handle = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._handle < 0:
            raise OSError(ctypes.get_errno(), "expected a timer from timerfd_create")
        self._time = _TimerSpec()
        self._pointer = ctypes.byref(self._time)
        loop.add_reader(self._handle, self._ring)

    def set(self, moment: float) -> None:
        seconds = int(moment)
        self._time.s, self._time.ns = seconds, max(1, int((moment - seconds) * 1e9))
        self._libc.timerfd_settime(self._handle, self.ABSOLUTE, self._pointer, None)

    def close(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)

    def _ring(self) -> None:
        try:
            os.read(self._handle, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        self._call()
