"""The body of a request as a stream, `wsgi.input`, read from the connection on demand.

Both classes know whether the whole body has arrived, which decides whether the connection can be
kept. They send "100 Continue" to a client that waits for it when the application first reads: a
request that is refused by its head alone gets its final status, and its body is not requested.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from gevent import get_hub

MAX_BODY_READ_BYTES = 2**20  # bytes of one read of a body
DISCARD_READ_BYTES = 64 * 2**10  # bytes of one read of a body that is discarded
MAX_DISCARDED_BYTES = (
    2**20
)  # largest rest of a body, in bytes, that is discarded to keep the connection
CONTINUE_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"
discard_buffer = bytearray(
    DISCARD_READ_BYTES
)  # discarded bytes of all connections are read into it


class SizedBody:
    """A body whose length is known; it is read no further than its end.

    Args:
        client: Socket of the connection.
        buffered: Bytes that have been read already: of the body, and perhaps of the next request.
        missing_bytes: Length of the body, in bytes.
        awaits_continue: Whether the client waits for "100 Continue" before it sends the body.

    Attributes:
        missing_bytes: Number of bytes that have not arrived yet.
        after: Bytes after the end of the body that have been read already.
    """

    def __init__(
        self, client: Any, buffered: bytes, length: int, *, awaits_continue: bool = False
    ) -> None:
        self._client = client
        if len(buffered) > length:
            self._buffered, self.following_bytes = buffered[:length], buffered[length:]
        else:
            self._buffered, self.following_bytes = buffered, b""
        self.missing_bytes = length - len(self._buffered)
        self._awaits_continue = awaits_continue and not buffered
        self._has_disconnected = False

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has arrived."""
        return self.missing_bytes == 0

    @property
    def can_be_discarded(self) -> bool:
        """Whether the missing rest is small enough to discard it and keep the connection."""
        return self.missing_bytes == 0 or (
            self.missing_bytes <= MAX_DISCARDED_BYTES
            and not self._has_disconnected
            and not self._awaits_continue
        )

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, all for -1; fewer only at the end, or if the client disconnects."""
        here = self._buffered
        wanted = (
            len(here) + self.missing_bytes
            if size < 0
            else min(size, len(here) + self.missing_bytes)
        )
        if wanted <= len(here):
            self._buffered = here[wanted:]
            return here[:wanted] if self._buffered else here
        if self._awaits_continue:
            self._awaits_continue = False
            self._client.sendall(CONTINUE_RESPONSE)
        parts, self._buffered, missing = [here], b"", wanted - len(here)
        while missing:
            part = self._client.recv(min(missing, MAX_BODY_READ_BYTES))
            if not part:
                self._has_disconnected = True
                break
            parts.append(part)
            missing -= len(part)
            self.missing_bytes -= len(part)
        return b"".join(parts)

    def discard(self, on_progress: Callable[[], None]) -> None:
        """Read and discard the rest, to the end of the body or of what comes.

        Args:
            on_progress: Called after each read.
        """
        while self.missing_bytes and (
            count := self._client.recv_into(
                discard_buffer, min(self.missing_bytes, DISCARD_READ_BYTES)
            )
        ):
            self.missing_bytes -= count
            on_progress()

    def readline(self, size: int = -1) -> bytes:
        """Return the next line, as WSGI requires."""
        lines = io.BytesIO(self.read())
        line = lines.readline(size)
        self._buffered = lines.read()
        return line

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Return all lines, as WSGI requires."""
        return io.BytesIO(self.read()).readlines(hint)

    def __iter__(self) -> Iterable[bytes]:
        return iter(self.readlines())


class ChunkedBody:
    """A chunked body, which gunicorn decodes.

    Args:
        client: Socket of the connection.
        body: gunicorn's `Body` of the request.
        unreader: gunicorn's reader of the connection, which buffers bytes read beyond the body.
        awaits_continue: Whether the client waits for "100 Continue" before it sends the body.
    """

    def __init__(self, client: Any, body: Any, unreader: Any, *, awaits_continue: bool) -> None:
        self._client, self._body, self._unreader = client, body, unreader
        self._awaits_continue = awaits_continue

    @property
    def is_complete(self) -> bool:
        """Whether the whole body has arrived, its last chunk included."""
        return self._body.reader.parser is None and not self._body.failed

    @property
    def can_be_discarded(self) -> bool:
        """Whether the whole body has arrived, since the length of a rest is unknown."""
        return self.is_complete

    @property
    def following_bytes(self) -> bytes:
        """Bytes after the end of the body that have been read already."""
        return bytes(self._unreader.take_buffered())

    def discard(self, _on_progress: Callable[[], None]) -> None:
        """Read nothing: the connection is not kept."""

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, all for -1; fewer only at the end."""
        self._send_continue()
        return bytes(self._body.read(size))

    def readline(self, size: int = -1) -> bytes:
        """Return the next line, as WSGI requires."""
        self._send_continue()
        return bytes(self._body.readline(size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Return all lines, as WSGI requires."""
        self._send_continue()
        return list(self._body.readlines(hint))

    def __iter__(self) -> Iterable[bytes]:
        return iter(self.readlines())

    def _send_continue(self) -> None:
        if self._awaits_continue:
            self._awaits_continue = False
            self._client.sendall(CONTINUE_RESPONSE)


MAX_LINGER_BYTES = 64 * 2**20  # largest number of bytes discarded per connection
MAX_LINGER_SECONDS = 30.0  # longest time of discarding
MAX_SILENT_SECONDS = 5.0  # longest time without a byte
EV_READ = 1  # libev's EV_READ


def drain_until_close(client: Any, on_progress: Callable[[], None]) -> None:
    """Close the sending side, and read until the client closes its own or sends too much.

    The worker enforces the bounds in seconds, by throwing an exception into this greenlet. Other
    connections get a turn of the event loop before every read.

    Args:
        client: Socket of the connection, whose answer has been sent.
        on_progress: Called after each read.

    Raises:
        OSError: If the client is gone.
    """
    if hasattr(client, "unwrap"):
        # Sends close_notify; what still comes is discarded without being decrypted.
        client.settimeout(0)
        with suppress(OSError):  # it would wait for the client's close_notify, or got data
            client.unwrap()
    client.shutdown(socket.SHUT_WR)
    left, hub = MAX_LINGER_BYTES, get_hub()
    readable = hub.loop.io(client.fileno(), EV_READ)
    try:
        while left > 0:
            hub.wait(readable)
            try:
                count = os.readv(client.fileno(), [discard_buffer])
            except BlockingIOError:
                continue
            if count == 0:
                return
            left -= count
            on_progress()
    finally:
        readable.close()
