"""Counters in memory that all worker processes share.

gunicorn's arbiter maps the memory before it forks, so nothing is written to a file, and the counts
of a worker remain when it is killed. Every worker writes to a separate slot, so counting needs no
lock and is a plain store. The worker that replaces a dead one takes over its slot and continues its
counts.

A slot holds series: the values of one metric for one combination of labels. It stores the name of
each series when it is first counted, and readers sum the series of the same name over all slots.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from math import inf
from mmap import mmap
from typing import NamedTuple

VALUE_BYTES = 8  # size of a float64
LOAD_ARRAYS = 6  # number of arrays in `WorkerLoads`
NO_WORKER = -1.0  # number of open connections in a slot whose worker does not serve

VALUES_PER_SLOT = 16_384  # float64 values; pages that are never written take no memory
MAX_NAME_BYTES = 2**18  # size of the names of a slot's series
SLOT_BYTES = VALUES_PER_SLOT * VALUE_BYTES + MAX_NAME_BYTES
OVERFLOW_LABEL = "other"  # value of all labels of the series that a full slot counts new ones in

# Indices of the first values of a slot: how many bytes of names are valid, whether the slot was
# ever claimed, and gauges, which are reset when the worker ends.
NAME_BYTES_USED, WAS_CLAIMED, IN_FLIGHT_REQUESTS, QUEUED_ROWS, OLDEST_QUEUED_TIME = range(5)
GAUGES = (IN_FLIGHT_REQUESTS, QUEUED_ROWS, OLDEST_QUEUED_TIME)
FIRST_SERIES_INDEX = 8  # index of the first value of the first series


class MetricDefinition(NamedTuple):
    """A metric: a family of series that differ in the values of their labels.

    Attributes:
        name: Name as Prometheus shows it, without `_total`.
        help: Help text as Prometheus shows it, one sentence.
        label_names: Names of the labels.
        bucket_bounds: Upper bounds of a histogram's buckets, ascending, without the infinite one;
            empty for a counter.
    """

    name: str
    help: str
    label_names: tuple[str, ...]
    bucket_bounds: tuple[float, ...] = ()

    @property
    def value_count(self) -> int:
        """Number of values of a series: 1, or a histogram's buckets and the sum of its values."""
        return len(self.bucket_bounds) + 2 if self.bucket_bounds else 1


class WorkerSlot:
    """The values that one process counts.

    Args:
        memory: Shared memory of the slot, `SLOT_BYTES` bytes.

    Attributes:
        values: Values of all series, float64 (VALUES_PER_SLOT,). Only one process writes them.
    """

    def __init__(self, memory: memoryview) -> None:
        self.values: memoryview[float] = memory[: VALUES_PER_SLOT * VALUE_BYTES].cast("d")
        self._names = memory[VALUES_PER_SLOT * VALUE_BYTES :]
        self._series_indices: dict[tuple[str, tuple[str, ...]], int] = {}
        self._next_index = FIRST_SERIES_INDEX
        for name, labels, index, value_count in self._iter_series_positions():
            self._series_indices[name, labels] = index
            self._next_index = index + value_count

    def get_series_index(self, definition: MetricDefinition, labels: tuple[str, ...]) -> int:
        """Return the index of the first value of a series, and add the series if it is new.

        A full slot adds no series: it counts a new one in the series with the labels "other".

        Args:
            definition: Metric of the series.
            labels: Values of its labels, in the order of `label_names`.
        """
        overflow_labels = (OVERFLOW_LABEL,) * len(labels)
        if (definition.name, overflow_labels) not in self._series_indices:
            self._add_series(definition, overflow_labels)  # while there is room for it
        index = self._series_indices.get((definition.name, labels))
        if index is None:
            index = self._add_series(definition, labels)
        return self._series_indices[definition.name, overflow_labels] if index is None else index

    def iter_series(self) -> Iterator[tuple[str, tuple[str, ...], list[float]]]:
        """Yield the metric's name, the label values and the values of every series."""
        for name, labels, index, value_count in self._iter_series_positions():
            yield name, labels, list(self.values[index : index + value_count])

    def reset_gauges(self) -> None:
        """Set the gauges to 0, since no process uses this slot."""
        for index in GAUGES:
            self.values[index] = 0.0

    def _add_series(self, definition: MetricDefinition, labels: tuple[str, ...]) -> int | None:
        line = json.dumps([definition.name, definition.value_count, *labels]).encode() + b"\n"
        used = int(self.values[NAME_BYTES_USED])
        index = self._next_index
        if used + len(line) > MAX_NAME_BYTES or index + definition.value_count > VALUES_PER_SLOT:
            return None
        self._names[used : used + len(line)] = line
        # Stored last: if the worker is killed before this, readers ignore the incomplete name.
        self.values[NAME_BYTES_USED] = float(used + len(line))
        self._series_indices[definition.name, labels] = index
        self._next_index = index + definition.value_count
        return index

    def _iter_series_positions(self) -> Iterator[tuple[str, tuple[str, ...], int, int]]:
        """Yield metric name, label values, index and number of values of every series."""
        index = FIRST_SERIES_INDEX
        for line in bytes(self._names[: int(self.values[NAME_BYTES_USED])]).splitlines():
            name, value_count, *labels = json.loads(line)
            yield name, tuple(labels), index, value_count
            index += value_count


class WorkerLoads:
    """Connection counts and heartbeats that workers read of each other before they accept.

    The numbers of all workers are adjacent, so that comparing them is one pass over a few floats.
    Only the worker of a slot writes its entries, except those of `unresponsive`.

    Args:
        slots: Number of workers that can exist at the same time.

    Attributes:
        candidates: Open connections of each worker that accepts new ones, float64 (slots,);
            infinite for a worker that loads its models, is full or stops, and for an empty slot.
        open: Open connections of each worker, float64 (slots,); `NO_WORKER` for an empty slot.
        accepted: Connections accepted since the server started, float64 (slots,). A worker that
            takes over a slot continues its count.
        seen: Time at which each worker last showed that its event loop runs, float64 (slots,), in
            seconds of `perf_counter`, which all processes of a machine share.
        pids: Process id of each worker, float64 (slots,).
        unresponsive: Value that a worker's `seen` had when another worker gave up waiting for it to
            accept, float64 (slots,). No worker waits for it again until its `seen` changes.
    """

    def __init__(self, slots: int) -> None:
        memory = memoryview(mmap(-1, LOAD_ARRAYS * slots * VALUE_BYTES)).cast("d")
        arrays = [memory[i * slots : (i + 1) * slots] for i in range(LOAD_ARRAYS)]
        self.candidates, self.open, self.accepted = arrays[:3]
        self.seen, self.pids, self.unresponsive = arrays[3:]
        for slot in range(slots):
            self.clear(slot)

    def clear(self, slot: int) -> None:
        """Mark a slot as empty: its worker has ended, or does not serve yet."""
        self.candidates[slot] = inf
        self.open[slot] = NO_WORKER
        self.seen[slot] = 0.0
        self.unresponsive[slot] = -1.0


class SharedCounters:
    """The slots of all workers.

    Args:
        slots: Number of workers that can exist at the same time. Workers beyond it share the last
            slot, and may lose counts.

    Attributes:
        own_slot: Slot of this process.
        own_slot_number: Number of that slot, from 0.
        worker_loads: Connections of each worker, by slot number.
    """

    def __init__(self, slots: int = 1) -> None:
        memory = memoryview(mmap(-1, slots * SLOT_BYTES))
        self._slot_memory = [memory[i * SLOT_BYTES : (i + 1) * SLOT_BYTES] for i in range(slots)]
        self._claimed_slots: set[int] = set()
        self.worker_loads = WorkerLoads(slots)
        self.claim_slot()

    def claim_slot(self) -> int:
        """Make a free slot `own_slot`, and return its number.

        gunicorn's arbiter calls it just before it forks a worker, which inherits the slot.
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
        """Free the slot of a worker that has ended. Its counts remain.

        Args:
            number: Number of the slot.
        """
        self._claimed_slots.discard(number)
        WorkerSlot(self._slot_memory[number]).reset_gauges()
        self.worker_loads.clear(number)

    def sum_over_slots(self) -> dict[str, dict[tuple[str, ...], list[float]]]:
        """Return the values of each series, summed over all processes.

        Returns:
            Values by name of the metric and by label values.
        """
        totals: defaultdict[str, dict[tuple[str, ...], list[float]]] = defaultdict(dict)
        for slot in self.iter_slots():
            for name, labels, values in slot.iter_series():
                total = totals[name].get(labels, [0.0] * len(values))
                totals[name][labels] = [a + b for a, b in zip(total, values, strict=True)]
        return totals

    def iter_slots(self) -> Iterator[WorkerSlot]:
        """Yield all slots that were ever claimed. They come first in the memory."""
        return takewhile(lambda slot: slot.values[WAS_CLAIMED], map(WorkerSlot, self._slot_memory))
