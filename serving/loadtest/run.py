"""One run: its connections and measurements, common to the open and the closed loop."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from serving.loadtest.connection import NO_REQUEST, ClientConnection
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    TIMED_OUT,
    UNANSWERED,
    WRONG_ANSWER,
    PreparedRequest,
    RunRecord,
)

OK_STATUS = 200
CHECK_INTERVAL_SECONDS = 0.1  # time between checks for requests that have timed out
RECONNECT_DELAY_SECONDS = 0.02  # wait after a refused connection
MAX_DISTINCT_FAULTS = 20  # descriptions of faults that are counted
MAX_QUOTED_BYTES = 300  # longer error responses are cut in messages

ProgressCallback = Callable[[float, int], None]


class LoadEngineError(Exception):
    """The server does not accept the connections of a load."""


@dataclass(frozen=True)
class LoadOptions:
    """The server and the requests of a run.

    Attributes:
        address: Address of the server.
        requests: The different requests that are sent.
        timeout: Seconds after the due time at which a request is given up.
        on_progress: Function called about ten times a second with the seconds since the start of
            the run and the number of requests that have ended; None for no progress.
    """

    address: ServerAddress
    requests: Sequence[PreparedRequest]
    timeout: float
    on_progress: ProgressCallback | None


class LoadRun:
    """Base class of a run: opens connections, measures each request, replaces lost connections.

    Args:
        options: Server address, prepared requests, timeout and progress callback.
        load_seconds: Duration of the load, in seconds.
        due_at: Times at which requests are due, in seconds since the start, as far as known.

    Attributes:
        due_at: Due times. A closed loop appends to this list and to the next five as it sends.
        sent_at: Times at which requests were sent; NaN if they were not.
        ended_at: Times at which requests were answered or given up; NaN if they were not.
        send_delay: Delays caused by the generator, in seconds.
        status: Statuses of HTTP, or constants of `run_record`.
        request_indices: Positions of the requests in the list of prepared requests.
        ended_count: Number of requests that were answered or given up.
        start_time: Start of the run on the clock of `time.perf_counter()`; 0 before the start.
        free_connections: Connections without a request in flight, longest free first.
        finished: Future that a subclass completes after the last answer.
    """

    is_open_loop: ClassVar[bool]

    def __init__(self, options: LoadOptions, load_seconds: float, due_at: Sequence[float]) -> None:
        self.options, self.load_seconds = options, load_seconds
        self.requests, self.timeout = options.requests, options.timeout
        self.due_at: list[float] = list(due_at)
        count = len(self.due_at)
        self.sent_at = [np.nan] * count
        self.ended_at = [np.nan] * count
        self.send_delay = [0.0] * count
        self.status = [UNANSWERED] * count
        self.request_indices: list[int] = []
        self.fault_counts: Counter[str] = Counter()
        self.ended_count = 0
        self.start_time = self.busy_seconds = 0.0
        self.open_connections: set[ClientConnection] = set()
        self.free_connections: deque[ClientConnection] = deque()
        self.max_connections = 0
        self.usage: dict[str, float] = {}
        self.reconnections: set[asyncio.Task[None]] = set()
        self.finished: asyncio.Future[None]

    async def execute(self, connections: int) -> RunRecord:
        """Open connections, send the requests, wait for their answers, and close.

        Args:
            connections: Number of connections.

        Raises:
            LoadEngineError: If the server does not accept the connections.
        """
        address = self.options.address
        self.loop = asyncio.get_running_loop()
        self.finished = self.loop.create_future()
        self.tls = ssl.create_default_context(cafile=address.ca_file) if address.use_tls else None
        try:
            await asyncio.gather(*(self.connect() for _ in range(connections)))
        except OSError as error:
            for connection in list(self.open_connections):
                connection.abort()
            raise LoadEngineError(
                f"expected a server at {address.host}:{address.port} that accepts "
                f"{connections} connection{'s' * (connections != 1)}; got: {error}"
            ) from error
        self.cpu_at_start = time.process_time()
        self.start_time = time.perf_counter()
        for connection in self.free_connections:
            connection.free_since = 0.0
        checks = self.loop.create_task(self.check_periodically())
        try:
            self.start_sending()
            await self.finished
        finally:
            self.measure_usage()
            checks.cancel()
            for task in self.reconnections:
                task.cancel()
            for connection in list(self.open_connections):
                connection.abort()
            self.close()
        return RunRecord(
            due_at=np.array(self.due_at),
            sent_at=np.array(self.sent_at),
            ended_at=np.array(self.ended_at),
            status=np.array(self.status, np.int16),
            request_index=np.array(self.request_indices, np.int32),
            send_delay=np.array(self.send_delay),
            load_seconds=self.load_seconds,
            **self.usage,
            is_open_loop=self.is_open_loop,
            max_connections=self.max_connections,
            fault_counts=self.fault_counts,
        )

    def now(self) -> float:
        """Return the seconds since the start of the run."""
        return time.perf_counter() - self.start_time

    async def connect(self) -> None:
        """Open a connection, which then calls `on_open`."""
        address = self.options.address
        await self.loop.create_connection(
            lambda: ClientConnection(self), address.host, address.port, ssl=self.tls
        )

    async def check_periodically(self) -> None:
        """Give up requests that have timed out, and report progress."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            now = self.now()
            for connection in list(self.open_connections):
                index = connection.request_index
                if index != NO_REQUEST and now - self.due_at[index] > self.timeout:
                    self.record_end(index, now, TIMED_OUT)
                    connection.request_index = NO_REQUEST
                    connection.abort()
            self.give_up_overdue(now)
            if now >= self.load_seconds:
                self.measure_usage()
            if self.options.on_progress is not None:
                self.options.on_progress(now, self.ended_count)

    def measure_usage(self) -> None:
        """Measure the generator's processor time, once: at the end of the load.

        The wait for the last answers is left out, as it would make the generator look idle.
        """
        if not self.usage:
            self.usage = {
                "wall_seconds": self.now(),
                "cpu_seconds": time.process_time() - self.cpu_at_start,
                "busy_seconds": self.busy_seconds,
            }

    def send(self, connection: ClientConnection, index: int, now: float) -> None:
        """Send a request over a free connection.

        Args:
            connection: A connection without a request in flight.
            index: Number of the request, in the order of the run.
            now: Seconds since the start of the run.
        """
        self.sent_at[index] = now
        connection.send(index, self.requests[self.request_indices[index]].http_bytes)

    def record_end(self, index: int, now: float, status: int) -> None:
        """Record the end of a request.

        Args:
            index: Number of the request, in the order of the run.
            now: Seconds since the start of the run.
            status: HTTP status, or a constant of `run_record`.
        """
        self.ended_at[index], self.status[index] = now, status
        self.ended_count += 1

    def record_fault(self, fault: str) -> None:
        """Count a fault by its description."""
        if fault in self.fault_counts or len(self.fault_counts) < MAX_DISTINCT_FAULTS:
            self.fault_counts[fault] += 1

    def on_open(self, connection: ClientConnection) -> None:
        """Use a new connection for the next request."""
        self.open_connections.add(connection)
        self.max_connections = max(self.max_connections, len(self.open_connections))
        connection.free_since = self.now()
        self.free_connections.append(connection)
        if self.start_time:
            self.send_due()

    def on_answer(
        self, connection: ClientConnection, status: int, body: bytes, received_at: float
    ) -> None:
        """Record an answer, and use its connection for the next request."""
        now = received_at - self.start_time
        index, connection.request_index = connection.request_index, NO_REQUEST
        if index == NO_REQUEST:  # an answer to no request
            connection.abort()
            return
        request = self.requests[self.request_indices[index]]
        self.record_end(index, now, self.check_answer(request, status, body))
        if connection.keep_alive:
            connection.free_since = now
            self.free_connections.append(connection)
            self.send_due()
        else:
            connection.abort()

    def check_answer(self, request: PreparedRequest, status: int, body: bytes) -> int:
        """Return the status to record: that of HTTP, or `WRONG_ANSWER`."""
        if status != OK_STATUS:
            self.record_fault(f"{status}: {body[:MAX_QUOTED_BYTES].decode(errors='replace')}")
        elif body != request.expected_body and (fault := request.find_fault(body)) is not None:
            self.record_fault(fault)
            return WRONG_ANSWER
        return status

    def on_invalid_answer(self, connection: ClientConnection, reason: str) -> None:
        """Fail the request in flight, and close the connection."""
        self.record_fault(reason)
        if connection.request_index != NO_REQUEST:
            self.record_end(connection.request_index, self.now(), CONNECTION_FAILED)
            connection.request_index = NO_REQUEST
        connection.abort()

    def on_close(self, connection: ClientConnection, reason: str) -> None:
        """Fail the request in flight, and replace the connection while there is more to send."""
        self.open_connections.discard(connection)
        if connection in self.free_connections:
            self.free_connections.remove(connection)
        if connection.request_index != NO_REQUEST:
            self.record_fault(reason)
            self.record_end(connection.request_index, self.now(), CONNECTION_FAILED)
            connection.request_index = NO_REQUEST
        if self.start_time and not self.finished.done() and self.has_more_to_send():
            task = self.loop.create_task(self.reconnect())
            self.reconnections.add(task)
            task.add_done_callback(self.reconnections.discard)
        if self.start_time:
            self.send_due()

    async def reconnect(self) -> None:
        """Open a connection in place of a closed one, as soon as the server accepts it."""
        while self.has_more_to_send() and not self.finished.done():
            try:
                await self.connect()
            except OSError as error:
                self.on_connection_refused(f"no connection: {error.strerror or error}")
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)
            else:
                return

    def start_sending(self) -> None:
        """Send the first requests."""
        raise NotImplementedError

    def send_due(self) -> None:
        """Send all requests that can be sent now; end the run after the last answer."""
        raise NotImplementedError

    def has_more_to_send(self) -> bool:
        """Return whether there are more requests to send."""
        raise NotImplementedError

    def give_up_overdue(self, now: float) -> None:
        """Give up requests that have waited for a connection longer than the timeout."""

    def on_connection_refused(self, reason: str) -> None:
        """Fail the request that waits for the connection that was refused."""

    def close(self) -> None:
        """Release what the run has registered with the event loop."""
