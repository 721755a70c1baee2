"""One persistent HTTP/1.1 connection, with at most one request in flight."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

import httptools

FIRST_FINAL_STATUS = 200  # answers with a status of 1xx precede the final answer
NO_REQUEST = -1


class ConnectionOwner(Protocol):
    """The part of a run that its connections use.

    Attributes:
        busy_seconds: Time spent on reading answers; each connection adds to it.
    """

    busy_seconds: float

    def on_open(self, connection: ClientConnection) -> None:
        """Handle a connection that has been established."""

    def on_answer(
        self, connection: ClientConnection, status: int, body: bytes, received_at: float
    ) -> None:
        """Handle a complete answer.

        Args:
            connection: The connection, with `request_index` still set.
            status: HTTP status, 200 or above.
            body: Body of the answer.
            received_at: Time of `time.perf_counter()` at which the answer was complete.
        """

    def on_invalid_answer(self, connection: ClientConnection, reason: str) -> None:
        """Handle bytes that are no HTTP/1.1 answer; the connection is unusable."""

    def on_close(self, connection: ClientConnection, reason: str) -> None:
        """Handle a connection that has been closed by either side."""


class ClientConnection(asyncio.Protocol):
    """A connection to the server under test.

    Attributes:
        request_index: Number of the request in flight, in the order of the run; -1 if none is.
        free_since: Time since which no request is in flight, in seconds since the start of the run.
        keep_alive: Whether the last answer leaves the connection open.
    """

    __slots__ = (
        "_is_complete",
        "_owner",
        "_parser",
        "_parts",
        "_transport",
        "free_since",
        "keep_alive",
        "request_index",
    )

    def __init__(self, owner: ConnectionOwner) -> None:
        self.request_index = NO_REQUEST
        self.free_since = 0.0
        self.keep_alive = False
        self._owner = owner
        self._is_complete = False
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the connection is established."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._owner.on_open(self)

    def send(self, request_index: int, http_bytes: bytes) -> None:
        """Send a request.

        Args:
            request_index: Number of the request, in the order of the run.
            http_bytes: Head and body.
        """
        self.request_index = request_index
        self._transport.write(http_bytes)

    def on_body(self, part: bytes) -> None:
        """Called by the parser for each part of a body."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of an answer."""
        if self._parser.get_status_code() < FIRST_FINAL_STATUS:
            self._parts = []
            return
        self._is_complete, self.keep_alive = True, self._parser.should_keep_alive()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop when bytes have arrived."""
        started = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._owner.on_invalid_answer(self, f"not an HTTP/1.1 answer: {error}")
        else:
            if self._is_complete:
                received_at = time.perf_counter()
                body = b"".join(self._parts)
                self._is_complete, self._parts = False, []
                status = self._parser.get_status_code()
                self._owner.on_answer(self, status, body, received_at)
        self._owner.busy_seconds += time.perf_counter() - started

    def abort(self) -> None:
        """Close the connection without waiting for unsent bytes."""
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop when the connection is closed."""
        self._owner.on_close(self, f"connection closed: {error or 'by the server'}")
