"""The wire: what comes from a client and what goes back, as bytes with a word on what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

JSON = "application/json"
JSON_BYTES = "Inference-Header-Content-Length"  # of the Open Inference Protocol's binary bodies
WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus} | {
    499: "499 Client Closed Request"
}


class Message(NamedTuple):
    """What a client sent.

    Attributes:
        content: the body, decompressed.
        media: its media type, in lower case, without parameters.
        accept: the media type that the answer should have, likewise; empty for any.
        json_bytes: of the JSON that leads a binary body of the Open Inference Protocol.
    """

    content: bytes
    media: str = JSON
    accept: str = ""
    json_bytes: int | None = None


class Reply(NamedTuple):
    """What the client gets."""

    content: bytes
    media: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
