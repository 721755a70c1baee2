"""Memory that a swap or an unload frees is returned to the system, in all workers."""

import pytest

from benchmarks.robustness import swaps
from tests.bundle_versions import add_version
from tests.processes import wait_until
from tests.variants import enlarge, write_variants

pytestmark = pytest.mark.usefixtures("processes")

GROWTH = 1.2  # largest memory afterwards, relative to the memory before
SWAPS = 4


@pytest.fixture
def large_digits(only_digits, monkeypatch):
    """Return a folder with two versions of a model of 17 MB."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # `serving run` sets it, too.
    write_variants(only_digits / "digits" / "1", fp32=enlarge)
    add_version(only_digits, 2)
    return only_digits


def swap_to_and_fro(port):
    for what in ("rollback", "load") * (SWAPS // 2):
        swaps.post(port, what)


def test_memory_after_swaps_and_unload_is_released(large_digits):
    with swaps.server(large_digits) as (master, port):
        before = swaps.memory(master)
        swap_to_and_fro(port)
        wait_until(
            lambda: swaps.memory(master) <= GROWTH * before, lambda: (before, swaps.memory(master))
        )
        swaps.post(port, "unload")
        freed = 2 * 17_000  # KiB in two workers
        wait_until(
            lambda: swaps.memory(master) < before - freed, lambda: (before, swaps.memory(master))
        )


def test_memory_after_swaps_without_trim_grows(large_digits):
    with swaps.server(large_digits, "tests.without_trim") as (master, port):
        before = swaps.memory(master)
        swap_to_and_fro(port)
        assert swaps.memory(master) > GROWTH * before
