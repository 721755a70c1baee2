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
    "/predict?model=digits": {"instances": [ROW]},  # answered by Flask instead of the fast path
    "/v1/models/digits:predict": {"instances": [ROW]},
    "/v2/models/digits/infer": {"inputs": [TENSOR]},
}


def open_connection(server):
    host, port = server.url.partition("://")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def encode_request(path, body, *, is_chunked=False, extra=b""):
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


def read_answer(client):
    response = HTTPResponse(client, method="POST")
    response.begin()
    content = response.read()
    return response.status, content


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("path", BODIES)
def test_half_close_every_route_answers(path, is_chunked, live):
    for _ in range(10):
        with open_connection(live) as client:
            client.sendall(encode_request(path, BODIES[path], is_chunked=is_chunked))
            client.shutdown(socket.SHUT_WR)
            status, content = read_answer(client)
            assert status == 200, content
            assert client.recv(1) == b""  # the server closes, since no further request can come


def test_half_close_batched_requests_are_answered(shared_server, shipped):
    server = shared_server(
        shipped, "--workers", "1", "--max-delay", "0.2", "--max-batch-rows", "64"
    )

    def ask(_):
        with open_connection(server) as client:
            client.sendall(encode_request("/predict", BODIES["/predict"]))
            client.shutdown(socket.SHUT_WR)
            return read_answer(client)[0]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(24))) == {200}


def test_half_close_request_of_many_rows_is_answered(live):
    rows = {"instances": [ROW] * 3000}  # too many for a batch: run alone, in slices
    with open_connection(live) as client:
        client.sendall(encode_request("/predict", rows))
        client.shutdown(socket.SHUT_WR)
        status, content = read_answer(client)
    assert status == 200
    assert len(json.loads(content)["predictions"]) == 3000


def test_half_close_pipelined_requests_are_all_answered(live):
    with open_connection(live) as client:
        client.sendall(encode_request("/predict", BODIES["/predict"]) * 3)
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(2**16), b""))
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 3


@pytest.mark.parametrize("is_chunked", [False, True])
def test_half_close_body_incomplete_answers_400(is_chunked, live):
    with open_connection(live) as client:
        client.sendall(encode_request("/predict", BODIES["/predict"], is_chunked=is_chunked)[:-20])
        client.shutdown(socket.SHUT_WR)
        response = HTTPResponse(client, method="POST")
        response.begin()
        content = response.read()
        assert (response.status, response.headers["Connection"]) == (400, "close")
        assert json.loads(content)["code"] == "incomplete_body"
        assert client.recv(1) == b""


def test_half_close_tls_client_is_answered(shared_server, shipped, certificate):
    cert, key = certificate
    server = shared_server(
        shipped, "--workers", "1", "--tls-cert", str(cert), "--tls-key", str(key)
    )
    trusted = ssl.create_default_context(cafile=str(cert))
    with open_connection(server) as plain:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusted.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")

        def run(step):
            """Do one step of TLS, with all sending and receiving that it needs."""
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
        run(lambda: client.write(encode_request("/predict", BODIES["/predict"])))
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()  # sends close_notify; the server sends its own after the answer
        plain.sendall(outgoing.read())
        plain.shutdown(socket.SHUT_WR)
        raw = b"".join(iter(lambda: plain.recv(2**16), b""))
        incoming.write(raw)
        assert client.read(2**16).startswith(b"HTTP/1.1 200 OK\r\n")


def count_disconnected_requests(server):
    text = requests.get(f"{server.url}/metrics", timeout=120).text
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("forwardpass_requests_total{") and 'code="499"' in line
    )


def test_batching_client_resets_connection_drops_its_rows(shared_server, shipped):
    server = shared_server(
        shipped, "--workers", "1", "--max-delay", "0.2", "--max-batch-rows", "64"
    )
    before = count_disconnected_requests(server)

    def reset():
        """Reset a connection whose row is queued; return whether its row was dropped."""
        with open_connection(server) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(encode_request("/predict", BODIES["/predict"]))
            requests.get(f"{server.url}/healthz", timeout=120)  # by then the request has been read
        return count_disconnected_requests(server) > before

    wait_until(reset)
