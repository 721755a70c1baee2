"""Processes of a server: finding them, measuring their memory, and stopping them.

A server may leave processes behind in sessions of their own. This process adopts them (Linux:
`PR_SET_CHILD_SUBREAPER`), so that they are measured and stopped by their ids as well.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
STOP_SECONDS = 8.0
KILL_SECONDS = 8.0
PROCESS_ENDED = (FileNotFoundError, ProcessLookupError)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends.

    SIGTERM then ends this process like an exception, so that no server is left running.

    Raises:
        OSError: If the operating system does not support it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "expected a system that lets a process adopt orphans")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def list_descendants() -> list[int]:
    """Return the ids of all living processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(*PROCESS_ENDED):
            # The program name in parentheses may contain anything, even a parenthesis. State and
            # parent follow the last one.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    descendants = list(children.get(os.getpid(), []))
    for process in descendants:  # The list grows while it is iterated over.
        descendants += children.get(process, [])
    return descendants


def list_children(process: int) -> list[int]:
    """Return the ids of the child processes that a process's main thread has started."""
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def read_memory_mb(process: int) -> tuple[float, float]:
    """Return the resident memory of a process and its proportional share of it (RSS, PSS), in MB.

    Raises:
        ProcessLookupError: If the process has ended.
    """
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    sizes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE))
    if not sizes:  # a process that has ended and whose parent has not awaited it yet
        raise ProcessLookupError(f"expected a living process; got {process}, which has no memory")
    return int(sizes["Rss"]) / 1024, int(sizes["Pss"]) / 1024


def measure_memory_mb(*, excluded: int = 0) -> float:
    """Return the memory of all descendants, in MB: memory they share is counted once (PSS).

    Args:
        excluded: Id of a descendant that is left out.
    """
    total = 0.0
    for process in list_descendants():
        if process != excluded:
            with suppress(*PROCESS_ENDED):
                total += read_memory_mb(process)[1]
    return total


def stop_all(group: int, *, stop_seconds: float = STOP_SECONDS) -> None:
    """Stop a process group with SIGTERM, then kill all remaining descendants of this process.

    Args:
        group: Process group of the server.
        stop_seconds: Seconds that the group has to stop by itself.

    Raises:
        RuntimeError: If a process survives.
    """
    with suppress(*PROCESS_ENDED):
        os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + stop_seconds
    while list_descendants() and time.monotonic() < deadline:
        time.sleep(0.1)
    deadline = time.monotonic() + KILL_SECONDS
    while (survivors := list_descendants()) and time.monotonic() < deadline:
        for process in survivors:
            with suppress(*PROCESS_ENDED):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    if survivors:
        raise RuntimeError(
            f"expected all processes of a server to end; got {survivors}, which run on after "
            "SIGKILL; stop them before the next benchmark"
        )
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # the adopted orphans
            pass
