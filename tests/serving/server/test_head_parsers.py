"""Malformed and unusual request heads are answered alike with and without the parser in C."""

import json
import socket
from pathlib import Path

import pytest

ONE_ROW = json.dumps({"instances": [[0] * 64]}).encode()
LENGTH = b"Content-Length: %d" % len(ONE_ROW)
TYPE = b"Content-Type: application/json"
HOST = b"Host: x"
HEADERS = (HOST, TYPE, LENGTH)
# A request sent after each head: it must be answered only if the head was not refused.
NEXT_REQUEST = b"GET /healthz?next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def make_head(*headers, line=b"POST /predict HTTP/1.1", end=b"\r\n"):
    return end.join([line, *headers, b"", b""])


def with_target(raw):
    return make_head(*HEADERS, line=b"POST " + raw + b" HTTP/1.1")


def with_method(raw):
    return make_head(*HEADERS, line=raw + b" /predict HTTP/1.1")


def with_version(raw, *headers):
    return make_head(*(headers or HEADERS), line=b"POST /predict" + raw)


def with_length(*lines):
    return make_head(HOST, TYPE, *lines)


def with_headers(*lines):
    return make_head(*HEADERS, *lines)


UNUSUAL_HEADS = {
    # Description: the head, and the status of the answer with either parser.
    "plain": (make_head(*HEADERS), 200),
    "no space after a colon": (make_head(b"Host:x", TYPE, LENGTH), 200),
    "spaces around a value": (with_headers(b"X-A:  \t 1 \t "), 200),
    "an empty value": (with_headers(b"X-A:"), 200),
    "a tab in a value": (with_headers(b"X-A: 1\t2"), 200),
    "a header of any case": (make_head(b"hOST: x", b"CONTENT-type: application/json", LENGTH), 200),
    "bytes above ASCII in a value": (with_headers(b"X-A: \xc3\xa4\xff"), 200),
    "a leading empty line": (b"\r\n" + make_head(*HEADERS), 200),
    "two leading empty lines": (b"\r\n\r\n" + make_head(*HEADERS), 400),
    "a leading bare LF": (b"\n" + make_head(*HEADERS), 400),
    "a leading space": (b" " + make_head(*HEADERS), 400),
    "bare LF after every line": (make_head(*HEADERS, end=b"\n"), 400),
    "bare LF after the request line": (
        b"POST /predict HTTP/1.1\n" + b"\r\n".join([*HEADERS, b"", b""]),
        400,
    ),
    "bare LF after a header": (with_headers(b"X-A: 1\nX-B: 2"), 400),
    "bare LF in the last header": (with_headers(b"X-A: 1\n"), 400),
    "bare LF as the empty line": (b"\r\n".join([b"POST /predict HTTP/1.1", *HEADERS, b"\n"]), 400),
    "bare CR in a value": (with_headers(b"X-A: 1\r2"), 400),
    "bare CR after a header": (with_headers(b"X-A: 1\rX-B: 2"), 400),
    "bare CR in the request line": (with_target(b"/predict\r"), 400),
    "CR CR LF": (with_headers(b"X-A: 1\r"), 400),
    "NUL in a value": (with_headers(b"X-A: 1\x002"), 400),
    "NUL in a name": (with_headers(b"X\x00A: 1"), 400),
    "NUL in the target": (with_target(b"/pre\x00dict"), 400),
    "an escape in a value": (with_headers(b"X-A: \x1b[31m"), 400),
    "a vertical tab in a value": (with_headers(b"X-A: 1\x0b2"), 400),
    "DEL in a value": (with_headers(b"X-A: 1\x7f"), 400),
    "an upgrade to WebSocket": (with_headers(b"Connection: Upgrade", b"Upgrade: websocket"), 200),
    "an upgrade to WebSocket of a request that Flask answers": (
        make_head(
            *HEADERS,
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            line=b"POST /predict?model=digits HTTP/1.1",
        ),
        200,
    ),
    "a continued line": (with_headers(b"X-A: 1", b" 2"), 400),
    "a line continued by a tab": (with_headers(b"X-A: 1", b"\t2"), 400),
    "a continued length": (with_length(LENGTH, b" 0"), 400),
    "a continued first header": (make_head(b" X-A: 1", *HEADERS), 400),
    "a space before a colon": (with_headers(b"X-A : 1"), 400),
    "a tab before a colon": (with_headers(b"X-A\t: 1"), 400),
    "a space in a name": (with_headers(b"X A: 1"), 400),
    "an empty name": (with_headers(b": 1"), 400),
    "no colon": (with_headers(b"X-A"), 400),
    "a name above ASCII": (with_headers(b"X-\xc4: 1"), 400),
    "a name with a separator": (with_headers(b"X(A): 1"), 400),
    "an underscore in a name": (with_headers(b"X_A: 1"), 200),
    "an underscore in the length": (with_length(b"Content_Length: 3", LENGTH), 200),
    "two spaces after the method": (make_head(*HEADERS, line=b"POST  /predict HTTP/1.1"), 400),
    "two spaces after the target": (make_head(*HEADERS, line=b"POST /predict  HTTP/1.1"), 400),
    "a space at the end of the line": (make_head(*HEADERS, line=b"POST /predict HTTP/1.1 "), 400),
    "a tab after the method": (make_head(*HEADERS, line=b"POST\t/predict HTTP/1.1"), 400),
    "a tab after the target": (make_head(*HEADERS, line=b"POST /predict\tHTTP/1.1"), 400),
    "a form feed after the target": (make_head(*HEADERS, line=b"POST /predict\x0cHTTP/1.1"), 400),
    "no target": (make_head(*HEADERS, line=b"POST HTTP/1.1"), 400),
    "an empty target": (make_head(*HEADERS, line=b"POST  HTTP/1.1"), 400),
    "no version": (make_head(*HEADERS, line=b"POST /predict"), 400),
    "an empty method": (with_method(b""), 400),
    "a lowercase method": (with_method(b"post"), 400),
    "a method of mixed case": (with_method(b"Post"), 400),
    "an unknown method": (with_method(b"BREW"), 405),
    "a method of two letters": (with_method(b"GO"), 400),
    "a method with a separator": (with_method(b"PO(ST"), 400),
    "HTTP/1.2": (with_version(b" HTTP/1.2"), 200),
    "HTTP/1.10": (with_version(b" HTTP/1.10"), 400),
    "HTTP/0.9": (with_version(b" HTTP/0.9"), 400),
    "HTTP/2.0": (with_version(b" HTTP/2.0"), 400),
    "http/1.1": (with_version(b" http/1.1"), 400),
    "HTTP/1.": (with_version(b" HTTP/1."), 400),
    "HTTP/1,1": (with_version(b" HTTP/1,1"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/1.0 without a host": (with_version(b" HTTP/1.0", TYPE, LENGTH), 200),
    "no host": (make_head(TYPE, LENGTH), 400),
    "no host, and unusual": (make_head(TYPE, LENGTH, b"TE: trailers"), 400),
    "no host, and chunks": (make_head(TYPE, b"Transfer-Encoding: chunked"), 400),
    "an empty host": (make_head(b"Host:", TYPE, LENGTH), 200),
    "an IPv6 host": (make_head(b"Host: [::1]:8000", TYPE, LENGTH), 200),
    "a host with an underscore": (make_head(b"Host: my_server:80", TYPE, LENGTH), 200),
    "a host with a space": (make_head(b"Host: x y", TYPE, LENGTH), 400),
    "a host with a path": (make_head(b"Host: x/y", TYPE, LENGTH), 400),
    "a host with a user": (make_head(b"Host: u@x", TYPE, LENGTH), 400),
    "a list of hosts": (make_head(b"Host: x, y", TYPE, LENGTH), 400),
    "a host with an empty part": (make_head(b"Host: x..y", TYPE, LENGTH), 400),
    "a host with an invalid port": (make_head(b"Host: x:y", TYPE, LENGTH), 400),
    "a host of HTTP/1.0 with a space": (
        with_version(b" HTTP/1.0", b"Host: x y", TYPE, LENGTH),
        400,
    ),
    "two hosts": (with_headers(b"Host: y"), 400),
    "two equal hosts": (with_headers(HOST), 400),
    "two types": (with_headers(TYPE), 400),
    "two equal lengths": (with_length(LENGTH, LENGTH), 400),
    "two lengths": (with_length(LENGTH, b"Content-Length: 3"), 400),
    "a list of equal lengths": (
        with_length(LENGTH + LENGTH.replace(b"Content-Length:", b",")),
        400,
    ),
    "a length with spaces around": (with_length(LENGTH + b"  \t"), 200),
    "a length with zeros before": (with_length(LENGTH.replace(b": ", b": 000")), 200),
    "a length with a plus": (with_length(b"Content-Length: +5"), 400),
    "a negative length": (with_length(b"Content-Length: -5"), 400),
    "a length in hexadecimal": (with_length(b"Content-Length: 0x5"), 400),
    "a length with an underscore": (with_length(b"Content-Length: 1_0"), 400),
    "a length with a point": (with_length(b"Content-Length: 5.0"), 400),
    "a length with a space": (with_length(b"Content-Length: 1 0"), 400),
    "an empty length": (with_length(b"Content-Length:"), 400),
    "a superscript length": (with_length("Content-Length: ²".encode("latin-1")), 400),
    "a length and chunks": (with_headers(b"Transfer-Encoding: chunked"), 400),
    "chunks and a length": (make_head(HOST, TYPE, b"Transfer-Encoding: chunked", LENGTH), 400),
    "chunks twice": (with_length(b"Transfer-Encoding: chunked, chunked"), 400),
    "chunks in two headers": (with_length(*[b"Transfer-Encoding: chunked"] * 2), 400),
    "chunks, then identity": (with_length(b"Transfer-Encoding: chunked, identity"), 400),
    "identity alone": (with_length(b"Transfer-Encoding: identity"), 400),
    "gzip alone": (with_length(b"Transfer-Encoding: gzip"), 400),
    "an unknown coding": (with_length(b"Transfer-Encoding: xchunked"), 501),
    "an empty coding": (with_length(b"Transfer-Encoding:"), 501),
    "a coding in quotes": (with_length(b'Transfer-Encoding: "chunked"'), 501),
    "a coding after a vertical tab": (with_length(b"Transfer-Encoding: \x0bchunked"), 400),
    "chunks in HTTP/1.0": (
        with_version(b" HTTP/1.0", HOST, TYPE, b"Transfer-Encoding: chunked"),
        400,
    ),
    "an unknown expectation": (with_headers(b"Expect: 200-ok"), 417),
    "two expectations": (with_headers(b"Expect: 100-continue, x"), 417),
    "an expectation of any case": (with_headers(b"Expect: 100-CONTINUE"), 200),
    "two slashes": (with_target(b"//predict"), 404),
    "a host as the path": (with_target(b"//x/predict"), 404),
    "three slashes": (with_target(b"///predict"), 404),
    "two slashes within": (with_target(b"/predict//"), 404),
    "two slashes in escapes": (with_target(b"/%2Fpredict"), 404),
    "a dot": (with_target(b"/./predict"), 404),
    "a backslash": (with_target(b"/\\predict"), 404),
    "an absolute target": (with_target(b"http://x/predict"), 200),
    "an absolute target of another host": (with_target(b"http://y/predict"), 200),
    "an absolute target without a path": (with_target(b"http://x"), 405),
    "an absolute target of two slashes": (with_target(b"http://x//predict"), 404),
    "an asterisk": (with_target(b"*"), 400),
    "an authority": (with_target(b"x:80"), 400),
    "no leading slash": (with_target(b"predict"), 400),
    "a fragment": (with_target(b"/predict#a"), 200),
    "a byte above ASCII in the target": (with_target(b"/pr\xc3\xa9dict"), 400),
    "DEL in the target": (with_target(b"/predict\x7f"), 400),
    "a query of unusual characters": (with_target(b"/predict?{}|"), 400),
    "an unfinished bracket": (with_target(b"http://[x/predict"), 400),
    "an upgrade": (
        with_headers(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        ),
        200,
    ),
    "a request line of 8191 bytes": (
        with_target(b"/" + b"x" * (8191 - len("POST / HTTP/1.1"))),
        414,
    ),
    "a request line of 4094 bytes": (
        with_target(b"/" + b"x" * (4094 - len("POST / HTTP/1.1"))),
        404,
    ),
    "a request line of 4095 bytes": (
        with_target(b"/" + b"x" * (4095 - len("POST / HTTP/1.1"))),
        414,
    ),
    "a header of 8190 bytes": (with_headers(b"X-A: " + b"x" * (8190 - len("X-A: \r\n"))), 200),
    "a header of 8191 bytes": (with_headers(b"X-A: " + b"x" * (8191 - len("X-A: \r\n"))), 431),
    "a header of 9000 spaces": (with_headers(b"X-A: " + b" " * 9000 + b"1"), 431),
    "100 headers": (with_headers(*(b"X-%d: 1" % n for n in range(97))), 200),
    "101 headers": (with_headers(*(b"X-%d: 1" % n for n in range(98))), 431),
}


@pytest.fixture(scope="module")
def server_without_c_parser(shared_server, shipped, tmp_path_factory):
    """A server without `gunicorn_h1c`, as on a machine without a compiler."""
    folder = tmp_path_factory.mktemp("no_compiler")
    (folder / "gunicorn_h1c.py").write_text("raise ImportError('there is no compiler here')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}:{Path.cwd()}")
        # Servers are shared by their arguments, so these must differ from those of `live`.
        return shared_server(shipped, "--workers", "1", "--log-sample", "0.02")


def read_statuses(server, sent):
    """Return the status of every answer until the connection is closed."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as client:
        client.sendall(sent)
        received = b"".join(iter(lambda: client.recv(2**16), b""))
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        found.append(int(lines[0].split()[1]))
        if found[-1] >= 200:
            fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
            received = received[int(fields[b"content-length"]) :]
    return found


@pytest.mark.parametrize("name", UNUSUAL_HEADS)
def test_unusual_head_answers_are_equal_with_and_without_c_parser(
    name, live, server_without_c_parser
):
    head, status = UNUSUAL_HEADS[name]
    found = [
        read_statuses(server, head + ONE_ROW + NEXT_REQUEST)
        for server in (live, server_without_c_parser)
    ]
    assert found[0] == found[1]
    is_refused = status in (400, 414, 417, 431, 501) and name != "a query of unusual characters"
    closes = is_refused or b"HTTP/1.0" in head
    assert found[0] == ([status] if closes else [status, 200])
