"""Memory that a swap or an unload frees is returned to the system, in all workers."""

import pytest

from benchmarks.robustness.server import run_server
from tests.bundle_versions import add_version
from tests.processes import wait_until
from tests.variants import enlarge, write_variants

pytestmark = pytest.mark.usefixtures("processes")

GROWTH = 1.2  # largest memory afterwards, relative to the memory before
MODEL_MB = 17_000 / 1024
SWAPS = 4


@pytest.fixture
def large_digits(only_digits, monkeypatch):
    """Return a folder with two versions of a model of 17 MB."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # `serving run` sets it, too.
    write_variants(only_digits / "digits" / "1", fp32=enlarge)
    add_version(only_digits, 2)
    return only_digits


def swap_repeatedly(server):
    for action in ("rollback", "load") * (SWAPS // 2):
        server.change_model("digits", action)


def test_memory_after_swaps_and_unload_is_released(large_digits):
    with run_server(large_digits, has_admin_key=True) as server:
        before = server.measure_workers_mb()
        swap_repeatedly(server)
        wait_until(
            lambda: server.measure_workers_mb() <= GROWTH * before,
            lambda: (before, server.measure_workers_mb()),
        )
        server.change_model("digits", "unload")
        freed = 2 * MODEL_MB  # in two workers
        wait_until(
            lambda: server.measure_workers_mb() < before - freed,
            lambda: (before, server.measure_workers_mb()),
        )


def test_memory_after_swaps_without_trim_grows(large_digits):
    with run_server(large_digits, config="tests.without_trim", has_admin_key=True) as server:
        before = server.measure_workers_mb()
        swap_repeatedly(server)
        assert server.measure_workers_mb() > GROWTH * before
