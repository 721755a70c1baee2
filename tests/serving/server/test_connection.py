"""One connection of a real server, spoken to byte by byte."""

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

GOOD = json.dumps({"instances": [[0] * 64]}).encode()
OTHER = json.dumps({"instances": [[8] * 64, [16] * 64]}).encode()


def request(body=GOOD, *, head=b"", line=b"POST /predict HTTP/1.1", length=None):
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


def answer(client):
    response = HTTPResponse(client, method="POST")
    response.begin()
    content = response.read()
    named = {k.lower(): v for k, v in response.getheaders() if k.lower() != "x-request-id"}
    return response.status, named, content


def test_one_connection_answers_many_requests(client):
    found = []
    for body in (GOOD, OTHER, GOOD):
        client.sendall(request(body))
        found.append(answer(client))
    assert [status for status, _, _ in found] == [200] * 3
    assert found[0][2] == found[2][2]
    assert len(json.loads(found[1][2])["predictions"]) == 2
    assert all(headers["connection"] == "keep-alive" for _, headers, _ in found)


def test_bytes_may_come_one_by_one(client):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request():
        client.sendall(bytes([byte]))
    assert answer(client)[0] == 200


def answers(client, count):
    """Status and body of so many answers, which may come in one packet."""
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


def test_requests_may_come_at_once_and_are_answered_in_order(client):
    client.sendall(request(GOOD) + request(OTHER) + request(b"{") + request(GOOD))
    assert answers(client, 4) == [(200, 1), (200, 2), (400, 0), (200, 1)]


# Each makes gunicorn read the request, and changes nothing else.
UNUSUAL = [
    b"X_Odd: 1\r\n",
    b"Expect: 100-continue\r\n",
    b"X-A: 1\r\nX-A: 2\r\n",
    b"TE: trailers\r\n",
]


@pytest.mark.parametrize("head", UNUSUAL)
@pytest.mark.parametrize("body", [GOOD, b"{", b'{"instances": [[1]]}'])
def test_a_plain_and_an_unusual_request_are_answered_alike(head, body, client):
    client.sendall(request(body))
    plain = answer(client)
    client.sendall(request(body, head=head))
    unusual = answer(client)
    for headers in (plain[1], unusual[1]):
        headers.pop("date")
    assert unusual == plain
    client.sendall(request(body))  # and the short way is open again
    assert answer(client)[0] == plain[0]


def test_a_chunked_body_and_one_behind_it_are_both_answered(client):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:7], GOOD[7:]))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    client.sendall(
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n" + request(OTHER)
    )
    assert answers(client, 2) == [(200, 1), (200, 2)]


SMUGGLED = {
    "two lengths": b"Content-Length: 3\r\n",
    "a length and chunks": b"Transfer-Encoding: chunked\r\n",
    "two hosts": b"Host: y\r\n",
    "a space before the colon": b"X-A : 1\r\n",
    "a control sign": b"X-A: \x00\r\n",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_head_of_two_meanings_is_refused_and_the_connection_closed(name, client):
    client.sendall(request(head=SMUGGLED[name]) + request(OTHER))
    status, _, content = answer(client)
    assert status == 400
    assert "expected a well-formed HTTP request" in json.loads(content)["error"]
    assert client.recv(1) == b""


@pytest.mark.parametrize("length", [b"+5", b"-1", b"5, 5", b"0x5", b"", "٣".encode(), b"1_0"])
def test_a_length_that_is_no_number_is_refused(length, client):
    client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
    assert answer(client)[0] == 400
    assert client.recv(1) == b""


def test_a_target_with_escapes_is_unquoted(client):
    client.sendall(request(line=b"POST /%70redict HTTP/1.1"))
    assert answer(client)[0] == 200
    client.sendall(request(line=b"POST /predict?model=%64igits HTTP/1.1"))
    assert answer(client)[0] == 200
    client.sendall(request(line=b"POST /predict?model=digits HTTP/1.1"))
    assert answer(client)[0] == 200


@pytest.mark.parametrize(
    ("line", "head"),
    [(b"POST /predict HTTP/1.1", b"Connection: close\r\n"), (b"POST /predict HTTP/1.0", b"")],
)
def test_a_client_that_wants_no_more_is_let_go(line, head, client):
    client.sendall(request(line=line, head=head))
    status, headers, _ = answer(client)
    assert (status, headers["connection"]) == (200, "close")
    assert client.recv(1) == b""


def test_a_refused_body_is_answered_before_it_is_read(client):
    client.sendall(request(b"", length=1000, line=b"POST /nowhere HTTP/1.1"))
    assert answer(client)[0] == 404  # not a byte of it has been sent
    client.sendall(b"x" * 1000 + request())
    assert answer(client)[0] == 200


def test_a_deadline_holds_for_a_body_that_does_not_come(client):
    client.sendall(request(GOOD[:20], length=len(GOOD), head=b"X-Request-Timeout: 0.3\r\n"))
    status, _, content = answer(client)
    assert status == 504
    assert json.loads(content)["code"] == "deadline_exceeded"


def test_a_length_of_thousands_of_digits_is_refused(client):
    client.sendall(
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"9\r\n\r\n"
    )
    assert answer(client)[0] in (400, 431)


def test_a_client_that_reads_nothing_delays_no_one(shared_server, shipped):
    # Whoever had to wait for one of the deaf would wait for an hour, and longer than a test may.
    server = shared_server(shipped, "--workers", "1", "--request-seconds", "3600")
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"instances": [[0] * 64] * 1500}).encode()
    with ExitStack() as stack:
        unsent = {}
        for _ in range(20):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((host, int(port)))
            deaf.setblocking(False)
            unsent[deaf] = memoryview(request(body) * 8)
        # Until all are as full as they get, or all is sent.
        while writable := select.select([], [deaf for deaf in unsent if unsent[deaf]], [], 0.5)[1]:
            for deaf in writable:
                unsent[deaf] = unsent[deaf][deaf.send(unsent[deaf]) :]
        client = stack.enter_context(socket.create_connection((host, int(port)), timeout=120))
        for _ in range(10):
            client.sendall(request())
            assert answer(client)[0] == 200


def test_without_the_parser_in_c_all_is_answered_the_same(
    client, serve, shipped, tmp_path, monkeypatch
):
    (tmp_path / "gunicorn_h1c.py").write_text("raise ImportError('there is no compiler here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    server = serve(shipped, "--workers", "1")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as other:
        for sent in (request(), request(OTHER), request(b"{"), request(head=b"X-A: 1\r\n")):
            found = []
            for socket_ in (client, other):
                socket_.sendall(sent)
                status, headers, content = answer(socket_)
                headers.pop("date")
                found.append((status, headers, content))
            assert found[0] == found[1]
    assert server.stop() == 0


def test_the_parser_in_c_is_there_where_this_is_tested():
    assert connection.gunicorn_h1c is not None


class Source:
    """A socket that gives at most 3 bytes at a time."""

    def __init__(self, content):
        self.content = content

    def recv(self, size):
        part, self.content = self.content[: min(size, 3)], self.content[min(size, 3) :]
        return part


def test_a_body_ends_where_it_says():
    body = SizedBody(Source(b"defghNEXT"), b"abc", 8)
    assert [body.read(2), body.read(3), body.read(99), body.read()] == [b"ab", b"cde", b"fgh", b""]
    assert (body.missing_bytes, body.following_bytes) == (0, b"")
    assert SizedBody(Source(b""), b"abcNEXT", 3).following_bytes == b"NEXT"


def test_a_body_is_read_in_lines_as_wsgi_demands():
    def body():
        return SizedBody(Source(b"b\nc"), b"a\n", 5)

    assert body().readlines() == [b"a\n", b"b\n", b"c"]
    assert list(body()) == [b"a\n", b"b\n", b"c"]
    once = body()
    assert [once.readline(), once.readline(), once.read()] == [b"a\n", b"b\n", b"c"]


def test_a_body_that_breaks_off_is_short():
    body = SizedBody(Source(b"de"), b"abc", 9)
    assert body.read() == b"abcde"
    assert body.missing_bytes == 4
