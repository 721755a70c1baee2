"""The closed loop: users who ask again as soon as they are answered."""

from __future__ import annotations

import time
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from serving.loadtest.run import LoadOptions, LoadRun
from serving.loadtest.run_record import CONNECTION_FAILED, UNANSWERED


class ClosedLoopRun(LoadRun):
    """Sends a request over each connection that is free, until time is over.

    Args:
        load: on whom, and what.
        seconds: to go on for.
        order: which calls they are, again and again, `(k,)`.
    """

    open_loop = False

    def __init__(self, load: LoadOptions, seconds: float, order: NDArray[np.int32]) -> None:
        super().__init__(load, seconds, [])
        self.order = cycle(order.tolist())

    def begin(self) -> None:
        self.proceed()

    def proceed(self) -> None:
        now = time.perf_counter() - self.start
        while self.free and now < self.seconds:
            connection = self.free.popleft()
            self._begin(connection.since, now)
            connection.send(len(self.due) - 1, now)
            now = time.perf_counter() - self.start
        if now >= self.seconds and self.answered == len(self.due) and not self.over.done():
            self.over.set_result(None)

    def _begin(self, due: float, now: float) -> None:
        """A row for a request."""
        self.due.append(due)
        self.sent.append(np.nan)
        self.ended.append(np.nan)
        self.status.append(UNANSWERED)
        self.which.append(next(self.order))
        self.late.append(now - due)

    def going_on(self) -> bool:
        return self.now() < self.seconds

    def refused(self, why: str) -> None:
        now = self.now()
        self.note(why)
        self._begin(now, now)
        self.end(len(self.due) - 1, now, CONNECTION_FAILED)

    def overdue(self, now: float) -> None:  # noqa: ARG002
        self.proceed()
