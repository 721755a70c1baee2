"""The open loop: requests leave when their time has come, whatever has been answered."""

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
    """Arrivals of a Poisson process, as MLPerf Inference's server scenario has them.

    Given their number, which is Poisson distributed, the times of such a process are uniform
    (Ross, Introduction to Probability Models, theorem 5.2).

    Args:
        rate: mean arrivals a second.
        seconds: to go on for.
        rng: what draws them.

    Returns:
        Seconds from the start, ascending, float64 `(n,)`.
    """
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def generate_constant_arrivals(rate: float, seconds: float) -> NDArray[np.float64]:
    """Arrivals at equal distances, the first at once; seconds, float64 `(n,)`."""
    return np.arange(round(rate * seconds)) / rate


class OpenLoopRun(LoadRun):
    """Sends requests at times that are given.

    One that finds all connections busy waits for one, with the clock running.

    Args:
        load: on whom, and what.
        due: seconds from the start, ascending, `(n,)`.
        order: which call each is, `(n,)`.
        seconds: in which they are due.
    """

    open_loop = True

    def __init__(
        self, load: LoadOptions, due: NDArray[np.float64], order: NDArray[np.int32], seconds: float
    ) -> None:
        super().__init__(load, seconds, due.tolist())
        self.which = order.tolist()
        self.next, self.all = 0, len(self.due)
        self.armed = False

    def begin(self) -> None:
        self.alarm = create_timer(self.loop, self.ring)
        self.ring()

    def ring(self) -> None:
        """The alarm's: the next request is due."""
        self.armed = False
        self.proceed()

    def proceed(self) -> None:
        now, due = time.perf_counter() - self.start, self.due
        while self.next < self.all and due[self.next] <= now and self.free:
            connection = self.free.popleft()
            self.late[self.next] = now - max(due[self.next], connection.since)
            connection.send(self.next, now)
            self.next += 1
            now = time.perf_counter() - self.start
        if self.next < self.all:
            # Without a free connection there is nothing to wake up for: one that comes proceeds.
            if not self.armed and self.free:
                self.armed = True
                self.alarm.set(self.start + due[self.next])
        elif self.answered == self.all and not self.over.done():
            self.over.set_result(None)

    def going_on(self) -> bool:
        return self.next < self.all

    def overdue(self, now: float) -> None:
        while self.next < self.all and now - self.due[self.next] > self.timeout:
            self.end(self.next, now, TIMED_OUT)
            self.next += 1
        self.proceed()

    def refused(self, why: str) -> None:
        now = self.now()
        if self.next < self.all and self.due[self.next] <= now:
            self.note(why)
            self.end(self.next, now, CONNECTION_FAILED)
            self.next += 1
            self.proceed()

    def close(self) -> None:
        self.alarm.close()
