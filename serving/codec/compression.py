"""Compression: bodies that came smaller than they are, never unpacked beyond a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import zstandard

from serving.errors import MalformedBodyError, UnsupportedMediaTypeError
from serving.event_loop import give_way

FED = 4096  # bytes of a gzip body at a time: what is left of them may be copied at each member
MEMBERS = 4096  # of a gzip body, at most: each costs a decompressor of its own
CHUNK = 64 * 2**10  # bytes that a step unpacks to, at most
WINDOW = 8 * 2**20  # bytes that zstd may look back; RFC 8878 asks of decoders no more
BLOCKS_A_STEP, BLOCKS_A_TURN = 16, 64  # of zstd; 16 have no more than 2 MiB of content
BYTES_A_BLOCK = 64  # of the largest body: of more and smaller blocks a body is refused
SMALL = 16 * 2**10  # bytes of a body that zstd unpacks in one step


def unpacked(body: bytes, encoding: str, limit: int) -> Iterator[bytes]:
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
    return _UNPACK[encoding](body, limit)


def require_encoding(encoding: str) -> None:
    """Refuse an encoding that is not known here.

    Args:
        encoding: Value of `Content-Encoding`, in lower case.

    Raises:
        UnsupportedMediaTypeError: If it is not known.
    """
    if encoding not in _UNPACK:
        raise UnsupportedMediaTypeError(
            f"expected Content-Encoding: {' or '.join(_UNPACK)}, or none; got {encoding[:40]!r}"
        )


def _gunzip(body: bytes, limit: int) -> Iterator[bytes]:
    del limit
    member, members = _member(), 1
    for start in range(0, len(body), FED):
        fed = body[start : start + FED]
        while fed:
            if member.eof:  # one ended where these bytes begin
                member, members = _member(), members + 1
                if members > MEMBERS:
                    _refuse("gzip", f"one of more than {MEMBERS} members")
            try:
                part = member.decompress(fed, CHUNK)
            except zlib.error as error:
                _refuse("gzip", f"other bytes in member {members}: {error}")
            fed = member.unconsumed_tail or member.unused_data
            if part:
                yield part
        if start + FED < len(body):
            give_way()
    while not member.eof and (part := member.decompress(b"", CHUNK)):
        yield part
    if not member.eof:
        _refuse("gzip", "one that breaks off")


def _member() -> zlib._Decompress:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)


def _unzstd(body: bytes, limit: int) -> Iterator[bytes]:
    try:
        if not body.startswith(zstandard.FRAME_HEADER):
            _refuse("zstd", "one without a frame of it")
        size = zstandard.frame_content_size(body)
        if 0 <= size <= limit and len(body) <= SMALL:
            unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW)
            yield unpacker.decompress(body, read_across_frames=False, allow_extra_data=False)
        else:
            # A frame in one segment looks back as far as it is long.
            window = max(WINDOW, size if size <= limit else 0)
            frame = zstandard.ZstdDecompressor(max_window_size=window).decompressobj()
            yield from _unzstd_in_steps(body, frame, max(MEMBERS, limit // BYTES_A_BLOCK))
    except zstandard.ZstdError as error:
        _refuse("zstd", f"another: {error}")


def _unzstd_in_steps(
    body: bytes, frame: zstandard.ZstdDecompressionObj, most: int
) -> Iterator[bytes]:
    """Yield the content of a frame, some blocks at a time, of which a block has 128 KiB at most.

    https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.2
    """
    start = 0
    for number, end in enumerate(_block_ends(body), 1):
        if number > most:
            _refuse("zstd", f"one of more than {most} blocks")
        if number % BLOCKS_A_STEP == 0 or end >= len(body):
            yield frame.decompress(body[start:end])
            start = end
            if number % BLOCKS_A_TURN == 0:
                give_way()
    if start < len(body):
        yield frame.decompress(body[start:])
    if frame.unused_data:
        _refuse("zstd", "bytes behind its frame")
    if not frame.eof:
        _refuse("zstd", "one that breaks off")


def _block_ends(body: bytes) -> Iterator[int]:
    """Yield where each block of a frame ends, up to the last one that is there."""
    end, is_last = zstandard.frame_header_size(body), False
    while not is_last and end + 3 <= len(body):
        header = int.from_bytes(body[end : end + 3], "little")
        is_last = bool(header & 1)
        # Of a block of one repeated byte the header has the length of the content.
        end += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        yield end


def _refuse(encoding: str, came: str) -> NoReturn:
    raise MalformedBodyError(f"expected a whole body in {encoding}; got {came[:120]}")


_UNPACK: Mapping[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _gunzip,
    "zstd": _unzstd,
}
