"""Usable cores: CPU affinity, and the quotas of control groups v1 and v2."""

import os
import subprocess
import sys

import pytest

from serving.settings.cores import count_usable_cores

UNLIMITED_V1 = {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}


def make_quota_v1(microseconds):
    return UNLIMITED_V1 | {"cpu.cfs_quota_us": str(microseconds)}


def make_quota_v2(text):
    return {"cpu.max": text}


@pytest.fixture
def count_cores(tmp_path, monkeypatch):
    """Return a function that counts the usable cores of a process with an affinity of 4 cores.

    Args:
        own: Lines of `/proc/self/cgroup`.
        mounts: Type, controllers and mounted root of each mount, by name of its folder.
        groups: Files of each control group, by its path below the folder of all mounts.
    """
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))

    def find(own, mounts, groups):
        for path, files in groups.items():
            (tmp_path / "fs" / path).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (tmp_path / "fs" / path / name).write_text(content + "\n")
        lines = [
            f"31 23 0:28 {root} {tmp_path}/fs/{name} rw,relatime shared:9 - {kind} x rw,{words}\n"
            for name, (kind, words, root) in mounts.items()
        ]
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / "cgroup").write_text("".join(f"{line}\n" for line in own))
        (proc / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda rw\n" + "".join(lines))
        return count_usable_cores(proc)

    return find


V2 = {"": ("cgroup2", "nsdelegate", "/")}
V1 = {"cpu,cpuacct": ("cgroup", "cpu,cpuacct", "/"), "memory": ("cgroup", "memory", "/")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 4),
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),
        ("100000 50000", 2),
        ("900000 100000", 4),
        ("?", 4),
        ("", 4),
        ("1 0", 4),
        ("x y", 4),
    ],
)
def test_count_usable_cores_cgroup_v2_quota_limits_the_count(text, expected, count_cores):
    assert count_cores(["0::/"], V2, {"": make_quota_v2(text)}) == expected


@pytest.mark.parametrize(
    ("microseconds", "expected"), [(-1, 4), (200_000, 2), (150_000, 1), (1_000, 1), (0, 4)]
)
def test_count_usable_cores_cgroup_v1_quota_limits_the_count(microseconds, expected, count_cores):
    own = ["4:cpu,cpuacct:/", "3:memory:/"]
    assert count_cores(own, V1, {"cpu,cpuacct": make_quota_v1(microseconds)}) == expected


@pytest.mark.parametrize("limited", ["", "a.slice", "a.slice/b.service"])
def test_count_usable_cores_smallest_quota_of_parent_groups_limits_the_count(limited, count_cores):
    groups = dict.fromkeys(["", "a.slice", "a.slice/b.service"], make_quota_v2("max 100000"))
    groups |= {limited: make_quota_v2("200000 100000"), "other": make_quota_v2("100000 100000")}
    assert count_cores(["0::/a.slice/b.service"], V2, groups) == 2


@pytest.mark.parametrize("limited", ["cpu,cpuacct", "cpu,cpuacct/a", "cpu,cpuacct/a/b"])
def test_count_usable_cores_cgroup_v1_group_below_mount_smallest_quota_limits_the_count(
    limited, count_cores
):
    groups = dict.fromkeys(["cpu,cpuacct", "cpu,cpuacct/a", "cpu,cpuacct/a/b"], UNLIMITED_V1)
    groups |= {limited: make_quota_v1(300_000), "memory/a/b": make_quota_v1(100_000)}
    assert count_cores(["4:cpu,cpuacct:/a/b", "3:memory:/a/b"], V1, groups) == 3


def test_count_usable_cores_cgroup_v1_own_group_mounted_uses_its_quota(count_cores):
    mounts = {"cpu": ("cgroup", "cpu", "/docker/1234")}
    assert count_cores(["4:cpu:/docker/1234"], mounts, {"cpu": make_quota_v1(200_000)}) == 2


@pytest.mark.parametrize("own", ["/docker/1234", "/../sibling", "/gone"])
def test_count_usable_cores_group_outside_mount_uses_the_mounts_quota(own, count_cores):
    groups = {"": make_quota_v2("200000 100000"), "sibling": make_quota_v2("100000 100000")}
    assert count_cores([f"0::{own}"], V2, groups) == 2


def test_count_usable_cores_both_cgroup_versions_mounted_uses_the_cpu_controller(count_cores):
    mounts = {"unified": ("cgroup2", "nsdelegate", "/"), "cpu": ("cgroup", "cpu", "/")}
    groups = {"cpu/a": make_quota_v1(300_000), "unified/b": {"cgroup.procs": ""}}
    assert count_cores(["4:cpu:/a", "1:name=systemd:/b", "0::/b"], mounts, groups) == 3


def test_count_usable_cores_no_control_groups_returns_affinity(count_cores, tmp_path):
    assert count_cores(["0::/"], {}, {}) == 4
    assert count_usable_cores(tmp_path / "absent") == 4


@pytest.mark.usefixtures("processes")
def test_count_usable_cores_real_process_respects_affinity():
    assert 1 <= count_usable_cores() <= os.cpu_count()
    pinned = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from serving.settings.options import count_usable_cores; print(count_usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", pinned], capture_output=True, check=True)
    assert done.stdout == b"1\n"
