"""What became of every request of a run, as it was measured and not yet summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Statuses below those of HTTP, for requests that got no answer.
UNANSWERED = 0
TIMED_OUT = 1
CONNECTION_FAILED = 2
# Status of an answer that came with 200 and is wrong.
WRONG_ANSWER = 3
STATUS_NAMES = {
    UNANSWERED: "unanswered",
    TIMED_OUT: "timeout",
    CONNECTION_FAILED: "connection",
    WRONG_ANSWER: "wrong",
}


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """One request.

    Attributes:
        wire: head and body, as they go over the wire; HTTP/1.1, kept alive.
        rows: instances it asks about.
        expected: the body of a right answer, byte for byte, if one is known: it is compared first,
            for that costs next to nothing.
        fault: what is wrong with the body of an answer with status 200, None if nothing; asked
            where the bytes differ from the expected ones.
    """

    wire: bytes
    rows: int
    expected: bytes | None
    fault: Callable[[bytes], str | None]


@dataclass
class RunRecord:
    """A run.

    Attributes:
        due: seconds from the start at which each request was to leave, float64 `(n,)`; in a closed
            loop the moment its user was free for it.
        sent: at which it left, float64 `(n,)`; NaN if it never did.
        ended: at which its answer was complete, or it was given up, float64 `(n,)`.
        status: of HTTP, or one of those above, int16 `(n,)`.
        call: which of the calls it was, int32 `(n,)`.
        late: seconds from the due time, or from the time a connection was free for it if that came
            later, to the time it left, float64 `(n,)`: what the generator itself added.
        seconds: that requests were sent for.
        wall: seconds in which the generator used what follows: until all was sent, about.
        processor: seconds of processor time the generator used for the run.
        busy: seconds that it was busy with answers, or kept from it by other processes.
        open_loop: whether requests left when due, answered or not.
        connections: most that were open at once.
        faults: up to a few sentences on what was wrong, by how often each was seen.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    ended: NDArray[np.float64]
    status: NDArray[np.int16]
    call: NDArray[np.int32]
    late: NDArray[np.float64]
    seconds: float
    wall: float
    processor: float
    busy: float
    open_loop: bool
    connections: int
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from the due time to the end, float64 `(n,)`: what someone would have felt."""
        return self.ended - self.due

    @property
    def service(self) -> NDArray[np.float64]:
        """Seconds from leaving to the end, float64 `(n,)`: what a closed loop sees."""
        return self.ended - self.sent
