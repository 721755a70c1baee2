"""How long a worker lets a connection wait for another worker whose turn it is.

A worker that does not accept is passed over: at once if it is stopped, after some milliseconds if
it is in a long run. One that merely waits for a processor gets more time, or a busy machine would
undo the balance. The difference is the system's to tell: processor time, and the process's state.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from serving.telemetry.shared_counters import WorkerLoads

CHECK_AFTER_SECONDS = 0.01  # seconds until the system is asked about a worker
LONG_TURN_CPU_SECONDS = (
    0.02  # seconds of processor time of one turn of the event loop, all in one piece
)
# Seconds for a worker that runs or waits for a processor (R), one that waits for something else (S,
# D), and one of which the system does not tell. Stopped and dead ones (T, t, X, Z) get none.
MAX_WAIT_SECONDS = {"R": 0.25, "S": 0.05, "D": 0.05, "": 0.05}


def read_cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 where the system does not tell."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of Linux: clock_getcpuclockid(3)
    except (OSError, OverflowError):
        return 0.0


def read_process_state(pid: int) -> str:
    """Return the state of a process as proc(5) names it; empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2][1:2]
    except OSError:
        return ""


class PeerWaits:
    """The workers that one worker waits for.

    Args:
        loads: Numbers of all workers.
    """

    def __init__(self, loads: WorkerLoads) -> None:
        self._loads = loads
        self._last_accepted = -1.0
        self._waits_by_slot: dict[
            int, tuple[float, float]
        ] = {}  # time, and processor time, by slot

    def clear(self) -> None:
        """Forget the workers: it is no longer their turn."""
        self._waits_by_slot.clear()

    def should_keep_waiting(self, rivals: Iterable[int], accepted: float, now: float) -> bool:
        """Return whether to wait longer for one of the workers to accept a connection.

        Args:
            rivals: Slots of the workers whose turn it is.
            accepted: Connections that all workers have accepted; a change means progress.
            now: Time, in seconds of `perf_counter`.
        """
        if accepted != self._last_accepted:
            self._last_accepted = accepted
            self._waits_by_slot.clear()
        may_come = [self._may_still_accept(slot, now) for slot in rivals]  # each of them is timed
        return any(may_come)

    def _may_still_accept(self, slot: int, now: float) -> bool:
        loads, pid = self._loads, int(self._loads.pids[slot])
        if loads.unresponsive[slot] == loads.seen[slot]:
            return False
        if slot not in self._waits_by_slot:
            self._waits_by_slot[slot] = now, read_cpu_seconds(pid)
            return True
        since, used = self._waits_by_slot[slot]
        if now - since < CHECK_AFTER_SECONDS:
            return True
        if read_cpu_seconds(
            pid
        ) - used < LONG_TURN_CPU_SECONDS and now - since < MAX_WAIT_SECONDS.get(
            read_process_state(pid), 0.0
        ):
            return True
        loads.unresponsive[slot] = loads.seen[slot]
        return False
