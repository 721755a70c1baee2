"""Compressed request bodies: decompressed completely, up to the limit and not beyond it."""

import gzip
import io
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import (
    BodyTooLargeError,
    MalformedBodyError,
    ServingError,
    UnsupportedMediaTypeError,
)
from serving.http import compression
from serving.http.body_limits import BodyMemory, read_body
from tests.fuzzing import examples
from tests.growth import cpu_seconds

LIMIT = 2**20
CONTENT = b"a row of numbers, " * 20_000


def compress_zstd_in_steps(content):
    """Compress without a content size in the frame's header."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(content) + compressor.flush()


COMPRESSORS = {
    # The second is a body of two members.
    "gzip": [gzip.compress, lambda c: gzip.compress(c[:9]) + gzip.compress(c[9:])],
    "zstd": [zstandard.ZstdCompressor().compress, compress_zstd_in_steps],
}
CASES = [
    (encoding, compress) for encoding, functions in COMPRESSORS.items() for compress in functions
]


def decompress_body(content, encoding, limit=LIMIT):
    """Read a request body as the server does."""
    return read_body(
        {
            "wsgi.input": io.BytesIO(content),
            "CONTENT_LENGTH": str(len(content)),
            "HTTP_CONTENT_ENCODING": encoding,
        },
        limit,
        BodyMemory(),
    )


@pytest.mark.parametrize(("encoding", "compress"), CASES)
@pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(LIMIT)])
def test_decompress_compressed_body_returns_the_original(encoding, compress, content):
    assert decompress_body(compress(content), encoding) == content
    assert decompress_body(compress(content), f" {encoding.upper()} ") == content


@pytest.mark.parametrize(("size", "yields"), [(4096, 0), (4097, 1), (3 * 4096, 2), (50_000, 12)])
def test_decompress_gzip_yields_to_the_loop_after_each_4096_bytes_but_the_last(
    size, yields, rng, monkeypatch
):
    yielded = []
    monkeypatch.setattr(compression, "yield_to_loop", lambda: yielded.append(1))
    body = gzip.compress(rng.bytes(size), 0)[:size]  # Level 0 stores the bytes and adds a few.
    with pytest.raises(MalformedBodyError, match="got a truncated one"):
        b"".join(compression.decompress(body, "gzip", LIMIT))
    assert len(yielded) == yields


@pytest.mark.parametrize("encoding", ["identity", ""])
def test_read_body_identity_encoding_returns_the_body(encoding):
    assert decompress_body(b"as it is", encoding) == b"as it is"


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "compress"])
def test_read_body_unsupported_encoding_is_refused(encoding):
    with pytest.raises(UnsupportedMediaTypeError, match="expected Content-Encoding: gzip or zstd"):
        decompress_body(b"x", encoding)


@pytest.mark.parametrize(("encoding", "compress"), CASES)
@pytest.mark.parametrize("size", [LIMIT + 1, 40 * LIMIT])
def test_decompress_bomb_is_refused_before_it_expands(encoding, compress, size):
    bomb = compress(bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError, match=f"at most {LIMIT} bytes; got more once"):
            decompress_body(bomb, encoding)
        assert tracemalloc.get_traced_memory()[1] < 6 * LIMIT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "compress"), CASES)
def test_decompress_truncated_extended_or_other_body_is_refused(encoding, compress):
    whole = compress(CONTENT)
    for cut in (1, 4, len(whole) // 2, len(whole) - 1):
        with pytest.raises(MalformedBodyError, match=f"expected a complete body in {encoding}"):
            decompress_body(whole[:-cut], encoding)
    with pytest.raises(MalformedBodyError, match=f"expected a complete body in {encoding}"):
        decompress_body(whole + b"rubbish", encoding)
    with pytest.raises(MalformedBodyError, match=f"expected a complete body in {encoding}"):
        decompress_body(b"rubbish", encoding)


def test_decompress_gzip_of_too_many_members_is_refused_at_a_constant_cost():
    def prepare_refusal(count):
        body = gzip.compress(b"") * count

        def refuse():
            with pytest.raises(MalformedBodyError, match="of more than 4096 members"):
                decompress_body(body, "gzip")

        return refuse

    prepare_refusal(LIMIT // 20)()
    # Members after the last allowed one must cost nothing.
    assert cpu_seconds(prepare_refusal(LIMIT // 20)) < 4 * cpu_seconds(prepare_refusal(5000))


@examples(200)
@given(st.data())
def test_decompress_damaged_body_is_read_up_to_the_limit_or_refused(data):
    encoding, compress = data.draw(st.sampled_from(CASES))
    body = bytearray(compress(CONTENT[:300]))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(decompress_body(bytes(body), encoding, 1000)) <= 1000
    except ServingError as error:
        assert error.status in (400, 413)


@pytest.mark.parametrize(
    "body",
    [b"", b"PK\x03\x04", gzip.compress(b"x"), b"\x50\x2a\x4d\x18\0\0\0\0"],
    ids=["nothing", "a ZIP file", "gzip", "a skippable frame"],
)
def test_decompress_zstd_body_without_a_frame_is_refused(body):
    with pytest.raises(
        MalformedBodyError, match="in zstd; got one that does not start with a zstd frame"
    ):
        decompress_body(body, "zstd")


@pytest.mark.parametrize("count", [4096, 4097])
def test_decompress_zstd_of_too_many_blocks_is_refused(count):
    # A frame with a window of 1 KiB and no content size, and raw blocks of one byte each, the last
    # of which is marked: https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1.
    blocks = [
        (1 << 3 | (index == count - 1)).to_bytes(3, "little") + b"x" for index in range(count)
    ]
    body = b"\x28\xb5\x2f\xfd\0\0" + b"".join(blocks)
    if count == 4096:
        assert decompress_body(body, "zstd", 2**18) == b"x" * count
    else:
        with pytest.raises(MalformedBodyError, match="in zstd; got one of more than 4096 blocks"):
            decompress_body(body, "zstd", 2**18)
