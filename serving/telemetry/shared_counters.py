"""The table: numbers that several processes count up, each in a place of its own, and all can read.

It lies in memory that gunicorn's arbiter maps before it forks: nothing is written to a file, and
what a worker has counted stays when it is killed. Every worker has a slot which no one else writes,
so that there are no locks, and counting is a plain store. The worker that comes after a dead one
takes over its slot and goes on from there.

A slot names its own series as it meets them; whoever reads adds up the series of the same name.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from math import inf
from mmap import mmap
from typing import ClassVar, NamedTuple

VALUE_BYTES = 8  # bytes of a float64
LOAD_ARRAYS = 6
NO_WORKER = -1.0  # open connections of a slot without a worker that serves


class WorkerLoads:
    """Numbers of each worker that the other workers read.

    Args:
        slots: Number of workers that can exist at the same time.

    Attributes:
        candidates: Open connections of each worker that accepts new ones, float64 (slots,);
            infinite for a worker that loads, is full or stops, and for an empty slot.
        open: Open connections of each worker, float64 (slots,); `NO_WORKER` for an empty slot.
        accepted: Connections accepted since the server started, float64 (slots,). A worker that
            takes over a slot continues its count.
        seen: Time at which each worker last showed that its event loop turns, float64 (slots,), in
            seconds of `perf_counter`, which all processes of a machine share.
        pids: Process id of each worker, float64 (slots,).
        unresponsive: The value of `seen` at which the worker had left a connection waiting for too
            long, float64 (slots,). No one waits for that worker until `seen` differs.
    """

    def __init__(self, slots: int) -> None:
        memory = memoryview(mmap(-1, LOAD_ARRAYS * slots * VALUE_BYTES)).cast("d")
        parts = [memory[i * slots : (i + 1) * slots] for i in range(LOAD_ARRAYS)]
        self.candidates, self.open, self.accepted = parts[:3]
        self.seen, self.pids, self.unresponsive = parts[3:]
        for slot in range(slots):
            self.clear(slot)

    def clear(self, slot: int) -> None:
        """Mark a slot as empty: its worker has ended, or does not serve yet."""
        self.candidates[slot] = inf
        self.open[slot] = NO_WORKER
        self.seen[slot] = 0.0
        self.unresponsive[slot] = -1.0


VALUES_PER_SLOT = 16_384  # float64 a slot; pages that no one has touched take no memory
MAX_NAME_BYTES = 2**18  # bytes for the names of a slot's series
SLOT_BYTES = VALUES_PER_SLOT * VALUE_BYTES + MAX_NAME_BYTES
OVERFLOW_LABEL = "other"  # the value of every label for what came when the slot was full
# The first numbers of a slot: how many bytes of names count, whether the slot was ever taken, and
# what is so just now, which a worker's death makes zero.
NAME_BYTES_USED, WAS_CLAIMED, IN_FLIGHT_REQUESTS, QUEUED_ROWS, OLDEST_QUEUED_TIME = range(5)
GAUGES = (IN_FLIGHT_REQUESTS, QUEUED_ROWS, OLDEST_QUEUED_TIME)
FIRST_SERIES_INDEX = 8  # where series begin


class MetricDefinition(NamedTuple):
    """A metric: series that differ in the values of their labels.

    Attributes:
        name: as Prometheus shows it, without `_total`.
        help: what it says, in a sentence.
        label_names: their names.
        bucket_bounds: of a histogram's buckets but the last, which has none; none for a counter.
    """

    name: str
    help: str
    label_names: tuple[str, ...]
    bucket_bounds: tuple[float, ...] = ()

    @property
    def value_count(self) -> int:
        """Numbers of a series: a counter's one; a histogram's buckets, and the sum of values."""
        return len(self.bucket_bounds) + 2 if self.bucket_bounds else 1


class WorkerSlot:
    """What one process counts.

    Args:
        memory: `SLOT_BYTES` bytes.

    Attributes:
        values: float64, to be written by one process only.
    """

    def __init__(self, memory: memoryview) -> None:
        self.values: memoryview[float] = memory[: VALUES_PER_SLOT * VALUE_BYTES].cast("d")
        self._names = memory[VALUES_PER_SLOT * VALUE_BYTES :]
        self._series_indices: dict[tuple[str, tuple[str, ...]], int] = {}
        self._next_index = FIRST_SERIES_INDEX
        for name, labels, at, width in self._iter_series_positions():
            self._series_indices[name, labels] = at
            self._next_index = at + width

    def get_series_index(self, family: MetricDefinition, labels: tuple[str, ...]) -> int:
        """Where the numbers of a series begin; of the one for all others, when the slot is full.

        Args:
            family: that it belongs to.
            labels: their values, in the order of their names.
        """
        others = (OVERFLOW_LABEL,) * len(labels)
        if (family.name, others) not in self._series_indices:
            self._add_series(family, others)  # first, so that there is one when it is needed
        at = self._series_indices.get((family.name, labels))
        if at is None:
            at = self._add_series(family, labels)
        return self._series_indices[family.name, others] if at is None else at

    def iter_series(self) -> Iterator[tuple[str, tuple[str, ...], list[float]]]:
        """Family, values of the labels, and numbers of every series."""
        for name, labels, at, width in self._iter_series_positions():
            yield name, labels, list(self.values[at : at + width])

    def reset_gauges(self) -> None:
        """No process counts here any more, or not yet."""
        for number in GAUGES:
            self.values[number] = 0.0

    def _add_series(self, family: MetricDefinition, labels: tuple[str, ...]) -> int | None:
        line = json.dumps([family.name, family.value_count, *labels]).encode() + b"\n"
        named = int(self.values[NAME_BYTES_USED])
        at = self._next_index
        if named + len(line) > MAX_NAME_BYTES or at + family.value_count > VALUES_PER_SLOT:
            return None
        self._names[named : named + len(line)] = line
        self.values[NAME_BYTES_USED] = float(named + len(line))  # now it counts, and is whole
        self._series_indices[family.name, labels] = at
        self._next_index = at + family.value_count
        return at

    def _iter_series_positions(self) -> Iterator[tuple[str, tuple[str, ...], int, int]]:
        at = FIRST_SERIES_INDEX
        for line in bytes(self._names[: int(self.values[NAME_BYTES_USED])]).splitlines():
            name, width, *labels = json.loads(line)
            yield name, tuple(labels), at, width
            at += width


class SharedCounters:
    """The slots of all workers.

    Args:
        iter_slots: as many as workers are there at the same time; those beyond share the last one, and
            may lose counts.

    Attributes:
        shared: the one that gunicorn's arbiter makes for its workers; None under other servers.
        own_slot: the slot of this process.
        own_slot_number: Number of that slot.
        worker_loads: Open connections of each worker, by number of its slot.
    """

    shared: ClassVar[SharedCounters | None] = None

    def __init__(self, slots: int = 1) -> None:
        memory = memoryview(mmap(-1, slots * SLOT_BYTES))
        self._slot_memory = [memory[i * SLOT_BYTES : (i + 1) * SLOT_BYTES] for i in range(slots)]
        self._claimed_slots: set[int] = set()
        self.worker_loads = WorkerLoads(slots)
        self.claim_slot()

    @classmethod
    def get_current(cls) -> SharedCounters:
        """The one of this process: the arbiter's, or one of its own."""
        if cls.shared is None:
            cls.shared = SharedCounters()
        return cls.shared

    def claim_slot(self) -> int:
        """The number of a slot that no living process has; it is `own` from now on.

        The arbiter's to call, just before it forks a worker.
        """
        free = (i for i in range(len(self._slot_memory)) if i not in self._claimed_slots)
        number = next(free, len(self._slot_memory) - 1)
        self._claimed_slots.add(number)
        self.own_slot_number, self.own_slot = number, WorkerSlot(self._slot_memory[number])
        self.own_slot.values[WAS_CLAIMED] = 1.0
        self.own_slot.reset_gauges()
        self.worker_loads.clear(number)
        return number

    def release_slot(self, number: int) -> None:
        """The process of that slot is no more; what it counted stays."""
        self._claimed_slots.discard(number)
        WorkerSlot(self._slot_memory[number]).reset_gauges()
        self.worker_loads.clear(number)

    def sum_over_slots(self) -> dict[str, dict[tuple[str, ...], list[float]]]:
        """Return what all processes have counted: the numbers of each series, summed.

        Returns:
            By name of the family, and by the values of its labels.
        """
        totals: defaultdict[str, dict[tuple[str, ...], list[float]]] = defaultdict(dict)
        for slot in self.iter_slots():
            for name, labels, numbers in slot.iter_series():
                before = totals[name].get(labels, [0.0] * len(numbers))
                totals[name][labels] = [a + b for a, b in zip(before, numbers, strict=True)]
        return totals

    def iter_slots(self) -> Iterator[WorkerSlot]:
        """All that were ever taken, which are the first."""
        return takewhile(lambda slot: slot.values[WAS_CLAIMED], map(WorkerSlot, self._slot_memory))
