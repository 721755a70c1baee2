"""Memory: how much of it data may take before they stay in a file."""

from __future__ import annotations

import os
import resource
from pathlib import Path

SHARE = 8  # of what the process may have, the part that one copy of the data may take
# Where Linux says what a container may have, by version 2 and version 1 of control groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def room() -> int:
    """Bytes that an array of all rows may take: a share of the machine's or container's memory."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, LIMITS):
        text = file.read_text().strip() if file.is_file() else ""
        if text.isdecimal():  # or "max"
            limits.append(int(text))
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits) // SHARE
