"""Memory: how much of it data may take before they stay in a file."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

SHARE = 16  # of what the process may have, the part that one copy of the data may take
GROUPS = Path("/sys/fs/cgroup")  # where Linux says what a group of processes may have


def compute_memory_budget() -> int:
    """Bytes that an array of all rows may take: a share of what this process may have.

    That is the machine's memory, or less where a control group, such as a container's, or a
    resource limit says so.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_of_groups()]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits) // SHARE


def _of_groups() -> Iterator[int]:
    """The limits of this process' groups; seen from inside a container its own is the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for group in {"", *(line.split(":", 2)[2].strip("/") for line in lines)}:
        for file in (
            GROUPS / group / "memory.max",  # of control groups' version 2, and of version 1
            GROUPS / "memory" / group / "memory.limit_in_bytes",
        ):
            text = file.read_text().strip() if file.is_file() else ""
            if text.isdecimal():  # or "max"
                yield int(text)
