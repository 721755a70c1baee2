"""A server that answers every request with the same bytes, to measure the load generator's limit.

    python -m serving.loadtest.baseline_server

It reads the length of a body in bytes, a line feed and the body from standard input, and prints the
port it listens on at 127.0.0.1. It ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop


class _BaselineProtocol(asyncio.Protocol):
    """A connection that sends the answer at the end of each request."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a request."""
        self._transport.write(self._answer)


async def _serve(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    answer = head % len(body) + body
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _BaselineProtocol(answer), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    # The parent closes its end of the pipe when it is done, and the kernel does if it is killed.
    input_closed = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), input_closed.set)
    await input_closed.wait()


if __name__ == "__main__":
    length = int(sys.stdin.buffer.readline())
    uvloop.run(_serve(sys.stdin.buffer.read(length)))
