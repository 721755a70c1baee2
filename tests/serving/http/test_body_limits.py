"""Reading a body from whatever stream a server gives."""

import io

import pytest

from serving.errors import (
    BodyTooLargeError,
    IncompleteBodyError,
    OverloadedError,
    UnsupportedMediaTypeError,
)
from serving.http import body_limits as bodies
from serving.http.body_limits import read_body

LIMIT = 10


class Drip(io.BytesIO):
    """A stream that gives at most 3 bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 3) if size >= 0 else 3)


def request(content, *, declared=None, terminated=False, stream=io.BytesIO):
    environ = {"wsgi.input": stream(content)}
    if declared is not None:
        environ["CONTENT_LENGTH"] = str(declared)
    if terminated:
        environ["wsgi.input_terminated"] = True
    return environ


@pytest.mark.parametrize("stream", [io.BytesIO, Drip])
@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_a_body_up_to_the_limit_is_read_whole(size, stream):
    content = bytes(range(size))
    assert read_body(request(content, declared=size, stream=stream), LIMIT) == content
    assert read_body(request(content, terminated=True, stream=stream), LIMIT) == content


@pytest.mark.parametrize("stream", [io.BytesIO, Drip])
def test_read_body_over_the_limit_is_refused_and_read_no_further(stream):
    for options, read in (({"declared": 99}, {0}), ({"terminated": True}, {11, 12})):
        over = request(bytes(99), stream=stream, **options)
        with pytest.raises(BodyTooLargeError, match="at most 10 bytes; got"):
            read_body(over, LIMIT)
        assert over["wsgi.input"].tell() in read


def test_read_body_of_unknown_encoding_is_refused_unread():
    other = request(b"0123456789", declared=10)
    other["HTTP_CONTENT_ENCODING"] = "br"
    with pytest.raises(UnsupportedMediaTypeError, match="expected Content-Encoding: gzip or zstd"):
        read_body(other, LIMIT)
    assert other["wsgi.input"].tell() == 0


def test_bytes_of_the_next_request_are_left_alone():
    first = request(b"0123456789", declared=4)
    assert read_body(first, LIMIT) == b"0123"
    assert first["wsgi.input"].read() == b"456789"


def test_nothing_announced_is_nothing_read():
    silent = request(b"surprise")
    assert read_body(silent, LIMIT) == b""
    assert silent["wsgi.input"].tell() == 0


def test_a_body_that_breaks_off_is_named():
    with pytest.raises(IncompleteBodyError, match="got 3 of 9 bytes"):
        read_body(request(b"abc", declared=9), LIMIT)


def test_a_lost_client_is_no_internal_error():
    class Lost(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("connection reset by peer")

    with pytest.raises(IncompleteBodyError, match="connection reset by peer"):
        read_body(request(b"", declared=9, stream=Lost), LIMIT)


def hold(content, budget):
    """Read a body of an announced megabyte, of which only the content comes while others watch."""
    seen = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            seen.append(budget.held_bytes)
            return super().read(size)

    with pytest.raises(IncompleteBodyError):
        read_body(request(content, declared=2**20, stream=Watched), 2**20)
    return seen


def test_only_what_has_come_counts_as_held(monkeypatch):
    budget = bodies.BodyMemory()
    monkeypatch.setattr(bodies, "_body_memory", budget)
    assert set(hold(b"", budget)) == {0}
    assert max(hold(bytes(2**19), budget)) == 2**19
    assert budget.held_bytes == 0


def test_more_than_there_is_room_for_is_refused_and_let_go(monkeypatch):
    budget = bodies.BodyMemory()
    monkeypatch.setattr(bodies, "_body_memory", budget)
    budget.held_bytes = others = bodies.MAX_LARGE_BODIES * 2**20 - 2**18
    assert read_body(request(bytes(2**18), declared=2**18), 2**20) == bytes(2**18)
    for options in ({"declared": 2**19}, {"terminated": True}):
        with pytest.raises(OverloadedError, match="fewer large bodies at the same time"):
            read_body(request(bytes(2**19), **options), 2**20)
    assert budget.held_bytes == others


def test_a_long_body_is_read_in_many_turns(monkeypatch):
    turns = []
    monkeypatch.setattr(bodies, "yield_to_loop", lambda: turns.append(1))
    read_body(request(bytes(2**20), declared=2**20), 2**20)
    assert len(turns) == 2**20 // bodies.MAX_READ_BYTES - 1
    turns.clear()
    read_body(request(bytes(2**20), terminated=True), 2**20)
    assert len(turns) == 2**20 // bodies.MAX_CHUNKED_READ_BYTES
    turns.clear()
    read_body(request(bytes(100), terminated=True), 2**20)
    assert not turns
