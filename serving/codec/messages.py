"""The wire: what comes from a client and what goes back, as bytes with a word on what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

JSON_MEDIA_TYPE = "application/json"
JSON_LENGTH_HEADER = (
    "Inference-Header-Content-Length"  # of the Open Inference Protocol's binary bodies
)
WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus} | {
    499: "499 Client Closed Request"
}


class EncodedRequest(NamedTuple):
    """What a client sent.

    Attributes:
        content: the body, decompressed.
        media: its media type, in lower case, without parameters.
        accept: the media type that the answer should have, likewise; empty for any.
        json_bytes: of the JSON that leads a binary body of the Open Inference Protocol.
    """

    content: bytes
    media: str = JSON_MEDIA_TYPE
    accept: str = ""
    json_length: int | None = None


class EncodedAnswer(NamedTuple):
    """What the client gets."""

    content: bytes
    media: str = JSON_MEDIA_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
