"""Processes of a server: all that descend from this one, their memory, and their end.

A server may leave processes behind, in sessions of their own. This process takes them in (Linux:
`PR_SET_CHILD_SUBREAPER`), so that they are counted and ended by their ids as well.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
KILLED = 8  # seconds until what was killed is gone, at most
GONE = (FileNotFoundError, ProcessLookupError)


def take_in_orphans() -> None:
    """Become the parent of what descends from this process and loses its own.

    And end as an exception does when told to end, so that no server is left behind.

    Raises:
        OSError: this system cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "expected a system that lets a process take in orphans")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def descendants() -> list[int]:
    """Ids of all living processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(*GONE):
            # A name in parentheses may hold anything; state and parent follow the last of them.
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(os.getpid(), []))
    for process in found:  # which grows as it is walked
        found += children.get(process, [])
    return found


def memory_mb(*, but: int = 0) -> float:
    """Memory of all descendants but one, in MB; of what they share each counts its part (PSS)."""
    kilobytes = 0
    for process in descendants():
        if process == but:
            continue
        with suppress(*GONE):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kilobytes += int(line.split()[1])
    return kilobytes / 1024


def end_all(group: int, *, patience: float = 8) -> None:
    """End a process group as its server wishes, in `patience` seconds, then all descendants."""
    with suppress(*GONE):
        os.killpg(group, signal.SIGTERM)
    end = time.monotonic() + patience
    while descendants() and time.monotonic() < end:
        time.sleep(0.1)
    end = time.monotonic() + KILLED
    while (left := descendants()) and time.monotonic() < end:
        for process in left:
            with suppress(*GONE):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    if left:
        raise RuntimeError(f"expected all processes of a server to end; these are left: {left}")
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # the orphans it took in
            pass
