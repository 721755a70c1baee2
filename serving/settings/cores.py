"""Count the cores that this process may use, by CPU affinity and quotas of control groups.

Quotas are rounded down: with a quota of 1.5 cores there is one worker, which is never throttled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def count_usable_cores(proc: Path = Path("/proc/self")) -> int:
    """Return the number of cores that this process may use, at least 1.

    The number is the smallest of the CPU affinity and the quotas of the process's control group and
    of all groups that contain it, for cgroup v1 and v2.

    Args:
        proc: Folder of this process in /proc, of which `cgroup` and `mountinfo` are read.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    folders = _find_control_groups(proc)
    quotas = [quota for folder in folders if (quota := _read_quota(folder)) is not None]
    return max(1, int(min([cores, *quotas])))


def _find_control_groups(proc: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that can limit this process's processor time."""
    paths = dict(_read_group_paths(proc))
    for line in _read_lines(proc / "mountinfo"):
        # "36 35 0:31 /root /mount/point rw,relatime shared:9 - cgroup2 cgroup rw,cpu"
        mount_part, _, type_part = line.partition(" - ")
        mount_fields, type_fields = mount_part.split(), type_part.split()
        if len(mount_fields) < 5 or len(type_fields) < 3:
            continue
        if type_fields[0] not in ("cgroup", "cgroup2"):
            continue
        controller = "cpu" if type_fields[0] == "cgroup" else ""
        if controller in paths and (not controller or controller in type_fields[2].split(",")):
            mount = Path(mount_fields[4])
            group = _relative_group_path(paths[controller], mount_fields[3])
            yield from (mount / group, *(mount / parent for parent in group.parents))


def _read_group_paths(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield each controller ("" for cgroup v2) with the path of this process's group."""
    for line in _read_lines(proc / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(","):
            yield name, path


def _relative_group_path(path: str, root: str) -> PurePosixPath:
    """Return a group's path relative to the mounted group `root`; empty if it is outside it."""
    try:
        relative = PurePosixPath(path).relative_to(root)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative


def _read_quota(folder: Path) -> float | None:
    """Return the number of cores that a control group may use; None if it has no limit."""
    limit = _read_words(folder / "cpu.max")
    if not limit:
        quota_words = _read_words(folder / "cpu.cfs_quota_us")
        limit = [*quota_words, *_read_words(folder / "cpu.cfs_period_us")]
    try:
        quota, period = map(int, limit)  # microseconds of processor time in each period
    except ValueError:  # the quota is "max", or the files do not exist
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read_words(path: Path) -> list[str]:
    return " ".join(_read_lines(path)).split()


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
