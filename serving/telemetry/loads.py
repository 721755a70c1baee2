"""How many connections each worker holds, in memory that all workers share.

A worker compares its own number with those of the others before it accepts a connection. The
numbers of all workers lie side by side, so that the comparison is one pass over a few floats.
Each entry is written by the worker of that slot only, except `unresponsive`.
"""

from __future__ import annotations

from math import inf
from mmap import mmap

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
