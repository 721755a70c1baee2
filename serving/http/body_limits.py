"""Reading request bodies within limits of size and memory.

A body that is too large is refused before it is read, or as soon as more bytes arrive than are
allowed. The bytes of large bodies are counted, so that many of them at the same time cannot
exhaust the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gunicorn.http.errors import ParseException

from serving.bundle import pluralize
from serving.errors import BodyTooLargeError, IncompleteBodyError, OverloadedError
from serving.event_loop import yield_to_loop
from serving.http.compression import decompress, require_encoding

# After each read of this size, the event loop serves other connections.
MAX_READ_BYTES = 256 * 2**10
# Chunked bodies are read in smaller steps, since a chunk may have one byte and costs one or two
# microseconds.
MAX_CHUNKED_READ_BYTES = 16 * 2**10
MAX_LENGTH_DIGITS = 18  # digits of Content-Length that are parsed
SMALL_BODY_BYTES = 64 * 2**10  # bodies up to this size are not counted
# Number of bodies of the largest allowed size that a process may hold while it reads them.
MAX_LARGE_BODIES = 4


class BodyMemory:
    """Counts the bytes of large bodies that a process is reading.

    Attributes:
        held_bytes: Number of bytes received so far, summed over the bodies being read.
    """

    def __init__(self) -> None:
        self.held_bytes = 0

    @contextmanager
    def track_body(self, limit: int) -> Iterator[Callable[[int], None]]:
        """Count a body for as long as it is being read.

        Only received bytes are counted. A declared length takes no memory; if it were counted, a
        client could use up the limit without sending anything.

        Args:
            limit: Largest number of bytes of all bodies together.

        Yields:
            A function to call with the number of bytes of each part received.

        Raises:
            OverloadedError: If all bodies together exceed the limit.
        """
        own_bytes = 0

        def add_bytes(count: int) -> None:
            nonlocal own_bytes
            if self.held_bytes + count > limit:
                raise OverloadedError(
                    f"expected fewer large bodies at the same time; got {self.held_bytes} bytes "
                    f"of them already; try again in a second, or send smaller ones"
                )
            self.held_bytes += count
            own_bytes += count

        try:
            yield add_bytes
        finally:
            self.held_bytes -= own_bytes


def read_body(environ: Mapping[str, Any], limit: int, memory: BodyMemory) -> bytes:
    """Return the whole body of a request, decompressed.

    Args:
        environ: WSGI environ of the request.
        limit: Largest number of bytes of the body, before and after decompression.
        memory: Bytes of the large bodies that this process is reading.

    Raises:
        BodyTooLargeError: If the body exceeds the limit.
        IncompleteBodyError: If the body ends too early or its chunks are malformed.
        MalformedBodyError: If the body does not match its Content-Encoding.
        UnsupportedMediaTypeError: If the Content-Encoding is not supported.
        OverloadedError: If too many large bodies are being read.
    """
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity"):
        return _read_encoded_body(environ, limit, memory)
    require_encoding(encoding)  # before the body is read
    body = _read_encoded_body(environ, limit, memory)
    whole = _join_parts(decompress(body, encoding, limit), limit, memory)
    if len(whole) > limit:
        raise _make_too_large_error(limit, "more once it is decompressed")
    return whole


def _join_parts(parts: Iterator[bytes], limit: int, memory: BodyMemory) -> bytes:
    """Return the parts joined, up to the first part that exceeds `limit` bytes in all.

    Parts beyond `SMALL_BODY_BYTES` are counted in the memory for large bodies.
    """
    joined: list[bytes] = []
    size = 0
    with memory.track_body(MAX_LARGE_BODIES * (limit + 1)) as add_bytes:
        for part in parts:
            joined.append(part)
            size += len(part)
            if size > SMALL_BODY_BYTES:
                add_bytes(len(part))
            if size > limit:
                break
        return b"".join(joined)


def _read_encoded_body(environ: Mapping[str, Any], limit: int, memory: BodyMemory) -> bytes:
    """Return the body of a request as it was sent, possibly compressed.

    It is read from the WSGI server's stream, since Werkzeug's stream silently cuts off a chunked
    body at the limit.
    """
    stream, declared = environ["wsgi.input"], _parse_content_length(environ)
    if declared is None and not environ.get("wsgi.input_terminated"):
        return b""  # a read would wait for ever, since the request has no body
    try:
        if declared is not None and declared > limit:
            raise _make_too_large_error(limit, pluralize(declared, "byte"))
        step = MAX_CHUNKED_READ_BYTES if declared is None else MAX_READ_BYTES
        size = limit + 1 if declared is None else declared
        body = _join_parts(_read_parts(stream, size, step), limit, memory)
        if len(body) > limit:
            raise _make_too_large_error(limit, "more")
    except (OSError, ParseException) as error:  # the client disconnected, or a malformed chunk
        raise _make_incomplete_error(str(error) or type(error).__name__) from error
    if declared is not None and len(body) < declared:
        raise _make_incomplete_error(f"{len(body)} of {pluralize(declared, 'byte')}")
    return body


def _parse_content_length(environ: Mapping[str, Any]) -> int | None:
    """Return the declared length in bytes; None for a chunked body and for an invalid length."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    text = environ.get("CONTENT_LENGTH", "")
    if not (text.isascii() and text.isdigit()):
        return None
    # Python refuses to convert thousands of digits. A number cut to so many exceeds every limit.
    digits = text.lstrip("0")
    return int(digits[:MAX_LENGTH_DIGITS] or "0")


def _read_parts(stream: Any, count: int, step: int) -> Iterator[bytes]:
    """Yield up to `count` bytes in parts of `step` bytes; between them, yield to the loop."""
    while count > 0 and (part := stream.read(min(count, step))):
        yield part
        count -= len(part)
        if count and len(part) == step:
            yield_to_loop()


def _make_too_large_error(limit: int, received: str) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"expected a body of at most {pluralize(limit, 'byte')}; got {received}; send fewer "
        f"instances at a time",
        limit=limit,
    )


def _make_incomplete_error(received: str) -> IncompleteBodyError:
    return IncompleteBodyError(
        f"expected a whole body; got {received[:80]}; send the request again"
    )
