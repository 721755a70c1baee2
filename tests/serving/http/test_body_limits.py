"""Reading a request body from any stream that a WSGI server may provide."""

import io

import pytest

from serving.errors import (
    BodyTooLargeError,
    IncompleteBodyError,
    OverloadedError,
    UnsupportedMediaTypeError,
)
from serving.http import body_limits
from serving.http.body_limits import BodyMemory

LIMIT = 10


def read_body(environ, limit=LIMIT, memory=None):
    return body_limits.read_body(environ, limit, memory or BodyMemory())


class SlowStream(io.BytesIO):
    """A stream whose reads return at most 3 bytes."""

    def read(self, size=-1):
        return super().read(min(size, 3) if size >= 0 else 3)


def build_environ(content, *, declared=None, terminated=False, stream=io.BytesIO):
    environ = {"wsgi.input": stream(content)}
    if declared is not None:
        environ["CONTENT_LENGTH"] = str(declared)
    if terminated:
        environ["wsgi.input_terminated"] = True
    return environ


@pytest.mark.parametrize("stream", [io.BytesIO, SlowStream])
@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_read_body_up_to_the_limit_is_read_whole(size, stream):
    content = bytes(range(size))
    assert read_body(build_environ(content, declared=size, stream=stream)) == content
    assert read_body(build_environ(content, terminated=True, stream=stream)) == content


@pytest.mark.parametrize("stream", [io.BytesIO, SlowStream])
def test_read_body_over_the_limit_is_refused_without_reading_on(stream):
    for options, read in (({"declared": 99}, {0}), ({"terminated": True}, {11, 12})):
        over = build_environ(bytes(99), stream=stream, **options)
        with pytest.raises(BodyTooLargeError, match="at most 10 bytes; got"):
            read_body(over)
        assert over["wsgi.input"].tell() in read


def test_read_body_unknown_encoding_is_refused_unread():
    other = build_environ(b"0123456789", declared=10)
    other["HTTP_CONTENT_ENCODING"] = "br"
    with pytest.raises(UnsupportedMediaTypeError, match="expected Content-Encoding: gzip or zstd"):
        read_body(other)
    assert other["wsgi.input"].tell() == 0


def test_read_body_leaves_bytes_of_the_next_request():
    first = build_environ(b"0123456789", declared=4)
    assert read_body(first) == b"0123"
    assert first["wsgi.input"].read() == b"456789"


def test_read_body_without_length_reads_nothing():
    silent = build_environ(b"surprise")
    assert read_body(silent) == b""
    assert silent["wsgi.input"].tell() == 0


def test_read_body_ends_too_early_raises_incomplete_body():
    with pytest.raises(IncompleteBodyError, match="got 3 of 9 bytes"):
        read_body(build_environ(b"abc", declared=9))


def test_read_body_client_disconnects_raises_incomplete_body():
    class Lost(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("connection reset by peer")

    with pytest.raises(IncompleteBodyError, match="connection reset by peer"):
        read_body(build_environ(b"", declared=9, stream=Lost))


def record_held_bytes(content, memory):
    """Read a body that is declared as 1 MiB and ends after `content`.

    Returns:
        The number of bytes that were counted as held before each read.
    """
    seen = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            seen.append(memory.held_bytes)
            return super().read(size)

    with pytest.raises(IncompleteBodyError):
        read_body(build_environ(content, declared=2**20, stream=Watched), 2**20, memory)
    return seen


def test_body_memory_counts_only_received_bytes():
    memory = BodyMemory()
    assert set(record_held_bytes(b"", memory)) == {0}
    assert max(record_held_bytes(bytes(2**19), memory)) == 2**19
    assert memory.held_bytes == 0


def test_body_memory_over_the_limit_is_refused_and_released():
    memory = BodyMemory()
    memory.held_bytes = others = body_limits.MAX_LARGE_BODIES * 2**20 - 2**18
    environ = build_environ(bytes(2**18), declared=2**18)
    assert read_body(environ, 2**20, memory) == bytes(2**18)
    for options in ({"declared": 2**19}, {"terminated": True}):
        with pytest.raises(OverloadedError, match="fewer large bodies at the same time"):
            read_body(build_environ(bytes(2**19), **options), 2**20, memory)
    assert memory.held_bytes == others


def test_read_body_long_body_yields_to_the_loop(monkeypatch):
    turns = []
    monkeypatch.setattr(body_limits, "yield_to_loop", lambda: turns.append(1))
    read_body(build_environ(bytes(2**20), declared=2**20), 2**20)
    assert len(turns) == 2**20 // body_limits.MAX_READ_BYTES - 1
    turns.clear()
    read_body(build_environ(bytes(2**20), terminated=True), 2**20)
    assert len(turns) == 2**20 // body_limits.MAX_CHUNKED_READ_BYTES
    turns.clear()
    read_body(build_environ(bytes(100), terminated=True), 2**20)
    assert not turns
