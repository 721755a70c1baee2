"""The closed loop: each of a fixed number of users sends a request when the last is answered."""

from __future__ import annotations

import time
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from serving.loadtest.run import LoadOptions, LoadRun
from serving.loadtest.run_record import CONNECTION_FAILED, UNANSWERED


class ClosedLoopRun(LoadRun):
    """A run that sends a request over every free connection until the load is over.

    Args:
        options: Server address, prepared requests, timeout and progress callback.
        load_seconds: Duration of the load, in seconds.
        request_indices: Positions in the list of prepared requests, in the order of sending and
            repeated as often as needed, int32 `(k,)`.
    """

    is_open_loop = False

    def __init__(
        self, options: LoadOptions, load_seconds: float, request_indices: NDArray[np.int32]
    ) -> None:
        super().__init__(options, load_seconds, [])
        self.endless_indices = cycle(request_indices.tolist())

    def start_sending(self) -> None:
        self.send_due()

    def send_due(self) -> None:
        now = time.perf_counter() - self.start_time
        while self.free_connections and now < self.load_seconds:
            connection = self.free_connections.popleft()
            self._add_request(connection.free_since, now)
            self.send(connection, len(self.due_at) - 1, now)
            now = time.perf_counter() - self.start_time
        is_over = now >= self.load_seconds and self.ended_count == len(self.due_at)
        if is_over and not self.finished.done():
            self.finished.set_result(None)

    def _add_request(self, due_at: float, now: float) -> None:
        """Append an unanswered request to the measurements."""
        self.due_at.append(due_at)
        self.sent_at.append(np.nan)
        self.ended_at.append(np.nan)
        self.status.append(UNANSWERED)
        self.request_indices.append(next(self.endless_indices))
        self.send_delay.append(now - due_at)

    def has_more_to_send(self) -> bool:
        return self.now() < self.load_seconds

    def on_connection_refused(self, reason: str) -> None:
        now = self.now()
        self.record_fault(reason)
        self._add_request(now, now)
        self.record_end(len(self.due_at) - 1, now, CONNECTION_FAILED)

    def give_up_overdue(self, now: float) -> None:  # noqa: ARG002
        self.send_due()
