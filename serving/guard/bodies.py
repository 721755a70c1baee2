"""The guard: what is read of a request, and what is refused before it costs anything."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gunicorn.http.errors import ParseException

from serving.codec.compression import unpacked
from serving.errors import BodyTooLargeError, IncompleteBodyError, OverloadedError

# A body over the limit is read to its end and thrown away, up to this many bytes: unread bytes
# would cost the client its connection, and often the answer that says why.
DRAINED_AT_MOST = 64 * 2**20
CHUNK = 64 * 2**10
SMALL = 64 * 2**10  # bytes; such a body costs nothing to hold or to read
BODIES_AT_ONCE = 4  # of the largest size, whole or half sent, in one process


class Budget:
    """Bytes of large bodies that a process holds at the same time."""

    def __init__(self) -> None:
        self.taken = 0

    @contextmanager
    def take(self, count: int, limit: int) -> Iterator[None]:
        """Hold `count` of the `limit` bytes there are.

        Raises:
            OverloadedError: so many are not left.
        """
        if self.taken + count > limit:
            raise OverloadedError(
                f"expected fewer large bodies at the same time; got {self.taken} bytes of them "
                f"already; try again in a second, or send smaller ones"
            )
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count


_budget = Budget()


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """A request's body, whole and decompressed.

    Args:
        environ: WSGI's.
        limit: bytes that a body may have, as it comes and once it is decompressed.

    Raises:
        BodyTooLargeError: it has more.
        IncompleteBodyError: it breaks off.
        MalformedBodyError: it is not of its Content-Encoding.
        UnsupportedMediaTypeError: that is none we know.
        OverloadedError: too many large ones are being read.
    """
    body = _read_body(environ, limit)
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    return body if encoding in ("", "identity") else _decompressed(body, encoding, limit)


def _decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    parts = unpacked(body, encoding, limit)
    small = _join(parts, min(SMALL, limit))
    if len(small) <= min(SMALL, limit):
        return small
    with _budget.take(limit + 1, BODIES_AT_ONCE * (limit + 1)):
        whole = small + _join(parts, limit - len(small))
    if len(whole) > limit:
        raise _too_large(limit, "more once it is decompressed")
    return whole


def _join(parts: Iterator[bytes], most: int) -> bytes:
    """The parts, up to the first with which they are of more than `most` bytes."""
    joined: list[bytes] = []
    while most >= 0 and (part := next(parts, None)) is not None:
        joined.append(part)
        most -= len(part)
    return b"".join(joined)


def _read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """A request's body as it comes.

    Read from the server's own stream: Werkzeug's cuts a chunked body short at the limit and says
    nothing.
    """
    stream, declared = environ["wsgi.input"], _declared(environ)
    if declared is None and not environ.get("wsgi.input_terminated"):
        return b""  # nothing is announced: a read would wait for ever
    try:
        if declared is not None and declared > limit:
            _drain(stream, declared)
            raise _too_large(limit, f"{declared} bytes")
        size = limit + 1 if declared is None else declared
        # A chunked body does not say how long it is: it counts as large once it shows that it is.
        known_large = declared is not None and size > SMALL
        body = b"" if known_large else _read(stream, min(size, SMALL))
        if known_large or (declared is None and len(body) == SMALL):
            with _budget.take(size, BODIES_AT_ONCE * (limit + 1)):
                body += _read(stream, size - len(body))
            # What follows takes a while: let whoever is ready have a turn, and the worker's
            # heartbeat. Under gevent this switches to the loop, elsewhere to another thread.
            time.sleep(0)
        if len(body) > limit:
            _drain(stream, DRAINED_AT_MOST)
            raise _too_large(limit, "more")
    except (OSError, ParseException) as error:  # a lost client, a malformed chunk
        raise _incomplete(str(error) or type(error).__name__) from error
    if declared is not None and len(body) < declared:
        raise _incomplete(f"{len(body)} of {declared} bytes")
    return body


def _declared(environ: Mapping[str, Any]) -> int | None:
    """How long the body is said to be; unknown where it comes in chunks."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    text = environ.get("CONTENT_LENGTH", "")
    return int(text) if text.isascii() and text.isdigit() else None


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
