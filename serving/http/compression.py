"""Decompression of request bodies in gzip or zstd, which stops soon after a limit.

A body is decompressed in steps, so that a small one cannot expand to a huge one in memory, and so
that other connections are served in between.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import zstandard

from serving.errors import MalformedBodyError, UnsupportedMediaTypeError
from serving.event_loop import yield_to_loop

# zlib copies the rest of its input at the end of each gzip member; short chunks bound that copy.
GZIP_INPUT_CHUNK_BYTES = 4096
GZIP_OUTPUT_CHUNK_BYTES = 64 * 2**10
MAX_GZIP_MEMBERS = 4096  # Each member needs a new decompressor.
MAX_ZSTD_WINDOW_BYTES = 8 * 2**20  # The window that RFC 8878 asks every decoder to support.
ZSTD_BLOCKS_PER_STEP = 16  # At most 2 MiB of content: a block has at most 128 KiB.
ZSTD_BLOCKS_BEFORE_YIELD = 64
# Largest number of blocks in a zstd body: 4096, or one per 64 bytes of the limit if that is more.
MIN_MAX_ZSTD_BLOCKS, LIMIT_BYTES_PER_ZSTD_BLOCK = 4096, 64
SMALL_ZSTD_BODY_BYTES = 16 * 2**10  # A compressed body up to this length is read in one step.


def decompress(body: bytes, encoding: str, limit: int) -> Iterator[bytes]:
    """Return an iterator over the parts of a decompressed body.

    Args:
        body: The compressed body.
        encoding: Value of `Content-Encoding`, in lower case.
        limit: Largest size that the caller accepts, in bytes. The caller counts the parts and stops
            beyond it; no part is much larger than the limit.

    Raises:
        UnsupportedMediaTypeError: If the encoding is not supported.
        MalformedBodyError: If the body has another encoding, is truncated, or is followed by other
            bytes.
    """
    require_encoding(encoding)
    return _DECOMPRESSORS[encoding](body, limit)


def require_encoding(encoding: str) -> None:
    """Refuse an encoding that is not supported.

    Args:
        encoding: Value of `Content-Encoding`, in lower case.

    Raises:
        UnsupportedMediaTypeError: If the encoding is not supported.
    """
    if encoding not in _DECOMPRESSORS:
        raise UnsupportedMediaTypeError(
            f"expected Content-Encoding: {' or '.join(_DECOMPRESSORS)}, or none; got "
            f"{encoding[:40]!r}"
        )


def _decompress_gzip(body: bytes, limit: int) -> Iterator[bytes]:
    del limit
    member, member_count = _new_gzip_decompressor(), 1
    for start in range(0, len(body), GZIP_INPUT_CHUNK_BYTES):
        rest = body[start : start + GZIP_INPUT_CHUNK_BYTES]
        while rest:
            if member.eof:  # The previous member ended right before `rest`.
                member, member_count = _new_gzip_decompressor(), member_count + 1
                if member_count > MAX_GZIP_MEMBERS:
                    _refuse_body("gzip", f"one of more than {MAX_GZIP_MEMBERS} members")
            try:
                part = member.decompress(rest, GZIP_OUTPUT_CHUNK_BYTES)
            except zlib.error as error:
                _refuse_body("gzip", f"other bytes in member {member_count}: {error}")
            rest = member.unconsumed_tail or member.unused_data
            if part:
                yield part
        if start + GZIP_INPUT_CHUNK_BYTES < len(body):
            yield_to_loop()
    while not member.eof and (part := member.decompress(b"", GZIP_OUTPUT_CHUNK_BYTES)):
        yield part
    if not member.eof:
        _refuse_body("gzip", "a truncated one")


def _new_gzip_decompressor() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _decompress_zstd(body: bytes, limit: int) -> Iterator[bytes]:
    try:
        if not body.startswith(zstandard.FRAME_HEADER):
            _refuse_body("zstd", "one that does not start with a zstd frame")
        size = zstandard.frame_content_size(body)
        if 0 <= size <= limit and len(body) <= SMALL_ZSTD_BODY_BYTES:
            decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
            yield decompressor.decompress(body, read_across_frames=False, allow_extra_data=False)
        else:
            # The window of a single-segment frame is as large as its content.
            window = max(MAX_ZSTD_WINDOW_BYTES, size if size <= limit else 0)
            frame = zstandard.ZstdDecompressor(max_window_size=window).decompressobj()
            max_blocks = max(MIN_MAX_ZSTD_BLOCKS, limit // LIMIT_BYTES_PER_ZSTD_BLOCK)
            yield from _decompress_zstd_blocks(body, frame, max_blocks)
    except zstandard.ZstdError as error:
        _refuse_body("zstd", f"another: {error}")


def _decompress_zstd_blocks(
    body: bytes, frame: zstandard.ZstdDecompressionObj, max_blocks: int
) -> Iterator[bytes]:
    """Yield the content of a frame, `ZSTD_BLOCKS_PER_STEP` blocks at a time.

    https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.2
    """
    start = 0
    for number, end in enumerate(_find_block_ends(body), 1):
        if number > max_blocks:
            _refuse_body("zstd", f"one of more than {max_blocks} blocks")
        if number % ZSTD_BLOCKS_PER_STEP == 0 or end >= len(body):
            yield frame.decompress(body[start:end])
            start = end
            if number % ZSTD_BLOCKS_BEFORE_YIELD == 0:
                yield_to_loop()
    if start < len(body):
        yield frame.decompress(body[start:])
    if frame.unused_data:
        _refuse_body("zstd", "more bytes after its frame")
    if not frame.eof:
        _refuse_body("zstd", "a truncated one")


def _find_block_ends(body: bytes) -> Iterator[int]:
    """Yield the offset after each block of a frame, up to the last block that the body contains."""
    end, is_last = zstandard.frame_header_size(body), False
    while not is_last and end + 3 <= len(body):
        header = int.from_bytes(body[end : end + 3], "little")
        is_last = bool(header & 1)
        # A block of type 1 stores a single byte to repeat; its header gives the repeated length.
        end += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        yield end


def _refuse_body(encoding: str, got: str) -> NoReturn:
    raise MalformedBodyError(f"expected a complete body in {encoding}; got {got[:120]}")


_DECOMPRESSORS: Mapping[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _decompress_gzip,
    "zstd": _decompress_zstd,
}
