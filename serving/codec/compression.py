"""Compression: bodies that came smaller than they are, never unpacked beyond a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import zstandard

from serving.errors import MalformedBodyError, UnsupportedMediaTypeError
from serving.event_loop import yield_to_loop

GZIP_INPUT_CHUNK_BYTES = (
    4096  # bytes of a gzip body at a time: what is left of them may be copied at each member
)
MAX_GZIP_MEMBERS = 4096  # of a gzip body, at most: each costs a decompressor of its own
GZIP_OUTPUT_CHUNK_BYTES = 64 * 2**10  # bytes that a step unpacks to, at most
MAX_ZSTD_WINDOW_BYTES = (
    8 * 2**20
)  # bytes that zstd may look back; RFC 8878 asks of decoders no more
ZSTD_BLOCKS_PER_STEP, ZSTD_BLOCKS_BEFORE_YIELD = (
    16,
    64,
)  # of zstd; 16 have no more than 2 MiB of content
MIN_AVERAGE_ZSTD_BLOCK_BYTES = (
    64  # of the largest body: of more and smaller blocks a body is refused
)
SMALL_ZSTD_BODY_BYTES = 16 * 2**10  # bytes of a body that zstd unpacks in one step


def decompress(body: bytes, encoding: str, limit: int) -> Iterator[bytes]:
    """The parts of a body, none of them much larger than the limit.

    Args:
        body: compressed.
        encoding: as `Content-Encoding` names it.
        limit: bytes from which on the caller takes no more.

    Raises:
        UnsupportedMediaTypeError: the encoding is not known here.
        MalformedBodyError: the body is not of that encoding, breaks off, or goes on behind it.
    """
    require_encoding(encoding)
    return _DECOMPRESSORS[encoding](body, limit)


def require_encoding(encoding: str) -> None:
    """Refuse an encoding that is not known here.

    Args:
        encoding: Value of `Content-Encoding`, in lower case.

    Raises:
        UnsupportedMediaTypeError: If it is not known.
    """
    if encoding not in _DECOMPRESSORS:
        raise UnsupportedMediaTypeError(
            f"expected Content-Encoding: {' or '.join(_DECOMPRESSORS)}, or none; got {encoding[:40]!r}"
        )


def _decompress_gzip(body: bytes, limit: int) -> Iterator[bytes]:
    del limit
    member, members = _new_gzip_decompressor(), 1
    for start in range(0, len(body), GZIP_INPUT_CHUNK_BYTES):
        fed = body[start : start + GZIP_INPUT_CHUNK_BYTES]
        while fed:
            if member.eof:  # one ended where these bytes begin
                member, members = _new_gzip_decompressor(), members + 1
                if members > MAX_GZIP_MEMBERS:
                    _refuse_body("gzip", f"one of more than {MAX_GZIP_MEMBERS} members")
            try:
                part = member.decompress(fed, GZIP_OUTPUT_CHUNK_BYTES)
            except zlib.error as error:
                _refuse_body("gzip", f"other bytes in member {members}: {error}")
            fed = member.unconsumed_tail or member.unused_data
            if part:
                yield part
        if start + GZIP_INPUT_CHUNK_BYTES < len(body):
            yield_to_loop()
    while not member.eof and (part := member.decompress(b"", GZIP_OUTPUT_CHUNK_BYTES)):
        yield part
    if not member.eof:
        _refuse_body("gzip", "one that breaks off")


def _new_gzip_decompressor() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _decompress_zstd(body: bytes, limit: int) -> Iterator[bytes]:
    try:
        if not body.startswith(zstandard.FRAME_HEADER):
            _refuse_body("zstd", "one without a frame of it")
        size = zstandard.frame_content_size(body)
        if 0 <= size <= limit and len(body) <= SMALL_ZSTD_BODY_BYTES:
            unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
            yield unpacker.decompress(body, read_across_frames=False, allow_extra_data=False)
        else:
            # A frame in one segment looks back as far as it is long.
            window = max(MAX_ZSTD_WINDOW_BYTES, size if size <= limit else 0)
            frame = zstandard.ZstdDecompressor(max_window_size=window).decompressobj()
            yield from _decompress_zstd_blocks(
                body, frame, max(MAX_GZIP_MEMBERS, limit // MIN_AVERAGE_ZSTD_BLOCK_BYTES)
            )
    except zstandard.ZstdError as error:
        _refuse_body("zstd", f"another: {error}")


def _decompress_zstd_blocks(
    body: bytes, frame: zstandard.ZstdDecompressionObj, most: int
) -> Iterator[bytes]:
    """Yield the content of a frame, some blocks at a time, of which a block has 128 KiB at most.

    https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.2
    """
    start = 0
    for number, end in enumerate(_find_block_ends(body), 1):
        if number > most:
            _refuse_body("zstd", f"one of more than {most} blocks")
        if number % ZSTD_BLOCKS_PER_STEP == 0 or end >= len(body):
            yield frame.decompress(body[start:end])
            start = end
            if number % ZSTD_BLOCKS_BEFORE_YIELD == 0:
                yield_to_loop()
    if start < len(body):
        yield frame.decompress(body[start:])
    if frame.unused_data:
        _refuse_body("zstd", "bytes behind its frame")
    if not frame.eof:
        _refuse_body("zstd", "one that breaks off")


def _find_block_ends(body: bytes) -> Iterator[int]:
    """Yield where each block of a frame ends, up to the last one that is there."""
    end, is_last = zstandard.frame_header_size(body), False
    while not is_last and end + 3 <= len(body):
        header = int.from_bytes(body[end : end + 3], "little")
        is_last = bool(header & 1)
        # Of a block of one repeated byte the header has the length of the content.
        end += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        yield end


def _refuse_body(encoding: str, came: str) -> NoReturn:
    raise MalformedBodyError(f"expected a whole body in {encoding}; got {came[:120]}")


_DECOMPRESSORS: Mapping[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _decompress_gzip,
    "zstd": _decompress_zstd,
}
