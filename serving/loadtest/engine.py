"""The engine: sends calls over connections that are kept open, and writes down what became of them.

Two ways to ask. In an open loop each request has its time in advance; it leaves then, answered or
not what came before, and where all connections are busy it waits for one with the clock running.
Gil Tene calls what happens otherwise coordinated omission: a client that waits for its answer
before it asks again asks less while the server stalls, and those who would have waited are not in
its figures. In a closed loop so many users ask again as soon as they are answered.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, ClassVar, cast

import httptools
import numpy as np
import uvloop
from numpy.typing import NDArray

from serving.loadtest.alarm import alarm
from serving.loadtest.call import Address, Call
from serving.loadtest.record import BROKEN, TIMED_OUT, UNANSWERED, WRONG, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK = 0.1  # seconds between looks for requests that wait too long
AGAIN = 0.02  # seconds until a connection that was refused is tried again
MOST_FAULTS = 20  # different sentences that are kept
OK = 200

Tell = Callable[[float, int], None]


class EngineError(Exception):
    """A load cannot be put on this server."""


class Engine:
    """One load on one server.

    Args:
        address: of the server.
        calls: what is asked.
        connections: kept open in an open loop.
        timeout: seconds from the due time after which a request is given up.
        tell: told now and then how many seconds of the run are over, and how many answers came.
    """

    def __init__(
        self,
        address: Address,
        calls: Sequence[Call],
        *,
        connections: int = 64,
        timeout: float = 10.0,
        tell: Tell | None = None,
    ) -> None:
        self.address, self.calls = address, calls
        self.connections, self.timeout, self.tell = connections, timeout, tell

    def open_loop(self, due: NDArray[np.float64], order: NDArray[np.int32]) -> Record:
        """Send requests when they are due, and wait for their answers.

        Args:
            due: seconds from the start, ascending, `(n,)`.
            order: which call each is, `(n,)`.

        Raises:
            EngineError: the server takes no connection at the start.
        """
        return self._run(_OpenLoop(self, due, order), self.connections)

    def closed_loop(self, users: int, seconds: float, order: NDArray[np.int32]) -> Record:
        """Let users ask again as soon as they are answered.

        Args:
            users: each with a connection and one request at a time.
            seconds: to go on for.
            order: which calls they are, again and again, `(k,)`.

        Raises:
            EngineError: the server takes no connection at the start.
        """
        return self._run(_ClosedLoop(self, seconds, order), users)

    def _run(self, run: _Run, connections: int) -> Record:
        with _no_garbage_collection(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run.measure(connections))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection takes milliseconds, which would be the server's; a run leaves little behind."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Run:
    """What both loops have in common: connections, and what is written down."""

    open_loop: ClassVar[bool]

    def __init__(self, engine: Engine, due: Sequence[float]) -> None:
        self.address, self.calls, self.timeout = engine.address, engine.calls, engine.timeout
        self.tell = engine.tell
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
        self.open: set[_Connection] = set()
        self.free: deque[_Connection] = deque()
        self.most = 0
        self.opening: set[asyncio.Task[None]] = set()
        self.over: asyncio.Future[None]

    async def measure(self, connections: int) -> Record:
        self.loop = asyncio.get_running_loop()
        self.over = self.loop.create_future()
        self.tls = ssl.create_default_context(cafile=self.address.ca) if self.address.tls else None
        try:
            await asyncio.gather(*(self.connect() for _ in range(connections)))
        except OSError as error:
            raise EngineError(
                f"expected a server at {self.address.host}:{self.address.port} that takes "
                f"{connections} connections; got: {error}"
            ) from error
        processor = time.process_time()
        self.start = time.perf_counter()
        for connection in self.free:
            connection.since = 0.0
        looks = self.loop.create_task(self.look())
        try:
            self.begin()
            await self.over
        finally:
            seconds = self.now()
            looks.cancel()
            for task in self.opening:
                task.cancel()
            for connection in list(self.open):
                connection.leave()
            self.close()
        processor = time.process_time() - processor
        return Record(
            due=np.array(self.due), sent=np.array(self.sent), ended=np.array(self.ended),
            status=np.array(self.status, np.int16), call=np.array(self.which, np.int32),
            late=np.array(self.late), seconds=self.span(), wall=seconds, processor=processor,
            busy=self.busy, open_loop=self.open_loop, connections=self.most, faults=self.faults,
        )  # fmt: skip

    def now(self) -> float:
        return time.perf_counter() - self.start

    async def connect(self) -> None:
        await self.loop.create_connection(
            lambda: _Connection(self), self.address.host, self.address.port, ssl=self.tls
        )

    async def look(self) -> None:
        """Give up what takes too long; say how far it is."""
        while True:
            await asyncio.sleep(LOOK)
            now = self.now()
            for connection in list(self.open):
                number = connection.number
                if number >= 0 and now - self.due[number] > self.timeout:
                    self.end(number, now, TIMED_OUT)
                    connection.number = -1
                    connection.leave()
            self.overdue(now)
            if self.tell is not None:
                self.tell(now, self.answered)

    def end(self, number: int, now: float, status: int) -> None:
        self.ended[number], self.status[number] = now, status
        self.answered += 1

    def note(self, fault: str) -> None:
        if fault in self.faults or len(self.faults) < MOST_FAULTS:
            self.faults[fault] += 1

    def came(self, connection: _Connection) -> None:
        """A connection is open."""
        self.open.add(connection)
        self.most = max(self.most, len(self.open))
        connection.since = self.now()
        self.free.append(connection)
        if self.start:
            self.proceed()

    def gone(self, connection: _Connection, why: str) -> None:
        """A connection is closed; another takes its place while the run goes on."""
        self.open.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        if connection.number >= 0:
            self.note(why)
            self.end(connection.number, self.now(), BROKEN)
            connection.number = -1
        if self.start and not self.over.done() and self.going_on():
            task = self.loop.create_task(self.replace())
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)
        if self.start:
            self.proceed()

    async def replace(self) -> None:
        while self.going_on() and not self.over.done():
            try:
                await self.connect()
            except OSError as error:
                self.refused(f"no connection: {error.strerror or error}")
                await asyncio.sleep(AGAIN)
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

    def span(self) -> float:
        """Seconds that requests were sent for."""
        raise NotImplementedError


class _OpenLoop(_Run):
    open_loop = True

    def __init__(self, engine: Engine, due: NDArray[np.float64], order: NDArray[np.int32]) -> None:
        super().__init__(engine, due.tolist())
        self.which = order.tolist()
        self.next, self.all = 0, len(self.due)
        self.armed = False

    def begin(self) -> None:
        self.alarm = alarm(self.loop, self.ring)
        self.ring()

    def ring(self) -> None:
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
            self.end(self.next, now, BROKEN)
            self.next += 1
            self.proceed()

    def close(self) -> None:
        self.alarm.close()

    def span(self) -> float:
        return self.due[-1] if self.due else 0.0


class _ClosedLoop(_Run):
    open_loop = False

    def __init__(self, engine: Engine, seconds: float, order: NDArray[np.int32]) -> None:
        super().__init__(engine, [])
        self.seconds = seconds
        self.order = cycle(order.tolist())

    def begin(self) -> None:
        self.proceed()

    def proceed(self) -> None:
        now = time.perf_counter() - self.start
        while self.free and now < self.seconds:
            connection = self.free.popleft()
            self.due.append(connection.since)
            self.sent.append(np.nan)
            self.ended.append(np.nan)
            self.status.append(UNANSWERED)
            self.which.append(next(self.order))
            self.late.append(now - connection.since)
            connection.send(len(self.due) - 1, now)
            now = time.perf_counter() - self.start
        if now >= self.seconds and self.answered == len(self.due) and not self.over.done():
            self.over.set_result(None)

    def going_on(self) -> bool:
        return self.now() < self.seconds

    def overdue(self, now: float) -> None:  # noqa: ARG002
        self.proceed()

    def span(self) -> float:
        return self.seconds


class _Connection(asyncio.Protocol):
    """A connection, and the request it is busy with, if any (`number`, else -1)."""

    __slots__ = ("complete", "keep", "number", "parser", "parts", "run", "since", "transport")

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.number = -1
        self.since = 0.0  # seconds of the run since which it is free
        self.complete = self.keep = False
        self.parts: list[bytes] = []
        self.transport: asyncio.Transport
        self.parser: httptools.HttpResponseParser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpResponseParser(self)
        self.run.came(self)

    def send(self, number: int, now: float) -> None:
        run = self.run
        self.number = number
        run.sent[number] = now
        self.transport.write(run.calls[run.which[number]].wire)

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self.parts.append(part)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.complete, self.keep = True, self.parser.should_keep_alive()

    def data_received(self, data: bytes) -> None:
        begun = time.perf_counter()
        self.take(data)
        self.run.busy += time.perf_counter() - begun

    def take(self, data: bytes) -> None:
        """Read part of an answer; at its end, write it down and go on."""
        run = self.run
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            run.note(f"not an answer of HTTP/1.1: {error}")
            self.leave()
            return
        if not self.complete:
            return
        now = time.perf_counter() - run.start
        body = b"".join(self.parts)
        self.complete, self.parts = False, []
        number, self.number = self.number, -1
        if number < 0:  # no one asked for this
            self.leave()
            return
        run.end(number, now, self.judge(run.calls[run.which[number]], body))
        if self.keep:
            self.since = now
            run.free.append(self)
            run.proceed()
        else:
            self.leave()

    def judge(self, call: Call, body: bytes) -> int:
        status: int = self.parser.get_status_code()
        if status != OK:
            self.run.note(f"{status}: {body[:300].decode(errors='replace')}")
        elif body != call.expected and (fault := call.fault(body)) is not None:
            self.run.note(fault)
            return WRONG
        return status

    def leave(self) -> None:
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.run.gone(self, f"connection closed: {error or 'by the server'}")
