"""The guard: what is read of a request, and what is refused before it costs anything."""

from __future__ import annotations

from typing import Any

from flask import Request
from gunicorn.http.errors import ParseException

from serving.errors import BodyTooLargeError, IncompleteBodyError

# A body over the limit is read to its end and thrown away, up to this many bytes: unread bytes
# would cost the client its connection, and often the answer that says why.
DRAINED_AT_MOST = 64 * 2**20
CHUNK = 64 * 2**10


def read_body(request: Request) -> bytes:
    """The request's body, whole.

    Read from the server's own stream: Werkzeug's cuts a chunked body short at the limit and says
    nothing.

    Raises:
        BodyTooLargeError: it has more bytes than `MAX_CONTENT_LENGTH`.
        IncompleteBodyError: it breaks off.
    """
    stream, declared = request.environ["wsgi.input"], request.content_length
    limit = request.max_content_length or 0
    if declared is None and not request.environ.get("wsgi.input_terminated"):
        return b""  # nothing is announced: a read would wait for ever
    try:
        if declared is not None and declared > limit:
            _drain(stream, declared)
            raise _too_large(limit, f"{declared} bytes")
        body = _read(stream, limit + 1 if declared is None else declared)
        if len(body) > limit:
            _drain(stream, DRAINED_AT_MOST)
            raise _too_large(limit, "more")
    except (OSError, ParseException) as error:  # a lost client, a malformed chunk
        raise _incomplete(str(error) or type(error).__name__) from error
    if declared is not None and len(body) < declared:
        raise _incomplete(f"{len(body)} of {declared} bytes")
    return body


def _read(stream: Any, count: int) -> bytes:
    """Up to `count` bytes, fewer only at the end."""
    body: bytes = stream.read(count)
    if len(body) == count or not body:
        return body
    parts = [body]
    count -= len(body)
    while count > 0 and (part := stream.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _drain(stream: Any, count: int) -> None:
    left = min(count, DRAINED_AT_MOST)
    while left > 0 and (part := stream.read(min(left, CHUNK))):
        left -= len(part)


def _too_large(limit: int, came: str) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"expected a body of at most {limit} bytes; got {came}; send fewer instances at a time",
        limit=limit,
    )


def _incomplete(came: str) -> IncompleteBodyError:
    return IncompleteBodyError(f"expected a whole body; got {came[:80]}; send the request again")
