"""Compressed bodies: unpacked whole, up to the limit and not beyond."""

import gzip
import io
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from serving.codec import compression
from serving.errors import (
    BodyTooLargeError,
    MalformedBodyError,
    ServingError,
    UnsupportedMediaTypeError,
)
from serving.http.body_limits import read_body
from tests.fuzzing import examples
from tests.growth import cpu_seconds

LIMIT = 2**20
CONTENT = b"a row of numbers, " * 20_000


def zstd_in_steps(content):
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(content) + compressor.flush()


PACKED = {
    "gzip": [gzip.compress, lambda c: gzip.compress(c[:9]) + gzip.compress(c[9:])],
    "zstd": [zstandard.ZstdCompressor().compress, zstd_in_steps],
}
WAYS = [(encoding, pack) for encoding, packs in PACKED.items() for pack in packs]


def read(content, encoding, limit=LIMIT):
    return read_body(
        {
            "wsgi.input": io.BytesIO(content),
            "CONTENT_LENGTH": str(len(content)),
            "HTTP_CONTENT_ENCODING": encoding,
        },
        limit,
    )


@pytest.mark.parametrize(("encoding", "pack"), WAYS)
@pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(LIMIT)])
def test_a_packed_body_is_what_it_was(encoding, pack, content):
    assert read(pack(content), encoding) == content
    assert read(pack(content), f" {encoding.upper()} ") == content


@pytest.mark.parametrize(("size", "turns"), [(4096, 0), (4097, 1), (3 * 4096, 2), (50_000, 12)])
def test_gunzip_gives_way_after_each_4096_bytes_but_the_last(size, turns, rng, monkeypatch):
    given_way = []
    monkeypatch.setattr(compression, "yield_to_loop", lambda: given_way.append(1))
    body = gzip.compress(rng.bytes(size), 0)[:size]  # stored, and a few bytes longer
    with pytest.raises(MalformedBodyError, match="breaks off"):
        b"".join(compression.decompress(body, "gzip", LIMIT))
    assert len(given_way) == turns


@pytest.mark.parametrize("encoding", ["identity", ""])
def test_no_encoding_is_none(encoding):
    assert read(b"as it is", encoding) == b"as it is"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "compress"])
def test_other_encodings_are_refused_by_name(encoding):
    with pytest.raises(UnsupportedMediaTypeError, match="expected Content-Encoding: gzip or zstd"):
        read(b"x", encoding)


@pytest.mark.parametrize(("encoding", "pack"), WAYS)
@pytest.mark.parametrize("size", [LIMIT + 1, 40 * LIMIT])
def test_a_bomb_is_refused_before_it_is_unpacked(encoding, pack, size):
    bomb = pack(bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError, match=f"at most {LIMIT} bytes; got more once"):
            read(bomb, encoding)
        assert tracemalloc.get_traced_memory()[1] < 6 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "pack"), WAYS)
def test_a_body_that_breaks_off_or_goes_on_is_refused(encoding, pack):
    whole = pack(CONTENT)
    for cut in (1, 4, len(whole) // 2, len(whole) - 1):
        with pytest.raises(MalformedBodyError, match=f"expected a whole body in {encoding}"):
            read(whole[:-cut], encoding)
    with pytest.raises(MalformedBodyError, match=f"expected a whole body in {encoding}"):
        read(whole + b"rubbish", encoding)
    with pytest.raises(MalformedBodyError, match=f"expected a whole body in {encoding}"):
        read(b"rubbish", encoding)


def test_very_many_members_are_refused_in_no_time():
    def refuse(count):
        body = gzip.compress(b"") * count

        def read_it():
            with pytest.raises(MalformedBodyError, match="of more than 4096 members"):
                read(body, "gzip")

        return read_it

    refuse(LIMIT // 20)()
    # Those behind the last that is read cost nothing.
    assert cpu_seconds(refuse(LIMIT // 20)) < 4 * cpu_seconds(refuse(5000))


@examples(200)
@given(st.data())
def test_a_damaged_body_is_whole_or_refused(data):
    encoding, pack = data.draw(st.sampled_from(WAYS))
    body = bytearray(pack(CONTENT[:300]))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(read(bytes(body), encoding, 1000)) <= 1000
    except ServingError as error:
        assert error.status in (400, 413)


@pytest.mark.parametrize(
    "body",
    [b"", b"PK\x03\x04", gzip.compress(b"x"), b"\x50\x2a\x4d\x18\0\0\0\0"],
    ids=["nothing", "a ZIP file", "gzip", "a skippable frame"],
)
def test_body_that_begins_with_no_frame_of_zstd_is_refused_by_that(body):
    with pytest.raises(MalformedBodyError, match="in zstd; got one without a frame of it"):
        read(body, "zstd")


@pytest.mark.parametrize("count", [4096, 4097])
def test_zstd_of_more_blocks_than_the_limit_has_room_for_is_refused(count):
    # https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1: a window of 1 KiB, no size said,
    # and blocks of a byte as it is, the last of which says so.
    blocks = [
        (1 << 3 | (place == count - 1)).to_bytes(3, "little") + b"x" for place in range(count)
    ]
    body = b"\x28\xb5\x2f\xfd\0\0" + b"".join(blocks)
    if count == 4096:
        assert read(body, "zstd", 2**18) == b"x" * count
    else:
        with pytest.raises(MalformedBodyError, match="in zstd; got one of more than 4096 blocks"):
            read(body, "zstd", 2**18)
