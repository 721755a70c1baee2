"""Finds what a test leaves behind: threads, processes, timers, log handlers, changed settings."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Set
from pathlib import Path

from tests.processes import children_of

# Variables that libraries set when they are first imported.
SET_BY_IMPORTS = {
    "CRC32C_SW_MODE",
    "ORT_DISABLE_TELEMETRY",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
}
# Process ids of servers that tests share, which end with the session.
shared_processes: set[int] = set()
SETTLING_TURNS = 100  # turns of the event loop in which greenlets and timers can end


def snapshot() -> Set[str]:
    """Return a line for each thread, child process, log handler and other state of this process.

    Daemon threads do not count, since servers of the session have some, but timers do.
    """
    loggers = [
        logging.getLogger(),
        *(
            each
            for each in logging.root.manager.loggerDict.values()
            if isinstance(each, logging.Logger) and each.handlers
        ),
    ]
    return {
        *(
            f"thread {thread!r}"
            for thread in threading.enumerate()
            if not thread.daemon or isinstance(thread, threading.Timer)
        ),
        *(f"process {pid}" for pid in children_of(os.getpid()) if pid not in shared_processes),
        *(
            f"handler {handler!r} of logger {logger.name}"
            for logger in loggers
            for handler in logger.handlers
            if not type(handler).__module__.startswith("_pytest.")
        ),
        f"level {logging.root.level} of the root logger",
        *(
            f"variable {name}={value}"
            for name, value in os.environ.items()
            if name not in SET_BY_IMPORTS and not name.startswith("PYTEST_")
        ),
        f"working folder {Path.cwd()}",
        f"import path {sys.path}",
        *(f"watcher {number} of the event loop" for number in range(_active_watchers())),
    }


def left_since(before: Set[str]) -> list[str]:
    """Return what has been added since a snapshot, after the event loop had time to settle."""
    left = snapshot() - before
    if left and "gevent" in sys.modules:
        from gevent import sleep  # noqa: PLC0415 - most tests have no event loop

        for _ in range(SETTLING_TURNS):
            if not (left := snapshot() - before):
                break
            sleep(0.002)
    return sorted(left)


def _active_watchers() -> int:
    if "gevent" not in sys.modules:
        return 0
    from gevent import get_hub  # noqa: PLC0415 - most tests have no event loop

    return int(get_hub().loop.activecnt)
