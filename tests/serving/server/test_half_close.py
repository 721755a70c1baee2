"""Clients that close their sending side after a request and wait for the answer (RFC 9293, 3.6)."""

import json
import socket
import ssl
import struct
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse

import pytest
import requests

from tests.processes import wait_until

ROW = [0] * 64
TENSOR = {"name": "features", "shape": [1, 64], "datatype": "FP32", "data": ROW}
BODIES = {
    "/predict": {"instances": [ROW]},
    "/predict?model=digits": {"instances": [ROW]},  # as Flask answers it
    "/v1/models/digits:predict": {"instances": [ROW]},
    "/v2/models/digits/infer": {"inputs": [TENSOR]},
}


def connect(server):
    host, port = server.url.partition("://")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def encode(path, body, *, is_chunked=False, extra=b""):
    content = json.dumps(body).encode()
    framing = b"Content-Length: %d" % len(content)
    if is_chunked:
        framing = b"Transfer-Encoding: chunked"
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b\r\n%b\r\n%b" % (
        path.encode(),
        framing,
        extra,
        content,
    )


def answer_of(client):
    response = HTTPResponse(client, method="POST")
    response.begin()
    content = response.read()
    return response.status, content


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_half_closed_client_gets_its_answer_from_every_route(path, is_chunked, live):
    for _ in range(10):
        with connect(live) as client:
            client.sendall(encode(path, BODIES[path], is_chunked=is_chunked))
            client.shutdown(socket.SHUT_WR)
            status, content = answer_of(client)
            assert status == 200, content
            assert client.recv(1) == b""  # nothing more can come, so it is closed


def test_half_closed_clients_get_their_answers_from_a_joint_run(shared_server, shipped):
    server = shared_server(
        shipped, "--workers", "1", "--max-delay", "0.2", "--max-batch-rows", "64"
    )

    def ask(_):
        with connect(server) as client:
            client.sendall(encode("/predict", BODIES["/predict"]))
            client.shutdown(socket.SHUT_WR)
            return answer_of(client)[0]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(24))) == {200}


def test_half_closed_client_gets_the_answer_to_a_request_of_many_rows(live):
    rows = {"instances": [ROW] * 3000}  # run by themselves, a slice at a time
    with connect(live) as client:
        client.sendall(encode("/predict", rows))
        client.shutdown(socket.SHUT_WR)
        status, content = answer_of(client)
    assert status == 200
    assert len(json.loads(content)["predictions"]) == 3000


def test_half_closed_client_gets_all_answers_to_requests_it_sent_at_once(live):
    with connect(live) as client:
        client.sendall(encode("/predict", BODIES["/predict"]) * 3)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(2**16), b""))
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 3


@pytest.mark.parametrize("is_chunked", [False, True])
def test_half_closed_client_with_half_a_body_is_told_so(is_chunked, live):
    with connect(live) as client:
        client.sendall(encode("/predict", BODIES["/predict"], is_chunked=is_chunked)[:-20])
        client.shutdown(socket.SHUT_WR)
        response = HTTPResponse(client, method="POST")
        response.begin()
        content = response.read()
        assert (response.status, response.headers["Connection"]) == (400, "close")
        assert json.loads(content)["code"] == "incomplete_body"
        assert client.recv(1) == b""


def test_half_closed_client_of_tls_gets_its_answer(shared_server, shipped, certificate):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    trusted = ssl.create_default_context(cafile=str(cert))
    with connect(server) as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusted.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")

        def run(step):
            """Take a step of TLS, with what it has to send and to receive."""
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = None
                if pending := outgoing.read():
                    plain.sendall(pending)
                if result is not None:
                    return result
                received = plain.recv(2**16)
                incoming.write(received) if received else incoming.write_eof()

        run(lambda: client.do_handshake() or True)
        run(lambda: client.write(encode("/predict", BODIES["/predict"])))
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()  # close_notify; the server's own comes with its answer
        plain.sendall(outgoing.read())
        plain.shutdown(socket.SHUT_WR)
        raw = b"".join(iter(lambda: plain.recv(2**16), b""))
        incoming.write(raw)
        assert client.read(2**16).startswith(b"HTTP/1.1 200 OK\r\n")


def gone(server):
    text = requests.get(f"{server.url}/metrics", timeout=120).text
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("forwardpass_requests_total{") and 'code="499"' in line
    )


def test_rows_of_a_client_that_reset_its_connection_are_not_run(shared_server, shipped):
    server = shared_server(
        shipped, "--workers", "1", "--max-delay", "0.2", "--max-batch-rows", "64"
    )
    before = gone(server)

    def reset():
        """Ask, and reset the connection, while the row waits for others; is it left out?"""
        with connect(server) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(encode("/predict", BODIES["/predict"]))
            requests.get(f"{server.url}/healthz", timeout=120)  # so the request has been read
        return gone(server) > before

    wait_until(reset)
