"""The body of a request as a stream (`wsgi.input`), and how an unread body is discarded.

A body is read from the socket on demand, and records whether it has arrived completely. If the
client waits for "100 Continue", that is sent when the application first reads. So if a request is
refused by its head alone, the client gets only the final status, and never sends the body.

A response can be sent before the whole body has been read, for instance if the API key is missing,
the body is too large or the queue is full. A small rest of the body is then discarded to keep the
connection. Otherwise the connection has to be closed, but if unread bytes are left or more arrive,
the kernel resets it, and a client that is still sending loses the response. So only the sending
side is closed, and the bytes that arrive are discarded until the client closes, within limits of
bytes and seconds. nginx calls this a lingering close.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from gevent import get_hub

from serving.event_loop import EV_READ

MAX_BODY_READ_BYTES = 2**20  # largest size of one read from the socket
DISCARD_READ_BYTES = 64 * 2**10  # largest size of one read whose bytes are discarded
MAX_DISCARDED_BYTES = 2**20  # largest rest of a body that is discarded to keep the connection
CONTINUE_RESPONSE = b"HTTP/1.1 100 Continue\r\n\r\n"

MAX_LINGER_BYTES = 64 * 2**20  # most bytes that are discarded during a lingering close
MAX_LINGER_SECONDS = 30.0  # longest duration of a lingering close
MAX_SILENT_SECONDS = 5.0  # longest time without a byte of the client during a lingering close

discard_buffer = bytearray(DISCARD_READ_BYTES)  # shared by all connections, never read


class SizedBody:
    """A body of known length, which is never read beyond its end.

    Args:
        client: Socket of the connection.
        buffered: Bytes read from the socket already: of the body, and perhaps of the next request.
        length: Length of the body, in bytes.
        awaits_continue: Whether the client waits for "100 Continue" before it sends the body.

    Attributes:
        missing_bytes: Number of bytes of the body that have not been read from the socket.
        following_bytes: Bytes after the end of the body that have been read already.
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
        """Return `size` bytes, or all if -1; fewer only at the end or if the client disconnects."""
        buffered = self._buffered
        available = len(buffered) + self.missing_bytes
        wanted = available if size < 0 else min(size, available)
        if wanted <= len(buffered):
            self._buffered = buffered[wanted:]
            return buffered[:wanted] if self._buffered else buffered
        if self._awaits_continue:
            self._awaits_continue = False
            self._client.sendall(CONTINUE_RESPONSE)
        parts, self._buffered, missing = [buffered], b"", wanted - len(buffered)
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
        """Read and discard the rest of the body, or until the client disconnects.

        Args:
            on_progress: Function that is called after each read.
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
    """A body in chunked transfer encoding, which gunicorn decodes.

    Args:
        client: Socket of the connection.
        body: gunicorn's `Body` of the request.
        unreader: gunicorn's reader of the socket, which buffers what it reads beyond the body.
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
        """Whether the whole body has arrived: the length of a missing rest is unknown."""
        return self.is_complete

    @property
    def following_bytes(self) -> bytes:
        """Bytes after the end of the body that have been read already."""
        return bytes(self._unreader.take_buffered())

    def discard(self, _on_progress: Callable[[], None]) -> None:
        """Do nothing: the connection is not kept if a rest is missing."""

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, or all if -1; fewer only at the end."""
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


def drain_until_close(client: Any, on_progress: Callable[[], None]) -> None:
    """Close the sending side, then discard what arrives until the client closes or sends too much.

    The worker enforces the limits in seconds, by raising an exception in this greenlet. Before
    every read, other connections are served.

    Args:
        client: Socket of the connection, on which the response has been sent.
        on_progress: Function that is called after each read.

    Raises:
        OSError: If the client has disconnected.
    """
    if hasattr(client, "unwrap"):
        # Send TLS's close_notify. What still arrives is discarded without being decrypted.
        client.settimeout(0)
        with suppress(OSError):  # raised instead of waiting for the client's own close_notify
            client.unwrap()
    client.shutdown(socket.SHUT_WR)
    bytes_left, hub = MAX_LINGER_BYTES, get_hub()
    readable = hub.loop.io(client.fileno(), EV_READ)
    try:
        while bytes_left > 0:
            hub.wait(readable)
            try:
                count = os.readv(client.fileno(), [discard_buffer])
            except BlockingIOError:
                continue
            if count == 0:
                return
            bytes_left -= count
            on_progress()
    finally:
        readable.close()
