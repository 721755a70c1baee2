"""An open loop: requests leave when their time has come, whether or not earlier ones are answered.

A client that waits for its answer before it asks again slows down with the server and hides what
others would have felt. Here each request has its time in advance, of a Poisson process; it leaves
on a free connection, and its latency counts from the time it was due.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MOST_CONNECTIONS = 800
PATIENCE = 10.0  # seconds that answers are waited for after the last request
CHUNK = 64 * 2**10


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        due: when each was due, in seconds from the first.
        latency: seconds from then to the end of its answer; NaN where there was none.
        status: of the answer; 0 where there was none.
        seconds: from the first to the last that was due.
    """

    due: NDArray[np.float64]
    latency: NDArray[np.float64]
    status: NDArray[np.int64]
    seconds: float

    def of(self, status: int, since: float = 0.0) -> NDArray[np.float64]:
        """Latencies of those that got that status, and were due after `since` seconds."""
        return self.latency[(self.status == status) & (self.due >= since)]


@dataclass
class _Connection:
    socket: socket.socket
    asked: int = -1  # number of the request it is busy with
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    answer: bytearray = field(default_factory=bytearray)


class OpenLoop:
    """One load on one server.

    Args:
        address: host and port.
        request: head and body, as they go over the wire.
    """

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address, self._request = address, request
        self._poll = select.epoll()
        self._all: dict[int, _Connection] = {}
        self._free: list[_Connection] = []

    def __enter__(self) -> OpenLoop:
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in self._all.values():
            connection.socket.close()
        self._poll.close()

    def run(self, rate: float, seconds: float, seed: int = 0) -> Outcome:
        """Ask so many times a second for so long."""
        for connection in [c for c in self._all.values() if c.asked >= 0]:
            self._drop(connection)  # what an earlier run did not wait for any longer
        gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
        due = np.cumsum(gaps) - gaps[0]
        latency = np.full(len(due), np.nan)
        status = np.zeros(len(due), np.int64)
        start, sent, answered = time.perf_counter(), 0, 0
        end = start + due[-1] + PATIENCE
        while answered < len(due) and (now := time.perf_counter()) < end:
            while sent < len(due) and start + due[sent] <= now and self._send(sent):
                sent += 1
            wait = 0.0 if sent == len(due) else max(0.0, start + due[sent] - time.perf_counter())
            # epoll counts in milliseconds, and a request may be due before the next.
            for handle, event in self._poll.poll(0 if 0 < wait < 0.002 else min(wait, 0.05)):
                connection = self._all[handle]
                if event & select.EPOLLOUT and connection.unsent:
                    self._push(connection)
                if event & ~select.EPOLLOUT and (code := self._pull(connection)) is not None:
                    if connection.asked >= 0:
                        latency[connection.asked] = (
                            time.perf_counter() - start - due[connection.asked]
                        )
                        status[connection.asked] = code
                        answered += 1
                    self._release(connection, code)
        return Outcome(due, latency, status, float(due[-1]))

    def _send(self, number: int) -> bool:
        """Let a request leave; not if all connections are busy and there may be no more."""
        if not self._free:
            if len(self._all) >= MOST_CONNECTIONS:
                return False
            made = socket.create_connection(self._address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            self._all[made.fileno()] = connection = _Connection(made)
            self._poll.register(made, select.EPOLLIN)
        else:
            connection = self._free.pop()
        connection.asked, connection.unsent = number, memoryview(self._request)
        self._push(connection)
        return True

    def _push(self, connection: _Connection) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection.unsent = connection.unsent[connection.socket.send(connection.unsent) :]
        events = select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0)
        self._poll.modify(connection.socket, events)

    def _pull(self, connection: _Connection) -> int | None:
        """The status of an answer that is complete; 0 for a connection that broke."""
        try:
            part = connection.socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except ConnectionError:
            part = b""
        connection.answer += part
        if not part:
            return 0
        head, mark, body = connection.answer.partition(b"\r\n\r\n")
        if not mark:
            return None
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(head[9:12]) if len(body) >= length else None

    def _release(self, connection: _Connection, status: int) -> None:
        closes = b"connection: close" in connection.answer.lower()
        connection.asked, connection.answer = -1, bytearray()
        if status and not closes and not connection.unsent:
            self._free.append(connection)
            return
        self._drop(connection)
        if connection in self._free:
            self._free.remove(connection)

    def _drop(self, connection: _Connection) -> None:
        self._poll.unregister(connection.socket)
        del self._all[connection.socket.fileno()]
        connection.socket.close()
