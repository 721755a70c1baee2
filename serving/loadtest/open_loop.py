"""The open loop: requests are sent when they are due, whether or not others have been answered.

This is how independent users arrive. Latency counts from the time a request was due, so that a
server that stalls shows it in the latency of everyone who arrived during the stall. A client that
waits for each answer sends less while the server stalls, and so hides the stall; Gil Tene calls
this coordinated omission.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from serving.loadtest.run import LoadOptions, LoadRun
from serving.loadtest.run_record import CONNECTION_FAILED, TIMED_OUT
from serving.loadtest.timer import create_timer


def generate_poisson_arrivals(
    rate: float, seconds: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the arrival times of a Poisson process, as in MLPerf Inference's server scenario.

    The number of arrivals is Poisson distributed; given that number, the times are uniform (Ross,
    Introduction to Probability Models, theorem 5.2).

    Args:
        rate: Mean number of arrivals per second.
        seconds: Duration, in seconds.
        rng: NumPy random generator.

    Returns:
        Seconds since the start, ascending, float64 `(n,)`.
    """
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def generate_constant_arrivals(rate: float, seconds: float) -> NDArray[np.float64]:
    """Return arrival times at equal intervals, the first at 0.

    Args:
        rate: Arrivals per second.
        seconds: Duration, in seconds.

    Returns:
        Seconds since the start, ascending, float64 `(n,)`.
    """
    return np.arange(round(rate * seconds)) / rate


class OpenLoopRun(LoadRun):
    """A run that sends requests at given times.

    A request that finds all connections busy waits for one, and the wait counts as latency.

    Args:
        options: Server address, prepared requests, timeout and progress callback.
        due_at: Times at which requests are due, in seconds since the start, ascending, `(n,)`.
        request_indices: Position of each request in the list of prepared requests, int32 `(n,)`.
        load_seconds: Duration of the load, in seconds.
    """

    is_open_loop = True

    def __init__(
        self,
        options: LoadOptions,
        due_at: NDArray[np.float64],
        request_indices: NDArray[np.int32],
        load_seconds: float,
    ) -> None:
        super().__init__(options, load_seconds, due_at.tolist())
        self.request_indices = request_indices.tolist()
        self.next_index, self.count = 0, len(self.due_at)
        self.is_timer_set = False

    def start_sending(self) -> None:
        self.timer = create_timer(self.loop, self.on_timer)
        self.on_timer()

    def on_timer(self) -> None:
        """Send the next request, which is due now."""
        self.is_timer_set = False
        self.send_due()

    def send_due(self) -> None:
        now, due_at = time.perf_counter() - self.start_time, self.due_at
        while (
            self.next_index < self.count
            and due_at[self.next_index] <= now
            and self.free_connections
        ):
            connection = self.free_connections.popleft()
            could_send_at = max(due_at[self.next_index], connection.free_since)
            self.send_delay[self.next_index] = now - could_send_at
            self.send(connection, self.next_index, now)
            self.next_index += 1
            now = time.perf_counter() - self.start_time
        if self.next_index < self.count:
            # Without a free connection no timer is needed: the next one to become free sends.
            if not self.is_timer_set and self.free_connections:
                self.is_timer_set = True
                self.timer.schedule(self.start_time + due_at[self.next_index])
        elif self.ended_count == self.count and not self.finished.done():
            self.finished.set_result(None)

    def has_more_to_send(self) -> bool:
        return self.next_index < self.count

    def give_up_overdue(self, now: float) -> None:
        while self.next_index < self.count and now - self.due_at[self.next_index] > self.timeout:
            self.record_end(self.next_index, now, TIMED_OUT)
            self.next_index += 1
        self.send_due()

    def on_connection_refused(self, reason: str) -> None:
        now = self.now()
        if self.next_index < self.count and self.due_at[self.next_index] <= now:
            self.record_fault(reason)
            self.record_end(self.next_index, now, CONNECTION_FAILED)
            self.next_index += 1
            self.send_due()

    def close(self) -> None:
        self.timer.close()
