import resource
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.data import memory_budget

PROGRAM = (
    "from trainer.data.memory_budget import compute_memory_budget; print(compute_memory_budget())"
)


@pytest.mark.usefixtures("processes")
def test_memory_budget_resource_limit_lowers_it():
    limit = 2**32

    def set_limit():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        preexec_fn=set_limit,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) <= limit // memory_budget.BUDGET_DIVISOR


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "419430400", 419430400),
        ("memory.max", "max", None),
        ("memory/memory.limit_in_bytes", "419430400", 419430400),
        ("box/memory.max", "1048576", 1048576),
        ("memory/box/memory.limit_in_bytes", "1048576", 1048576),
    ],
)
def test_memory_budget_limits_of_both_cgroup_versions_lower_it(
    file, text, limit, tmp_path, monkeypatch
):
    place = tmp_path / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text + "\n")
    monkeypatch.setattr(memory_budget, "CGROUPS", tmp_path)
    monkeypatch.setattr(Path, "read_text", _read_text_with_group(Path.read_text))
    budget = memory_budget.compute_memory_budget()
    assert budget == limit // memory_budget.BUDGET_DIVISOR if limit else budget > 2**25


def _read_text_with_group(read):
    def read_text(path, *arguments):
        if str(path) == "/proc/self/cgroup":
            return "4:memory:/box\n0::/box\n"
        return read(path, *arguments)

    return read_text
