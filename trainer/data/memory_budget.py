"""The memory that data may use before they are kept in a file instead."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

BUDGET_DIVISOR = 16  # one copy of the data may use this fraction of the process's memory
CGROUPS = Path("/sys/fs/cgroup")  # where Linux shows the memory limits of control groups


def compute_memory_budget() -> int:
    """Return the bytes that an array of all rows may use: a fraction of this process's memory.

    That is the memory of the machine, or less if a control group, such as a container's, or a
    resource limit allows less.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_iter_cgroup_limits()]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits) // BUDGET_DIVISOR


def _iter_cgroup_limits() -> Iterator[int]:
    """Yield the memory limits of this process's control groups, in bytes.

    The root is read as well, since inside a container the container's own group is the root.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for group in {"", *(line.split(":", 2)[2].strip("/") for line in lines)}:
        for file in (
            CGROUPS / group / "memory.max",  # version 2 of control groups
            CGROUPS / "memory" / group / "memory.limit_in_bytes",  # version 1
        ):
            text = file.read_text().strip() if file.is_file() else ""
            if text.isdecimal():  # or "max"
                yield int(text)
