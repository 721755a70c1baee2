"""A run: its connections, and what is written down of every request, whichever loop sends them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from serving.loadtest.connection import ClientConnection
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import (
    CONNECTION_FAILED,
    TIMED_OUT,
    UNANSWERED,
    PreparedRequest,
    RunRecord,
)

CHECK_INTERVAL_SECONDS = 0.1  # seconds between looks for requests that wait too long
RECONNECT_DELAY_SECONDS = 0.02  # seconds until a connection that was refused is tried again
MAX_DISTINCT_FAULTS = 20  # different sentences that are kept

ProgressCallback = Callable[[float, int], None]


class LoadEngineError(Exception):
    """A load cannot be put on this server."""


@dataclass(frozen=True)
class LoadOptions:
    """Who is asked what.

    Attributes:
        address: of the server.
        calls: what is asked.
        timeout: seconds from the due time after which a request is given up.
        tell: told now and then how many seconds of the run are over, and how many answers came.
    """

    address: ServerAddress
    calls: Sequence[PreparedRequest]
    timeout: float
    tell: ProgressCallback | None


class LoadRun:
    """What both loops have in common: connections, and what is written down.

    Args:
        load: on whom, and what.
        seconds: that requests are sent for.
        due: seconds from the start at which requests are to leave, as far as that is known.
    """

    open_loop: ClassVar[bool]

    def __init__(self, load: LoadOptions, seconds: float, due: Sequence[float]) -> None:
        self.address, self.calls, self.timeout = load.address, load.calls, load.timeout
        self.tell = load.tell
        self.seconds = seconds
        self.due: list[float] = list(due)
        empty = len(self.due)
        self.sent = [np.nan] * empty
        self.ended = [np.nan] * empty
        self.late = [0.0] * empty
        self.status = [UNANSWERED] * empty
        self.which: list[int] = []
        self.faults: Counter[str] = Counter()
        self.answered = 0
        self.start = self.busy = 0.0
        self.open: set[ClientConnection] = set()
        self.free: deque[ClientConnection] = deque()
        self.most = 0
        self.weighed: dict[str, float] = {}
        self.opening: set[asyncio.Task[None]] = set()
        self.over: asyncio.Future[None]

    async def measure(self, connections: int) -> RunRecord:
        """Open connections, send, wait for the answers, close.

        Raises:
            EngineError: the server takes no connection.
        """
        self.loop = asyncio.get_running_loop()
        self.over = self.loop.create_future()
        self.tls = ssl.create_default_context(cafile=self.address.ca) if self.address.tls else None
        try:
            await asyncio.gather(*(self.connect() for _ in range(connections)))
        except OSError as error:
            for connection in list(self.open):
                connection.leave()
            raise LoadEngineError(
                f"expected a server at {self.address.host}:{self.address.port} that takes "
                f"{connections} connection{'s' * (connections != 1)}; got: {error}"
            ) from error
        self.processor = time.process_time()
        self.start = time.perf_counter()
        for connection in self.free:
            connection.since = 0.0
        looks = self.loop.create_task(self.look())
        try:
            self.begin()
            await self.over
        finally:
            self.weigh()
            looks.cancel()
            for task in self.opening:
                task.cancel()
            for connection in list(self.open):
                connection.leave()
            self.close()
        return RunRecord(
            due=np.array(self.due),
            sent=np.array(self.sent),
            ended=np.array(self.ended),
            status=np.array(self.status, np.int16),
            call=np.array(self.which, np.int32),
            late=np.array(self.late),
            seconds=self.seconds,
            **self.weighed,
            open_loop=self.open_loop,
            connections=self.most,
            faults=self.faults,
        )

    def now(self) -> float:
        """Seconds of the run."""
        return time.perf_counter() - self.start

    async def connect(self) -> None:
        """Open a connection; it comes to `came`."""
        await self.loop.create_connection(
            lambda: ClientConnection(self), self.address.host, self.address.port, ssl=self.tls
        )

    async def look(self) -> None:
        """Give up what takes too long; say how far it is."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
            now = self.now()
            for connection in list(self.open):
                number = connection.number
                if number >= 0 and now - self.due[number] > self.timeout:
                    self.end(number, now, TIMED_OUT)
                    connection.number = -1
                    connection.leave()
            self.overdue(now)
            if now >= self.seconds:
                self.weigh()
            if self.tell is not None:
                self.tell(now, self.answered)

    def weigh(self) -> None:
        """What the generator has used, once: while it sent, not while it waited for the rest."""
        if not self.weighed:
            processor = time.process_time() - self.processor
            self.weighed = {"wall": self.now(), "processor": processor, "busy": self.busy}

    def end(self, number: int, now: float, status: int) -> None:
        """Write down what became of a request."""
        self.ended[number], self.status[number] = now, status
        self.answered += 1

    def note(self, fault: str) -> None:
        """Count a sentence on what was wrong."""
        if fault in self.faults or len(self.faults) < MAX_DISTINCT_FAULTS:
            self.faults[fault] += 1

    def came(self, connection: ClientConnection) -> None:
        """A connection is open."""
        self.open.add(connection)
        self.most = max(self.most, len(self.open))
        connection.since = self.now()
        self.free.append(connection)
        if self.start:
            self.proceed()

    def gone(self, connection: ClientConnection, why: str) -> None:
        """A connection is closed; another takes its place while the run goes on."""
        self.open.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        if connection.number >= 0:
            self.note(why)
            self.end(connection.number, self.now(), CONNECTION_FAILED)
            connection.number = -1
        if self.start and not self.over.done() and self.going_on():
            task = self.loop.create_task(self.replace())
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)
        if self.start:
            self.proceed()

    async def replace(self) -> None:
        """Open a connection in the place of one that is gone, as soon as the server takes it."""
        while self.going_on() and not self.over.done():
            try:
                await self.connect()
            except OSError as error:
                self.refused(f"no connection: {error.strerror or error}")
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)
            else:
                return

    def begin(self) -> None:
        """Send the first requests."""
        raise NotImplementedError

    def proceed(self) -> None:
        """Send what can be sent; end the run if all is done."""
        raise NotImplementedError

    def going_on(self) -> bool:
        """Whether there is more to send."""
        raise NotImplementedError

    def overdue(self, now: float) -> None:
        """Give up requests that have waited too long for a connection."""

    def refused(self, why: str) -> None:
        """A connection was refused: who waits for it fails."""

    def close(self) -> None:
        """Let go of what the loop holds."""
