"""Reading a body from whatever stream a server gives."""

import io

import pytest
from flask import Flask, Request

from serving import guard
from serving.errors import BodyTooLargeError, IncompleteBodyError
from serving.guard import read_body


class Drip(io.BytesIO):
    """A stream that gives at most 3 bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 3) if size >= 0 else 3)


def request(content, *, declared=None, terminated=False, limit=10, stream=io.BytesIO):
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = limit
    environ = {"wsgi.input": stream(content), "REQUEST_METHOD": "POST", "wsgi.url_scheme": "http"}
    if declared is not None:
        environ["CONTENT_LENGTH"] = str(declared)
    if terminated:
        environ["wsgi.input_terminated"] = True
    made = Request(environ)
    made.max_content_length = limit
    return made


@pytest.mark.parametrize("stream", [io.BytesIO, Drip])
@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_a_body_up_to_the_limit_is_read_whole(size, stream):
    content = bytes(range(size))
    assert read_body(request(content, declared=size, stream=stream)) == content
    assert read_body(request(content, terminated=True, stream=stream)) == content


@pytest.mark.parametrize("stream", [io.BytesIO, Drip])
def test_a_body_over_the_limit_is_refused_and_drained(stream):
    for options in ({"declared": 99}, {"terminated": True}):
        over = request(bytes(99), stream=stream, **options)
        with pytest.raises(BodyTooLargeError, match="at most 10 bytes; got"):
            read_body(over)
        assert over.environ["wsgi.input"].tell() == 99


def test_an_endless_body_is_not_drained_for_ever(monkeypatch):
    monkeypatch.setattr(guard, "DRAINED_AT_MOST", 100)
    endless = request(bytes(1000), terminated=True)
    with pytest.raises(BodyTooLargeError, match="got more"):
        read_body(endless)
    assert endless.environ["wsgi.input"].tell() <= 111


def test_bytes_of_the_next_request_are_left_alone():
    first = request(b"0123456789", declared=4)
    assert read_body(first) == b"0123"
    assert first.environ["wsgi.input"].read() == b"456789"


def test_nothing_announced_is_nothing_read():
    silent = request(b"surprise")
    assert read_body(silent) == b""
    assert silent.environ["wsgi.input"].tell() == 0


def test_a_body_that_breaks_off_is_named():
    with pytest.raises(IncompleteBodyError, match="got 3 of 9 bytes"):
        read_body(request(b"abc", declared=9))


def test_a_lost_client_is_no_internal_error():
    class Lost(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("connection reset by peer")

    with pytest.raises(IncompleteBodyError, match="connection reset by peer"):
        read_body(request(b"", declared=9, stream=Lost))
