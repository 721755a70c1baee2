"""The guard: what is read of a request, and what is refused before it costs anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gunicorn.http.errors import ParseException

from serving.bundle import pluralize
from serving.codec.compression import decompress, require_encoding
from serving.errors import BodyTooLargeError, IncompleteBodyError, OverloadedError
from serving.event_loop import yield_to_loop

MAX_READ_BYTES = 256 * 2**10  # bytes that are read of a body at a time, before others have a turn
MAX_LENGTH_DIGITS = 18  # of a length
SMALL_BODY_BYTES = 64 * 2**10  # bytes; such a body costs nothing to hold or to read
MAX_LARGE_BODIES = 4  # of the largest size, as far as they have come, in one process
# A chunked body may come in chunks of one byte, of which each costs a microsecond or two.
MAX_CHUNKED_READ_BYTES = 16 * 2**10


class BodyMemory:
    """Bytes of large bodies that a process holds at the same time."""

    def __init__(self) -> None:
        self.held_bytes = 0

    @contextmanager
    def reserve(self, limit: int) -> Iterator[Callable[[int], None]]:
        """A body that is being read; what is given says how many bytes more have come.

        Only those count: a length that is declared costs nothing, and could keep others out.

        Args:
            limit: bytes that all bodies together may have.

        Raises:
            OverloadedError: they have more.
        """
        held = 0

        def hold(count: int) -> None:
            nonlocal held
            if self.held_bytes + count > limit:
                raise OverloadedError(
                    f"expected fewer large bodies at the same time; got {self.held_bytes} bytes of them "
                    f"already; try again in a second, or send smaller ones"
                )
            self.held_bytes += count
            held += count

        try:
            yield hold
        finally:
            self.held_bytes -= held


_body_memory = BodyMemory()


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
    encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding in ("", "identity"):
        return _read_encoded_body(environ, limit)
    require_encoding(encoding)  # before it costs anything
    return _decompress(_read_encoded_body(environ, limit), encoding, limit)


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    whole = _join_parts(decompress(body, encoding, limit), limit)
    if len(whole) > limit:
        raise _make_too_large_error(limit, "more once it is decompressed")
    return whole


def _join_parts(parts: Iterator[bytes], limit: int) -> bytes:
    """The parts, up to the first with which they are of more than `limit` bytes.

    What is beyond the first of them that are small counts as held.
    """
    joined: list[bytes] = []
    size = 0
    with _body_memory.reserve(MAX_LARGE_BODIES * (limit + 1)) as hold:
        for part in parts:
            joined.append(part)
            size += len(part)
            if size > SMALL_BODY_BYTES:
                hold(len(part))
            if size > limit:
                break
        return b"".join(joined)


def _read_encoded_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """A request's body as it comes.

    Read from the server's own stream: Werkzeug's cuts a chunked body short at the limit and says
    nothing.
    """
    stream, declared = environ["wsgi.input"], _parse_content_length(environ)
    if declared is None and not environ.get("wsgi.input_terminated"):
        return b""  # nothing is announced: a read would wait for ever
    try:
        if declared is not None and declared > limit:
            raise _make_too_large_error(limit, pluralize(declared, "byte"))
        step = MAX_CHUNKED_READ_BYTES if declared is None else MAX_READ_BYTES
        size = limit + 1 if declared is None else declared
        body = _join_parts(_read_parts(stream, size, step), limit)
        if len(body) > limit:
            raise _make_too_large_error(limit, "more")
    except (OSError, ParseException) as error:  # a lost client, a malformed chunk
        raise _make_incomplete_error(str(error) or type(error).__name__) from error
    if declared is not None and len(body) < declared:
        raise _make_incomplete_error(f"{len(body)} of {pluralize(declared, 'byte')}")
    return body


def _parse_content_length(environ: Mapping[str, Any]) -> int | None:
    """How long the body is said to be; unknown where it comes in chunks."""
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    text = environ.get("CONTENT_LENGTH", "")
    if not (text.isascii() and text.isdigit()):
        return None
    # Python refuses to read thousands of digits; of more than these no body is that long.
    digits = text.lstrip("0")
    return int(digits[:MAX_LENGTH_DIGITS] or "0")


def _read_parts(stream: Any, count: int, step: int) -> Iterator[bytes]:
    """Up to `count` bytes, fewer only at the end; between steps others have their turn."""
    while count > 0 and (part := stream.read(min(count, step))):
        yield part
        count -= len(part)
        if count and len(part) == step:
            yield_to_loop()


def _make_too_large_error(limit: int, came: str) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"expected a body of at most {pluralize(limit, 'byte')}; got {came}; send fewer instances at "
        "a time",
        limit=limit,
    )


def _make_incomplete_error(came: str) -> IncompleteBodyError:
    return IncompleteBodyError(f"expected a whole body; got {came[:80]}; send the request again")
