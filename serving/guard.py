"""The guard: what is read of a request, and what is refused before it costs anything."""

from __future__ import annotations

from typing import Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from serving.errors import BodyTooLargeError

# A body over the limit is read to its end and thrown away, up to this many bytes: unread bytes
# would cost the client its connection, and often the answer that says why.
DRAINED_AT_MOST = 64 * 2**20
CHUNK = 64 * 2**10


def read_body(request: Request) -> bytes:
    """The request's body, whole.

    Raises:
        BodyTooLargeError: it has more bytes than `Settings.max_body`.
    """
    try:
        return request.get_data()
    except RequestEntityTooLarge:
        _drain(request.environ)
        limit, declared = request.max_content_length, request.content_length
        came = "more" if declared is None else f"{declared} bytes"
        raise BodyTooLargeError(
            f"expected a body of at most {limit} bytes; got {came}; send fewer instances at a time",
            limit=limit,
        ) from None


def _drain(environ: dict[str, Any]) -> None:
    # Only as far as is known to come: beyond that, a read would wait for ever.
    declared = environ.get("CONTENT_LENGTH")
    left = (
        int(declared) if declared else DRAINED_AT_MOST * bool(environ.get("wsgi.input_terminated"))
    )
    left = min(left, DRAINED_AT_MOST)
    while left > 0:
        chunk = environ["wsgi.input"].read(min(left, CHUNK))
        if not chunk:
            return
        left -= len(chunk)
