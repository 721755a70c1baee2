"""Cores that this process may use: its affinity, and the quotas of its control groups.

Quotas are rounded down: with 1.5 cores there is one worker, which is then never throttled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def count_usable_cores(proc: Path = Path("/proc/self")) -> int:
    """Return the number of cores this process may use, at least 1.

    It is the smallest of its affinity and the quotas of its control group and of all groups above
    it, in cgroup v1 and v2.

    Args:
        proc: Folder of this process in /proc, of which `cgroup` and `mountinfo` are read.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [
        quota for folder in _find_control_groups(proc) if (quota := _read_quota(folder)) is not None
    ]
    return max(1, int(min([cores, *quotas])))


def _find_control_groups(proc: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that can limit this process's processor time."""
    paths = dict(_read_group_paths(proc))
    for line in _read_lines(proc / "mountinfo"):
        # "36 35 0:31 /root /mount/point rw,relatime shared:9 - cgroup2 cgroup rw,cpu"
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controller = "cpu" if kind[0] == "cgroup" else ""
        if controller in paths and (not controller or controller in kind[2].split(",")):
            mount = Path(fields[4])
            below = _relative_group_path(paths[controller], fields[3])
            yield from (mount / below, *(mount / parent for parent in below.parents))


def _read_group_paths(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield each controller ("" for cgroup v2) and the path of this process's group."""
    for line in _read_lines(proc / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            yield name, path


def _relative_group_path(path: str, root: str) -> PurePosixPath:
    """Return a group's path relative to the mounted group `root`; empty if it is not below it."""
    try:
        below = PurePosixPath(path).relative_to(root)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in below.parts else below


def _read_quota(folder: Path) -> float | None:
    """Return the cores that a control group may use, None where there is no limit."""
    limit = _read_words(folder / "cpu.max")
    if not limit:
        quota, period = (
            _read_words(folder / "cpu.cfs_quota_us"),
            _read_words(folder / "cpu.cfs_period_us"),
        )
        limit = [*quota, *period]
    try:
        microseconds, per = map(int, limit)
    except ValueError:  # "max", or no such files
        return None
    return microseconds / per if microseconds > 0 and per > 0 else None


def _read_words(path: Path) -> list[str]:
    return " ".join(_read_lines(path)).split()


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
