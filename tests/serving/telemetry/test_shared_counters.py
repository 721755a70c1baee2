"""Numbers that several processes count up."""

import os
import signal
import subprocess
import sys

import pytest

from serving.telemetry import shared_counters as table
from serving.telemetry.shared_counters import (
    IN_FLIGHT_REQUESTS,
    MetricDefinition,
    SharedCounters,
    WorkerSlot,
)

COUNTER = MetricDefinition("apples", "Some.", ("kind",))
HISTOGRAM = MetricDefinition("weights", "Some.", ("kind",), (1.0, 2.0))


def total(shared, family):
    """The sums of a family's series, by their labels."""
    sums = {}
    for slot in shared.slots():
        for name, labels, numbers in slot.iter_series():
            if name == family.name:
                sums[labels] = [a + b for a, b in zip(sums.get(labels, [0] * 9), numbers)]  # noqa: B905
    return sums


def add(slot, kind, number=1.0):
    at = slot.get_series_index(COUNTER, (kind,))
    slot.values[at] += number


def in_a_process(shared, work):
    """Fork a worker as gunicorn does; its process and its slot."""
    number = shared.take()
    if pid := os.fork():
        return pid, number
    try:
        work(shared.own)
    finally:
        os._exit(0)


def ended(shared, pid, number):
    status = os.waitpid(pid, 0)[1]
    shared.release_slot(number)
    return status


def test_series_have_their_own_numbers():
    slot = SharedCounters().own_slot
    places = {
        (family, kind): slot.get_series_index(family, (kind,))
        for family in (COUNTER, HISTOGRAM)
        for kind in ("a", "b")
    }
    numbers = [at + i for (family, _), at in places.items() for i in range(family.value_count)]
    assert len(set(numbers)) == len(numbers) == 2 * 1 + 2 * 4
    assert places == {(f, kind): slot.get_series_index(f, (kind,)) for f, kind in places}


@pytest.mark.usefixtures("processes")
def test_what_processes_count_is_added_up():
    shared = SharedCounters(4)
    add(shared.own, "a", 0.5)
    workers = [
        in_a_process(shared, lambda slot, kind=kind: [add(slot, kind) for _ in range(1000)])
        for kind in ("a", "b", "a")
    ]
    assert [ended(shared, *worker) for worker in workers] == [0, 0, 0]
    assert {k: v[0] for k, v in total(shared, COUNTER).items()} == {
        ("a",): 2000.5,
        ("b",): 1000,
        ("other",): 0,
    }


@pytest.mark.usefixtures("processes")
def test_what_a_killed_process_counted_stays_and_its_successor_adds_to_it():
    shared = SharedCounters(2)
    ready, tell = os.pipe()

    def count_and_hang(slot):
        slot.values[IN_FLIGHT_REQUESTS] = 3
        add(slot, "a", 7)
        os.write(tell, b"!")
        signal.pause()

    pid, number = in_a_process(shared, count_and_hang)
    assert os.read(ready, 1) == b"!"
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(ended(shared, pid, number))
    assert sum(slot.values[IN_FLIGHT_REQUESTS] for slot in shared.slots()) == 0
    pid, successor = in_a_process(shared, lambda slot: (add(slot, "b"), add(slot, "a")))
    assert successor == number
    ended(shared, pid, successor)
    assert {k: v[0] for k, v in total(shared, COUNTER).items() if v[0]} == {("a",): 8, ("b",): 1}


def test_a_process_that_died_while_it_named_a_series_leaves_no_half_name():
    shared = SharedCounters()
    slot = shared.own_slot
    add(slot, "a")
    named = int(slot.values[table.NAME_BYTES_USED])
    slot._names[named : named + 9] = b'["apples"'  # and was killed
    again = WorkerSlot(shared._memory[0])
    add(again, "b", 2)
    add(again, "a", 3)
    assert {k: v[0] for k, v in total(shared, COUNTER).items() if v[0]} == {("a",): 4, ("b",): 2}


@pytest.mark.parametrize(("limit", "size"), [("VALUES_PER_SLOT", 64), ("MAX_NAME_BYTES", 512)])
def test_what_has_no_room_is_counted_as_other(limit, size, monkeypatch):
    monkeypatch.setattr(table, limit, size)
    monkeypatch.setattr(
        table, "SLOT_BYTES", table.VALUES_PER_SLOT * table.VALUE_BYTES + table.MAX_NAME_BYTES
    )
    shared = SharedCounters()
    for number in range(1000):
        add(shared.own_slot, f"kind {number}")
        at = shared.own.series(HISTOGRAM, (f"kind {number}",))
        shared.own.numbers[at] += 1
    for family in (COUNTER, HISTOGRAM):
        counted = {labels: numbers[0] for labels, numbers in total(shared, family).items()}
        assert sum(counted.values()) == 1000
        assert counted[("other",)] > 900


def test_more_workers_than_slots_share_the_last():
    shared = SharedCounters(3)  # the arbiter has the first
    assert [shared.claim_slot() for _ in range(4)] == [1, 2, 2, 2]


@pytest.mark.usefixtures("processes")
def test_what_no_one_has_touched_takes_no_memory():
    code = (
        "from serving.telemetry.shared_counters import SLOT_BYTES, SharedCounters; "
        "rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096; before = rss(); "
        "t = SharedCounters(500); list(t.slots()); print(SLOT_BYTES * 500, rss() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    mapped, resident = map(int, done.stdout.split())
    assert mapped > 100 * 2**20
    assert resident < 5 * 2**20
