import resource
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.data import memory_budget

PROGRAM = "from trainer.data.memory_budget import room; print(room())"


@pytest.mark.usefixtures("processes")
def test_there_is_less_room_under_a_limit():
    limit = 2**32

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) <= limit // memory_budget.SHARE


@pytest.mark.parametrize(
    ("file", "text", "room"),
    [
        ("memory.max", "419430400", 419430400),
        ("memory.max", "max", None),
        ("memory/memory.limit_in_bytes", "419430400", 419430400),
        ("box/memory.max", "1048576", 1048576),
        ("memory/box/memory.limit_in_bytes", "1048576", 1048576),
    ],
)
def test_the_limits_of_control_groups_of_either_version_count(
    file, text, room, tmp_path, monkeypatch
):
    place = tmp_path / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text + "\n")
    monkeypatch.setattr(memory_budget, "GROUPS", tmp_path)
    monkeypatch.setattr(Path, "read_text", _with_group(Path.read_text))
    found = memory_budget.compute_memory_budget()
    assert found == room // memory_budget.SHARE if room else found > 2**25


def _with_group(read):
    def read_text(path, *arguments):
        if str(path) == "/proc/self/cgroup":
            return "4:memory:/box\n0::/box\n"
        return read(path, *arguments)

    return read_text
