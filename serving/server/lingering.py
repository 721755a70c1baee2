"""Closes a connection whose client may still be sending, so that it receives the answer.

An answer that is given before its request has been read (a key is missing, a body is too large, a
queue is full) is followed by a close. If bytes of the client are unread by then, or come later, the
kernel resets the connection, and the client, which is busy sending, loses the answer. So the
sending side is closed first, and what still comes is read and thrown away until the client closes,
within bounds of bytes and seconds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent import get_hub

from serving.server.request_body import discard_buffer

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
