"""The requests that a run sends, and the record of what happened to each of them.

A record holds raw measurements. `serving.loadtest.statistics` summarizes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# The status of a request is its HTTP status, or one of these numbers, which HTTP does not use.
UNANSWERED = 0  # the run ended before an answer came
TIMED_OUT = 1  # no answer within the timeout
CONNECTION_FAILED = 2  # the connection was refused, closed, or did not speak HTTP
WRONG_ANSWER = 3  # an answer with status 200 whose content is wrong
STATUS_NAMES = {
    UNANSWERED: "unanswered",
    TIMED_OUT: "timeout",
    CONNECTION_FAILED: "connection",
    WRONG_ANSWER: "wrong",
}


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """An encoded request and the check of its answers.

    Attributes:
        http_bytes: Head and body as they are sent: HTTP/1.1 over a persistent connection.
        rows: Number of instances in the request.
        expected_body: Body of a correct answer, or None if none is known. It is compared first,
            because comparing bytes costs next to nothing.
        find_fault: Function that takes the body of an answer with status 200 and returns a
            sentence on its fault, or None. It is called only for bodies that differ from
            `expected_body`.
    """

    http_bytes: bytes
    rows: int
    expected_body: bytes | None
    find_fault: Callable[[bytes], str | None]


@dataclass
class RunRecord:
    """The raw measurements of one run of `n` requests. Times are seconds since its start.

    Attributes:
        due_at: Time each request was due, float64 `(n,)`. In a closed loop, the time its user
            became free to send it.
        sent_at: Time each request was sent, float64 `(n,)`; NaN if it never was.
        ended_at: Time its answer was complete or it was given up, float64 `(n,)`.
        status: Status of HTTP, or one of the constants of this module, int16 `(n,)`.
        request_index: Position of each request in the list of prepared requests, int32 `(n,)`.
        send_delay: Delay caused by the generator itself, in seconds, float64 `(n,)`: from the time
            a request was due and a connection was free to the time it was sent.
        load_seconds: Duration of the load, in seconds.
        wall_seconds: Duration that `cpu_seconds` and `busy_seconds` cover: roughly the load,
            without the wait for the last answers.
        cpu_seconds: Processor time that the generator used.
        busy_seconds: Time the generator spent on reading answers, including the time for which
            other processes kept it from the processor.
        is_open_loop: Whether requests were sent when due, whatever had been answered.
        max_connections: Largest number of connections open at the same time.
        fault_counts: Number of occurrences of each fault, by a sentence that describes it.
    """

    due_at: NDArray[np.float64]
    sent_at: NDArray[np.float64]
    ended_at: NDArray[np.float64]
    status: NDArray[np.int16]
    request_index: NDArray[np.int32]
    send_delay: NDArray[np.float64]
    load_seconds: float
    wall_seconds: float
    cpu_seconds: float
    busy_seconds: float
    is_open_loop: bool
    max_connections: int
    fault_counts: Counter[str] = field(default_factory=Counter)

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from the due time to the end, float64 `(n,)`: the wait of an independent user."""
        return self.ended_at - self.due_at

    @property
    def service_time(self) -> NDArray[np.float64]:
        """Seconds from sending to the end, float64 `(n,)`: the wait that a closed loop sees."""
        return self.ended_at - self.sent_at
