"""One connection of a real server, over a raw socket."""

import json
import select
import socket
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest

from serving.server import connection
from serving.server.request_body import SizedBody
from tests.conftest import Server

ONE_ROW = json.dumps({"instances": [[0] * 64]}).encode()
TWO_ROWS = json.dumps({"instances": [[8] * 64, [16] * 64]}).encode()


def encode_request(body=ONE_ROW, *, head=b"", line=b"POST /predict HTTP/1.1", length=None):
    length = len(body) if length is None else length
    return (
        line + b"\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%s\r\n" % (length, head) + body
    )


@pytest.fixture
def client(live: Server):
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as client:
        yield client


def read_answer(client):
    response = HTTPResponse(client, method="POST")
    response.begin()
    content = response.read()
    named = {k.lower(): v for k, v in response.getheaders() if k.lower() != "x-request-id"}
    return response.status, named, content


def test_connection_many_requests_are_all_answered(client):
    found = []
    for body in (ONE_ROW, TWO_ROWS, ONE_ROW):
        client.sendall(encode_request(body))
        found.append(read_answer(client))
    assert [status for status, _, _ in found] == [200] * 3
    assert found[0][2] == found[2][2]
    assert len(json.loads(found[1][2])["predictions"]) == 2
    assert all(headers["connection"] == "keep-alive" for _, headers, _ in found)


def test_connection_bytes_arrive_singly_is_answered(client):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in encode_request():
        client.sendall(bytes([byte]))
    assert read_answer(client)[0] == 200


def read_answers(client, count):
    """Return status and number of predictions of each answer; they may arrive in one packet."""
    found = []
    with client.makefile("rb") as stream:
        for _ in range(count):
            status, length = int(stream.readline().split()[1]), 0
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            content = json.loads(stream.read(length))
            found.append((status, len(content.get("predictions", []))))
    return found


def test_connection_pipelined_requests_are_answered_in_order(client):
    client.sendall(
        encode_request(ONE_ROW)
        + encode_request(TWO_ROWS)
        + encode_request(b"{")
        + encode_request(ONE_ROW)
    )
    assert read_answers(client, 4) == [(200, 1), (200, 2), (400, 0), (200, 1)]


# Each sends the request through gunicorn's parser in Python, and changes nothing else.
GUNICORN_HEADERS = [
    b"X_Odd: 1\r\n",
    b"Expect: 100-continue\r\n",
    b"X-A: 1\r\nX-A: 2\r\n",
    b"TE: trailers\r\n",
]


@pytest.mark.parametrize("head", GUNICORN_HEADERS)
@pytest.mark.parametrize("body", [ONE_ROW, b"{", b'{"instances": [[1]]}'])
def test_connection_direct_and_gunicorn_path_answer_alike(head, body, client):
    client.sendall(encode_request(body))
    plain = read_answer(client)
    client.sendall(encode_request(body, head=head))
    unusual = read_answer(client)
    for headers in (plain[1], unusual[1]):
        headers.pop("date")
    assert unusual == plain
    client.sendall(encode_request(body))  # the direct path works again
    assert read_answer(client)[0] == plain[0]


def test_connection_chunked_body_followed_by_request_answers_both(client):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (ONE_ROW[:7], ONE_ROW[7:]))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    client.sendall(
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
        + encode_request(TWO_ROWS)
    )
    assert read_answers(client, 2) == [(200, 1), (200, 2)]


AMBIGUOUS_HEADERS = {
    "two lengths": b"Content-Length: 3\r\n",
    "a length and chunks": b"Transfer-Encoding: chunked\r\n",
    "two hosts": b"Host: y\r\n",
    "a space before the colon": b"X-A : 1\r\n",
    "a control character": b"X-A: \x00\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS_HEADERS)
def test_connection_ambiguous_head_answers_400_and_closes(name, client):
    client.sendall(encode_request(head=AMBIGUOUS_HEADERS[name]) + encode_request(TWO_ROWS))
    status, _, content = read_answer(client)
    assert status == 400
    assert "expected a well-formed HTTP request" in json.loads(content)["error"]
    assert client.recv(1) == b""


@pytest.mark.parametrize("length", [b"+5", b"-1", b"5, 5", b"0x5", b"", "٣".encode(), b"1_0"])
def test_connection_content_length_invalid_answers_400(length, client):
    client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
    assert read_answer(client)[0] == 400
    assert client.recv(1) == b""


def test_connection_percent_encoded_target_is_decoded(client):
    client.sendall(encode_request(line=b"POST /%70redict HTTP/1.1"))
    assert read_answer(client)[0] == 200
    client.sendall(encode_request(line=b"POST /predict?model=%64igits HTTP/1.1"))
    assert read_answer(client)[0] == 200
    client.sendall(encode_request(line=b"POST /predict?model=digits HTTP/1.1"))
    assert read_answer(client)[0] == 200


@pytest.mark.parametrize(
    ("line", "head"),
    [(b"POST /predict HTTP/1.1", b"Connection: close\r\n"), (b"POST /predict HTTP/1.0", b"")],
)
def test_connection_client_asks_to_close_is_closed(line, head, client):
    client.sendall(encode_request(line=line, head=head))
    status, headers, _ = read_answer(client)
    assert (status, headers["connection"]) == (200, "close")
    assert client.recv(1) == b""


def test_connection_unknown_path_is_answered_before_body(client):
    client.sendall(encode_request(b"", length=1000, line=b"POST /nowhere HTTP/1.1"))
    assert read_answer(client)[0] == 404  # no byte of the body has been sent
    client.sendall(b"x" * 1000 + encode_request())
    assert read_answer(client)[0] == 200


def test_connection_body_missing_at_deadline_answers_504(client):
    client.sendall(
        encode_request(ONE_ROW[:20], length=len(ONE_ROW), head=b"X-Request-Timeout: 0.3\r\n")
    )
    status, _, content = read_answer(client)
    assert status == 504
    assert json.loads(content)["code"] == "deadline_exceeded"


def test_connection_content_length_of_5001_digits_is_refused(client):
    client.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"9\r\n\r\n"
    )
    assert read_answer(client)[0] in (400, 431)


def test_connection_clients_that_do_not_read_do_not_delay_others(shared_server, shipped):
    # Waiting for one of the clients that do not read would take an hour, longer than a test may.
    server = shared_server(shipped, "--workers", "1", "--request-seconds", "3600")
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"instances": [[0] * 64] * 1500}).encode()
    with ExitStack() as stack:
        unsent = {}
        for _ in range(20):
            stalled = stack.enter_context(socket.socket())
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((host, int(port)))
            stalled.setblocking(False)
            unsent[stalled] = memoryview(encode_request(body) * 8)
        # Until no socket takes more bytes, or all are sent.
        while writable := select.select(
            [], [stalled for stalled in unsent if unsent[stalled]], [], 0.5
        )[1]:
            for stalled in writable:
                unsent[stalled] = unsent[stalled][stalled.send(unsent[stalled]) :]
        client = stack.enter_context(socket.create_connection((host, int(port)), timeout=120))
        for _ in range(10):
            client.sendall(encode_request())
            assert read_answer(client)[0] == 200


def test_connection_without_c_parser_answers_are_equal(
    client, serve, shipped, tmp_path, monkeypatch
):
    (tmp_path / "gunicorn_h1c.py").write_text("raise ImportError('there is no compiler here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    server = serve(shipped, "--workers", "1")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as other:
        for sent in (
            encode_request(),
            encode_request(TWO_ROWS),
            encode_request(b"{"),
            encode_request(head=b"X-A: 1\r\n"),
        ):
            found = []
            for socket_ in (client, other):
                socket_.sendall(sent)
                status, headers, content = read_answer(socket_)
                headers.pop("date")
                found.append((status, headers, content))
            assert found[0] == found[1]
    assert server.stop() == 0


def test_gunicorn_h1c_is_installed():
    assert connection.gunicorn_h1c is not None


class ThreeByteSocket:
    """A socket that returns at most 3 bytes per read."""

    def __init__(self, content):
        self.content = content

    def recv(self, size):
        part, self.content = self.content[: min(size, 3)], self.content[min(size, 3) :]
        return part


def test_sized_body_read_ends_at_its_length():
    body = SizedBody(ThreeByteSocket(b"defghNEXT"), b"abc", 8)
    assert [body.read(2), body.read(3), body.read(99), body.read()] == [b"ab", b"cde", b"fgh", b""]
    assert (body.missing_bytes, body.following_bytes) == (0, b"")
    assert SizedBody(ThreeByteSocket(b""), b"abcNEXT", 3).following_bytes == b"NEXT"


def test_sized_body_lines_follow_wsgi():
    def body():
        return SizedBody(ThreeByteSocket(b"b\nc"), b"a\n", 5)

    assert body().readlines() == [b"a\n", b"b\n", b"c"]
    assert list(body()) == [b"a\n", b"b\n", b"c"]
    once = body()
    assert [once.readline(), once.readline(), once.read()] == [b"a\n", b"b\n", b"c"]


def test_sized_body_client_disconnects_read_is_short():
    body = SizedBody(ThreeByteSocket(b"de"), b"abc", 9)
    assert body.read() == b"abcde"
    assert body.missing_bytes == 4
