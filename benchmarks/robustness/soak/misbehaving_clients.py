"""Rudeness: connections that break off, or say half of what they were to say, or nothing at all."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from serving.loadtest.http_client import JSON_MEDIA_TYPE
from serving.loadtest.request_builder import encode_http_request
from serving.loadtest.target import LoadTarget

EACH = 2  # connections of each kind at a time
ROWS = 400  # of a request whose answer does not fit into what its client reads of it
READ = 16  # bytes of that answer
PATIENCE = 5.0  # seconds for the beginning of an answer


@contextmanager
def rudeness(target: LoadTarget) -> Iterator[None]:
    """Rude clients of a server, which are gone after the block.

    Those that break off in the middle of an answer do so at the start; the others keep their
    connection for the whole block.

    Raises:
        OSError: the server takes no connections, or does not answer.
    """
    content = {"instances": [[1.0] * len(target.columns)] * ROWS}
    whole = encode_http_request(
        "POST",
        f"/predict?model={target.model}",
        target.address,
        {"Content-Type": JSON_MEDIA_TYPE, **target.headers},
        json.dumps(content).encode(),
    )
    head = whole.index(b"\r\n\r\n") + 4
    with ExitStack() as held:
        for _ in range(EACH):
            for part in (b"", whole[: head // 2], whole[: (head + len(whole)) // 2]):
                held.enter_context(_connection(target)).sendall(part)
            with _connection(target) as leaving:
                leaving.sendall(whole)
                leaving.recv(READ)  # closed with the rest unread, the connection is reset
        yield


def _connection(target: LoadTarget) -> socket.socket:
    return socket.create_connection((target.address.host, target.address.port), PATIENCE)
