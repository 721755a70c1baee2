"""Counters that several processes share."""

import os
import signal
import subprocess
import sys

import pytest

from serving.telemetry import shared_counters
from serving.telemetry.shared_counters import (
    IN_FLIGHT_REQUESTS,
    MetricDefinition,
    SharedCounters,
    WorkerSlot,
)

COUNTER = MetricDefinition("apples", "Some.", ("kind",))
HISTOGRAM = MetricDefinition("weights", "Some.", ("kind",), (1.0, 2.0))


def sum_series(counters, definition):
    """Return the summed values of a metric's series, by label values."""
    sums = {}
    for slot in counters.iter_slots():
        for name, labels, numbers in slot.iter_series():
            if name == definition.name:
                sums[labels] = [a + b for a, b in zip(sums.get(labels, [0] * 9), numbers)]  # noqa: B905
    return sums


def add(slot, kind, number=1.0):
    index = slot.get_series_index(COUNTER, (kind,))
    slot.values[index] += number


def fork_worker(counters, work):
    """Fork a worker as gunicorn does; return its process id and the number of its slot."""
    number = counters.claim_slot()
    if pid := os.fork():
        return pid, number
    try:
        work(counters.own_slot)
    finally:
        os._exit(0)


def wait_for_end(counters, pid, number):
    status = os.waitpid(pid, 0)[1]
    counters.release_slot(number)
    return status


def test_worker_slot_series_have_separate_values():
    slot = SharedCounters().own_slot
    indices = {
        (definition, kind): slot.get_series_index(definition, (kind,))
        for definition in (COUNTER, HISTOGRAM)
        for kind in ("a", "b")
    }
    numbers = [
        index + i
        for (definition, _), index in indices.items()
        for i in range(definition.value_count)
    ]
    assert len(set(numbers)) == len(numbers) == 2 * 1 + 2 * 4
    assert indices == {(f, kind): slot.get_series_index(f, (kind,)) for f, kind in indices}


@pytest.mark.usefixtures("processes")
def test_shared_counters_sum_over_processes():
    counters = SharedCounters(4)
    add(counters.own_slot, "a", 0.5)
    workers = [
        fork_worker(counters, lambda slot, kind=kind: [add(slot, kind) for _ in range(1000)])
        for kind in ("a", "b", "a")
    ]
    assert [wait_for_end(counters, *worker) for worker in workers] == [0, 0, 0]
    assert {k: v[0] for k, v in sum_series(counters, COUNTER).items()} == {
        ("a",): 2000.5,
        ("b",): 1000,
        ("other",): 0,
    }


@pytest.mark.usefixtures("processes")
def test_shared_counters_killed_worker_keeps_its_counts_for_the_next():
    counters = SharedCounters(2)
    reader, writer = os.pipe()

    def count_and_wait(slot):
        slot.values[IN_FLIGHT_REQUESTS] = 3
        add(slot, "a", 7)
        os.write(writer, b"!")
        signal.pause()

    pid, number = fork_worker(counters, count_and_wait)
    assert os.read(reader, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(wait_for_end(counters, pid, number))
    assert sum(slot.values[IN_FLIGHT_REQUESTS] for slot in counters.iter_slots()) == 0
    pid, successor = fork_worker(counters, lambda slot: (add(slot, "b"), add(slot, "a")))
    assert successor == number
    wait_for_end(counters, pid, successor)
    assert {k: v[0] for k, v in sum_series(counters, COUNTER).items() if v[0]} == {
        ("a",): 8,
        ("b",): 1,
    }


def test_worker_slot_incomplete_name_is_ignored():
    counters = SharedCounters()
    slot = counters.own_slot
    add(slot, "a")
    used = int(slot.values[shared_counters.NAME_BYTES_USED])
    slot._names[used : used + 9] = b'["apples"'  # the worker is killed before it stores the length
    replacement = WorkerSlot(counters._slot_memory[0])
    add(replacement, "b", 2)
    add(replacement, "a", 3)
    assert {k: v[0] for k, v in sum_series(counters, COUNTER).items() if v[0]} == {
        ("a",): 4,
        ("b",): 2,
    }


@pytest.mark.parametrize(("limit", "size"), [("VALUES_PER_SLOT", 64), ("MAX_NAME_BYTES", 512)])
def test_worker_slot_full_counts_further_series_as_other(limit, size, monkeypatch):
    monkeypatch.setattr(shared_counters, limit, size)
    slot_bytes = (
        shared_counters.VALUES_PER_SLOT * shared_counters.VALUE_BYTES
        + shared_counters.MAX_NAME_BYTES
    )
    monkeypatch.setattr(shared_counters, "SLOT_BYTES", slot_bytes)
    counters = SharedCounters()
    for number in range(1000):
        add(counters.own_slot, f"kind {number}")
        index = counters.own_slot.get_series_index(HISTOGRAM, (f"kind {number}",))
        counters.own_slot.values[index] += 1
    for definition in (COUNTER, HISTOGRAM):
        counted = {
            labels: numbers[0] for labels, numbers in sum_series(counters, definition).items()
        }
        assert sum(counted.values()) == 1000
        assert counted[("other",)] > 900


def test_shared_counters_more_workers_than_slots_share_the_last():
    counters = SharedCounters(3)  # the arbiter has claimed the first
    assert [counters.claim_slot() for _ in range(4)] == [1, 2, 2, 2]


@pytest.mark.usefixtures("processes")
def test_shared_counters_unused_slots_take_no_memory():
    code = (
        "from serving.telemetry.shared_counters import SLOT_BYTES, SharedCounters; "
        "rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096; before = rss(); "
        "t = SharedCounters(500); list(t.iter_slots()); print(SLOT_BYTES * 500, rss() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    mapped, resident = map(int, done.stdout.split())
    assert mapped > 100 * 2**20
    assert resident < 5 * 2**20
