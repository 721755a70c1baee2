"""The client of the robustness scenarios: it keeps asking in the background, without a pause.

It is the closed loop of `serving.loadtest` with two additions: it runs until it is stopped, and it
passes each answer to a function at once, while the scenario goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import uvloop

from benchmarks.robustness.server import HANG_SECONDS
from serving.loadtest.closed_loop import ClosedLoopRun
from serving.loadtest.connection import NO_REQUEST, ClientConnection
from serving.loadtest.http_client import JSON_MEDIA_TYPE, ServerAddress
from serving.loadtest.request_builder import encode_http_request
from serving.loadtest.run import LoadOptions
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    TIMED_OUT,
    UNANSWERED,
    PreparedRequest,
    RunRecord,
)

# Number of random positions that are drawn in advance; they are repeated after that.
DRAWN_POSITIONS = 100_000
NO_ANSWER = (UNANSWERED, TIMED_OUT, CONNECTION_FAILED)


class ReceivedAnswer(NamedTuple):
    """An answer to a request.

    Attributes:
        request_index: Position of the request in the list of prepared requests.
        status: HTTP status, or `WRONG_ANSWER`.
        body: Body of the answer.
        sent_at: Time at which the request was sent, of `time.perf_counter()`.
        received_at: Time at which the answer was complete, of `time.perf_counter()`.
    """

    request_index: int
    status: int
    body: bytes
    sent_at: float
    received_at: float


class _ObservedRun(ClosedLoopRun):
    """A closed loop that passes each answer to a function, and can be stopped."""

    on_received: Callable[[ReceivedAnswer], None]

    def on_answer(
        self, connection: ClientConnection, status: int, body: bytes, received_at: float
    ) -> None:
        index = connection.request_index
        super().on_answer(connection, status, body, received_at)
        if index != NO_REQUEST:
            sent_at = self.start_time + self.sent_at[index]
            position, checked_status = self.request_indices[index], self.status[index]
            self.on_received(ReceivedAnswer(position, checked_status, body, sent_at, received_at))


class BackgroundClient:
    """Keeps asking a server over several connections; use it in a `with` statement.

    Args:
        address: Address of the server.
        requests: The different requests, which are sent in a random order.
        connections: Number of connections, each with one request at a time.
        on_received: Function that is called with each answer, in the client's thread.
        seed: Seed of the order.

    Attributes:
        record: Status and times of all requests, after the end of the block.
    """

    record: RunRecord

    def __init__(
        self,
        address: ServerAddress,
        requests: Sequence[PreparedRequest],
        *,
        connections: int,
        on_received: Callable[[ReceivedAnswer], None],
        seed: int = 0,
    ) -> None:
        self._connections = connections
        rng = np.random.default_rng(seed)
        order = rng.integers(len(requests), size=DRAWN_POSITIONS).astype(np.int32)
        options = LoadOptions(address, requests, HANG_SECONDS, None)
        self._run = _ObservedRun(options, float("inf"), order)
        self._run.on_received = on_received
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._execute, name="background client")

    def __enter__(self) -> BackgroundClient:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Send no more requests. Those in flight are still answered. May be called at any time."""
        self._run.load_seconds = 0.0

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the client after `stop`; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _execute(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self.record = runner.run(self._run.execute(self._connections))
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the block
            self._error = error

    def count_lost(self) -> int:
        """Return the number of requests without an answer, after the end of the block."""
        return int(np.isin(self.record.status, NO_ANSWER).sum())


def prepare_post(
    address: ServerAddress,
    path: str,
    body: bytes,
    *,
    rows: int = 0,
    headers: Mapping[str, str] | None = None,
    expected_body: bytes | None = None,
) -> PreparedRequest:
    """Prepare a POST request.

    Args:
        address: Address of the server.
        path: Absolute path, with its query.
        body: Body.
        rows: Number of instances in the body.
        headers: Headers besides Host and Content-Length; None for JSON.
        expected_body: The only correct answer; None to accept every answer with status 200.
    """
    sent = headers if headers is not None else {"Content-Type": JSON_MEDIA_TYPE}

    def find_fault(answer: bytes) -> str | None:
        if expected_body is None:
            return None
        return f"expected {expected_body[:100]!r}; got {answer[:100]!r}"

    http_bytes = encode_http_request("POST", path, address, sent, body)
    return PreparedRequest(http_bytes, rows, expected_body, find_fault)
