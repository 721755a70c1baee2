"""Decide how long a worker leaves a new connection to another worker that holds fewer.

If the other worker is stopped, or its event loop is busy with a long batch, the connection must not
wait for it. But if it only waits for a processor, it gets more time, since on a busy machine the
workers would otherwise end up with unequal numbers of connections. The cases are distinguished by
the processor time that the other process has used, and by its state.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from serving.telemetry.shared_counters import WorkerLoads

CHECK_AFTER_SECONDS = 0.01  # waiting time before the operating system is asked about a worker
LONG_TURN_CPU_SECONDS = 0.02  # a worker is busy if it used this processor time during the wait
# Longest waiting time by state of the process: runs or waits for a processor (R), waits for
# something else (S, D), unknown (""). A stopped or dead process (T, t, X, Z) is not waited for.
MAX_WAIT_SECONDS = {"R": 0.25, "S": 0.05, "D": 0.05, "": 0.05}


def read_cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds; 0 if it is unknown."""
    try:
        # The clock's number on Linux: see clock_getcpuclockid(3); 2 is CPUCLOCK_SCHED.
        return time.clock_gettime(~pid << 3 | 2)
    except (OSError, OverflowError):
        return 0.0


def read_process_state(pid: int) -> str:
    """Return the state letter of a process as in proc(5), for example "R"; "" if it is unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2][1:2]
    except OSError:
        return ""


class PeerWaits:
    """Measures how long this worker has waited for each of the other workers.

    Args:
        loads: Connection counts and heartbeats of all workers, in shared memory.
    """

    def __init__(self, loads: WorkerLoads) -> None:
        self._loads = loads
        self._last_accepted = -1.0
        # Start of each wait, by slot: time, and processor time of the worker at that time.
        self._waits_by_slot: dict[int, tuple[float, float]] = {}

    def clear(self) -> None:
        """Forget all waits, because no other worker should accept next."""
        self._waits_by_slot.clear()

    def should_keep_waiting(self, slots: Iterable[int], accepted: float, now: float) -> bool:
        """Return whether one of the workers can still be expected to accept a connection.

        Args:
            slots: Slots of the workers that hold fewer connections than this one.
            accepted: Number of connections that all workers together have accepted so far. If it
                has changed since the last call, all waits start again.
            now: Current time of `perf_counter`, in seconds.
        """
        if accepted != self._last_accepted:
            self._last_accepted = accepted
            self._waits_by_slot.clear()
        # A list, since `any` stops at the first true value, but each worker's wait has to start.
        may_accept = [self._may_still_accept(slot, now) for slot in slots]
        return any(may_accept)

    def _may_still_accept(self, slot: int, now: float) -> bool:
        loads, pid = self._loads, int(self._loads.pids[slot])
        if loads.unresponsive[slot] == loads.seen[slot]:
            return False
        if slot not in self._waits_by_slot:
            self._waits_by_slot[slot] = now, read_cpu_seconds(pid)
            return True
        started_at, cpu_seconds = self._waits_by_slot[slot]
        waited = now - started_at
        if waited < CHECK_AFTER_SECONDS:
            return True
        is_busy = read_cpu_seconds(pid) - cpu_seconds >= LONG_TURN_CPU_SECONDS
        if not is_busy and waited < MAX_WAIT_SECONDS.get(read_process_state(pid), 0.0):
            return True
        loads.unresponsive[slot] = loads.seen[slot]
        return False
