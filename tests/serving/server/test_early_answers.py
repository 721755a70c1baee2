"""Answers sent before the body has been read reach clients that are still sending it."""

import json
import shutil
import socket
from http.client import HTTPConnection, HTTPResponse

import pytest

from serving.http.key_file import generate_key

ONE_ROW = json.dumps({"instances": [[0] * 64]}).encode()
LARGE_BODY = bytes(9 * 10**6)
JSON = {"Content-Type": "application/json"}
LENGTH = b"Content-Length: %d" % len(ONE_ROW)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def get_address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@pytest.fixture(scope="module")
def server_with_keys(shared_server, shipped, tmp_path_factory):
    """A server that requires API keys and whose queue is always full, and a key for prediction."""
    key, line = generate_key("someone", "predict")
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"{line}\n")
    # The queue time is shorter than any turn of the event loop.
    options = ("--workers", "1", "--keys", str(keys), "--queue-seconds", "1e-9")
    return shared_server(shipped, *options), key


# Path and headers of requests, by the status of their answer; the second group needs API keys.
REFUSED_BY_STATUS = {
    400: ("/predict", JSON | {"X-Request-Timeout": "never"}),
    404: ("/nowhere", JSON),
    405: ("/healthz", JSON),
    413: ("/v2/repository/index", JSON),
    415: ("/predict", {"Content-Type": "text/plain"}),
}
REFUSED_WITH_KEYS = {
    401: ("/predict", JSON),
    403: ("/v2/repository/models/digits/load", JSON | {"X-API-Key": "{key}"}),
    503: ("/predict", JSON | {"X-API-Key": "{key}"}),
}
FRAMINGS = {
    "read by the parser in C": {},
    "read by the parser in Python": {"TE": "trailers"},
    "chunked": {"Transfer-Encoding": "chunked"},
}


def split_into_chunks(content):
    for start in range(0, len(content), 2**16):
        yield content[start : start + 2**16]


def assert_refused(server, path, headers, status, framing):
    headers = headers | FRAMINGS[framing]
    for _ in range(3):
        connection = HTTPConnection(*get_address(server), timeout=120)
        is_chunked = framing == "chunked"
        connection.request(
            "POST",
            path,
            split_into_chunks(LARGE_BODY) if is_chunked else LARGE_BODY,
            headers,
            encode_chunked=is_chunked,
        )
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (status, "close")
        assert "error" in json.loads(response.read())
        if status == 503:
            assert response.headers["Retry-After"] == "1"
        connection.close()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("status", REFUSED_BY_STATUS)
def test_early_answer_client_still_sending_receives_it(status, framing, live):
    path, headers = REFUSED_BY_STATUS[status]
    assert_refused(live, path, headers, status, framing)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("status", REFUSED_WITH_KEYS)
def test_early_answer_with_api_keys_client_still_sending_receives_it(
    status, framing, server_with_keys
):
    server, key = server_with_keys
    path, headers = REFUSED_WITH_KEYS[status]
    headers = {name: value.format(key=key) for name, value in headers.items()}
    assert_refused(server, path, headers, status, framing)


# Heads that gunicorn itself refuses, before the application is called, and their status.
MALFORMED = {
    b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A : 1\r\nContent-Length: 9000000\r\n\r\n": 400,
    b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n": 501,
    b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A: " + b"x" * 10_000 + b"\r\n\r\n": 431,
    b"POST /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n": 414,
    b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: x\r\nContent-Length: 9000000\r\n\r\n": 417,
    b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\nnot a size\r\n": 400,
}


@pytest.mark.parametrize(("head", "status"), MALFORMED.items(), ids=lambda part: repr(part)[:50])
def test_early_answer_malformed_request_client_still_sending_receives_it(head, status, live):
    for _ in range(3):
        with socket.create_connection(get_address(live), timeout=120) as client:
            client.sendall(head + LARGE_BODY)
            response = HTTPResponse(client, method="POST")
            response.begin()
            assert (response.status, response.headers["Connection"]) == (status, "close")
            assert "error" in json.loads(response.read())
            assert client.recv(1) == b""


@pytest.mark.parametrize("options", [[], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]])
@pytest.mark.parametrize("size", [2, 9])
def test_early_answer_curl_receives_it(size, options, server_with_keys, processes, tmp_path):
    server, key = server_with_keys
    body = tmp_path / "body"
    body.write_bytes(bytes(size * 10**6))
    for status, sent in ((401, []), (503, ["-H", f"X-API-Key: {key}"])):
        done = processes.run(
            [
                shutil.which("curl"),
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                *options,
                *sent,
                "-H",
                "Content-Type: application/json",
                "--data-binary",
                f"@{body}",
                f"{server.url}/predict",
            ]
        )
        assert (done.returncode, done.stdout) == (0, str(status)), done.stderr


def encode_head(*, path=b"/predict", media=b"application/json", framing=LENGTH):
    return (
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\n%b\r\nExpect: 100-continue\r\n\r\n"
        % (path, media, framing)
    )


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    "path", [b"/predict", b"/predict?model=digits", b"/v1/models/digits:predict"]
)
def test_expect_continue_is_sent_when_body_is_read(path, is_chunked, live):
    framing, body = LENGTH, ONE_ROW
    if is_chunked:
        framing, body = (
            b"Transfer-Encoding: chunked",
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(ONE_ROW), ONE_ROW),
        )
    with socket.create_connection(get_address(live), timeout=120) as client:
        for _ in range(2):  # the connection is kept, too
            client.sendall(encode_head(path=path, framing=framing))
            received = b""
            while len(received) < len(CONTINUE):
                received += client.recv(len(CONTINUE) - len(received))
            assert received == CONTINUE
            client.sendall(body)
            response = HTTPResponse(client, method="POST")
            response.begin()
            assert response.status == 200
            response.read()


REFUSED_BY_HEAD = {
    "above the limit": (encode_head(framing=b"Content-Length: 99999999"), 413),
    "a wrong type": (encode_head(media=b"text/html"), 415),
    "an unknown URL": (encode_head(path=b"/nowhere"), 404),
    "an unknown model": (encode_head(path=b"/v2/models/none/infer"), 404),
    "a method that is not allowed": (encode_head(path=b"/healthz"), 405),
    "an unknown encoding": (encode_head(media=b"application/json\r\nContent-Encoding: br"), 415),
    "an invalid X-Request-Timeout": (
        encode_head(media=b"application/json\r\nX-Request-Timeout: x"),
        400,
    ),
    "a chunked body of a wrong type": (
        encode_head(media=b"text/html", framing=b"Transfer-Encoding: chunked"),
        415,
    ),
}


@pytest.mark.parametrize("name", REFUSED_BY_HEAD)
def test_expect_continue_refused_by_head_is_not_sent(name, live):
    sent, status = REFUSED_BY_HEAD[name]
    assert_refused_without_continue(live, sent, status)


def test_expect_continue_refused_by_api_keys_is_not_sent(server_with_keys):
    server, key = server_with_keys
    assert_refused_without_continue(server, encode_head(), 401)
    with_key = b"application/json\r\nX-API-Key: " + key.encode()
    assert_refused_without_continue(server, encode_head(media=with_key), 503)


def assert_refused_without_continue(server, sent, status):
    with socket.create_connection(get_address(server), timeout=120) as client:
        client.sendall(sent)
        received = b"".join(iter(lambda: client.recv(2**16), b""))
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"100 Continue" not in received
    # The server cannot know whether the body will follow.
    assert b"Connection: close\r\n" in received


def test_expect_continue_body_sent_at_once_is_not_sent(live):
    with socket.create_connection(get_address(live), timeout=120) as client:
        client.sendall(encode_head() + ONE_ROW)
        response = HTTPResponse(client, method="POST")
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["predictions"]


def test_expect_continue_get_is_not_sent(live):
    with socket.create_connection(get_address(live), timeout=120) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(2**16).startswith(b"HTTP/1.1 200 ")
