"""Misbehaving clients: connections that break off, send half a request, or send nothing at all."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from serving.loadtest.http_client import JSON_MEDIA_TYPE
from serving.loadtest.request_builder import encode_http_request
from serving.loadtest.target import LoadTarget

CLIENTS_PER_KIND = 2
ROWS = 400  # of a request whose answer is longer than what its client reads of it
READ_BYTES = 16
TIMEOUT_SECONDS = 5.0


@contextmanager
def run_misbehaving_clients(target: LoadTarget) -> Iterator[None]:
    """Let clients of a server misbehave during the block.

    Some break off in the middle of an answer at the start of the block. The others keep their
    connection until its end: they send nothing, half a head, or half a body.

    Raises:
        OSError: If the server accepts no connections, or does not answer.
    """
    content = {"instances": [[1.0] * len(target.columns)] * ROWS}
    request = encode_http_request(
        "POST",
        f"/predict?model={target.model}",
        target.address,
        {"Content-Type": JSON_MEDIA_TYPE, **target.headers},
        json.dumps(content).encode(),
    )
    head_bytes = request.index(b"\r\n\r\n") + 4
    half_head, half_body = head_bytes // 2, (head_bytes + len(request)) // 2
    with ExitStack() as stack:
        for _ in range(CLIENTS_PER_KIND):
            for part in (b"", request[:half_head], request[:half_body]):
                stack.enter_context(_connect(target)).sendall(part)
            with _connect(target) as connection:
                connection.sendall(request)
                connection.recv(READ_BYTES)  # Closing it with unread bytes resets the connection.
        yield


def _connect(target: LoadTarget) -> socket.socket:
    return socket.create_connection((target.address.host, target.address.port), TIMEOUT_SECONDS)
