"""Malformed and unusual request heads are answered alike with and without the parser in C."""

import json
import socket
from pathlib import Path

import pytest

GOOD = json.dumps({"instances": [[0] * 64]}).encode()
LENGTH = b"Content-Length: %d" % len(GOOD)
TYPE = b"Content-Type: application/json"
HOST = b"Host: x"
HEADERS = (HOST, TYPE, LENGTH)
# A request sent after each head: it must be answered only if the head was not refused.
NEXT = b"GET /healthz?next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(*headers, line=b"POST /predict HTTP/1.1", end=b"\r\n"):
    return end.join([line, *headers, b"", b""])


def target(raw):
    return post(*HEADERS, line=b"POST " + raw + b" HTTP/1.1")


def method(raw):
    return post(*HEADERS, line=raw + b" /predict HTTP/1.1")


def version(raw, *headers):
    return post(*(headers or HEADERS), line=b"POST /predict" + raw)


def length(*lines):
    return post(HOST, TYPE, *lines)


def more(*lines):
    return post(*HEADERS, *lines)


UNUSUAL_HEADS = {
    # name: head, status
    "plain": (post(*HEADERS), 200),
    "no space after a colon": (post(b"Host:x", TYPE, LENGTH), 200),
    "spaces around a value": (more(b"X-A:  \t 1 \t "), 200),
    "an empty value": (more(b"X-A:"), 200),
    "a tab in a value": (more(b"X-A: 1\t2"), 200),
    "a header of any case": (post(b"hOST: x", b"CONTENT-type: application/json", LENGTH), 200),
    "bytes above ASCII in a value": (more(b"X-A: \xc3\xa4\xff"), 200),
    "a leading empty line": (b"\r\n" + post(*HEADERS), 200),
    "two leading empty lines": (b"\r\n\r\n" + post(*HEADERS), 400),
    "a leading bare LF": (b"\n" + post(*HEADERS), 400),
    "a leading space": (b" " + post(*HEADERS), 400),
    "bare LF after every line": (post(*HEADERS, end=b"\n"), 400),
    "bare LF after the request line": (
        b"POST /predict HTTP/1.1\n" + b"\r\n".join([*HEADERS, b"", b""]),
        400,
    ),
    "bare LF after a header": (more(b"X-A: 1\nX-B: 2"), 400),
    "bare LF in the last header": (more(b"X-A: 1\n"), 400),
    "bare LF as the empty line": (b"\r\n".join([b"POST /predict HTTP/1.1", *HEADERS, b"\n"]), 400),
    "bare CR in a value": (more(b"X-A: 1\r2"), 400),
    "bare CR after a header": (more(b"X-A: 1\rX-B: 2"), 400),
    "bare CR in the request line": (target(b"/predict\r"), 400),
    "CR CR LF": (more(b"X-A: 1\r"), 400),
    "NUL in a value": (more(b"X-A: 1\x002"), 400),
    "NUL in a name": (more(b"X\x00A: 1"), 400),
    "NUL in the target": (target(b"/pre\x00dict"), 400),
    "an escape in a value": (more(b"X-A: \x1b[31m"), 400),
    "a vertical tab in a value": (more(b"X-A: 1\x0b2"), 400),
    "DEL in a value": (more(b"X-A: 1\x7f"), 400),
    "an upgrade to WebSocket": (more(b"Connection: Upgrade", b"Upgrade: websocket"), 200),
    "an upgrade to WebSocket of a request that Flask answers": (
        post(
            *HEADERS,
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            line=b"POST /predict?model=digits HTTP/1.1",
        ),
        200,
    ),
    "a continued line": (more(b"X-A: 1", b" 2"), 400),
    "a line continued by a tab": (more(b"X-A: 1", b"\t2"), 400),
    "a continued length": (length(LENGTH, b" 0"), 400),
    "a continued first header": (post(b" X-A: 1", *HEADERS), 400),
    "a space before a colon": (more(b"X-A : 1"), 400),
    "a tab before a colon": (more(b"X-A\t: 1"), 400),
    "a space in a name": (more(b"X A: 1"), 400),
    "an empty name": (more(b": 1"), 400),
    "no colon": (more(b"X-A"), 400),
    "a name above ASCII": (more(b"X-\xc4: 1"), 400),
    "a name with a separator": (more(b"X(A): 1"), 400),
    "an underscore in a name": (more(b"X_A: 1"), 200),
    "an underscore in the length": (length(b"Content_Length: 3", LENGTH), 200),
    "two spaces after the method": (post(*HEADERS, line=b"POST  /predict HTTP/1.1"), 400),
    "two spaces after the target": (post(*HEADERS, line=b"POST /predict  HTTP/1.1"), 400),
    "a space at the end of the line": (post(*HEADERS, line=b"POST /predict HTTP/1.1 "), 400),
    "a tab after the method": (post(*HEADERS, line=b"POST\t/predict HTTP/1.1"), 400),
    "a tab after the target": (post(*HEADERS, line=b"POST /predict\tHTTP/1.1"), 400),
    "a form feed after the target": (post(*HEADERS, line=b"POST /predict\x0cHTTP/1.1"), 400),
    "no target": (post(*HEADERS, line=b"POST HTTP/1.1"), 400),
    "an empty target": (post(*HEADERS, line=b"POST  HTTP/1.1"), 400),
    "no version": (post(*HEADERS, line=b"POST /predict"), 400),
    "an empty method": (method(b""), 400),
    "a lowercase method": (method(b"post"), 400),
    "a method of mixed case": (method(b"Post"), 400),
    "an unknown method": (method(b"BREW"), 405),
    "a method of two letters": (method(b"GO"), 400),
    "a method with a separator": (method(b"PO(ST"), 400),
    "HTTP/1.2": (version(b" HTTP/1.2"), 200),
    "HTTP/1.10": (version(b" HTTP/1.10"), 400),
    "HTTP/0.9": (version(b" HTTP/0.9"), 400),
    "HTTP/2.0": (version(b" HTTP/2.0"), 400),
    "http/1.1": (version(b" http/1.1"), 400),
    "HTTP/1.": (version(b" HTTP/1."), 400),
    "HTTP/1,1": (version(b" HTTP/1,1"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/1.0 without a host": (version(b" HTTP/1.0", TYPE, LENGTH), 200),
    "no host": (post(TYPE, LENGTH), 400),
    "no host, and unusual": (post(TYPE, LENGTH, b"TE: trailers"), 400),
    "no host, and chunks": (post(TYPE, b"Transfer-Encoding: chunked"), 400),
    "an empty host": (post(b"Host:", TYPE, LENGTH), 200),
    "an IPv6 host": (post(b"Host: [::1]:8000", TYPE, LENGTH), 200),
    "a host with an underscore": (post(b"Host: my_server:80", TYPE, LENGTH), 200),
    "a host with a space": (post(b"Host: x y", TYPE, LENGTH), 400),
    "a host with a path": (post(b"Host: x/y", TYPE, LENGTH), 400),
    "a host with a user": (post(b"Host: u@x", TYPE, LENGTH), 400),
    "a list of hosts": (post(b"Host: x, y", TYPE, LENGTH), 400),
    "a host with an empty part": (post(b"Host: x..y", TYPE, LENGTH), 400),
    "a host with a port that is none": (post(b"Host: x:y", TYPE, LENGTH), 400),
    "a host of HTTP/1.0 with a space": (version(b" HTTP/1.0", b"Host: x y", TYPE, LENGTH), 400),
    "two hosts": (more(b"Host: y"), 400),
    "two equal hosts": (more(HOST), 400),
    "two types": (more(TYPE), 400),
    "two equal lengths": (length(LENGTH, LENGTH), 400),
    "two lengths": (length(LENGTH, b"Content-Length: 3"), 400),
    "a list of equal lengths": (length(LENGTH + LENGTH.replace(b"Content-Length:", b",")), 400),
    "a length with spaces around": (length(LENGTH + b"  \t"), 200),
    "a length with zeros before": (length(LENGTH.replace(b": ", b": 000")), 200),
    "a length with a plus": (length(b"Content-Length: +5"), 400),
    "a negative length": (length(b"Content-Length: -5"), 400),
    "a length in hexadecimal": (length(b"Content-Length: 0x5"), 400),
    "a length with an underscore": (length(b"Content-Length: 1_0"), 400),
    "a length with a point": (length(b"Content-Length: 5.0"), 400),
    "a length with a space": (length(b"Content-Length: 1 0"), 400),
    "an empty length": (length(b"Content-Length:"), 400),
    "a superscript length": (length("Content-Length: ²".encode("latin-1")), 400),
    "a length and chunks": (more(b"Transfer-Encoding: chunked"), 400),
    "chunks and a length": (post(HOST, TYPE, b"Transfer-Encoding: chunked", LENGTH), 400),
    "chunks twice": (length(b"Transfer-Encoding: chunked, chunked"), 400),
    "chunks in two headers": (length(*[b"Transfer-Encoding: chunked"] * 2), 400),
    "chunks, then identity": (length(b"Transfer-Encoding: chunked, identity"), 400),
    "identity alone": (length(b"Transfer-Encoding: identity"), 400),
    "gzip alone": (length(b"Transfer-Encoding: gzip"), 400),
    "an unknown coding": (length(b"Transfer-Encoding: xchunked"), 501),
    "an empty coding": (length(b"Transfer-Encoding:"), 501),
    "a coding in quotes": (length(b'Transfer-Encoding: "chunked"'), 501),
    "a coding behind a vertical tab": (length(b"Transfer-Encoding: \x0bchunked"), 400),
    "chunks in HTTP/1.0": (version(b" HTTP/1.0", HOST, TYPE, b"Transfer-Encoding: chunked"), 400),
    "an unknown expectation": (more(b"Expect: 200-ok"), 417),
    "two expectations": (more(b"Expect: 100-continue, x"), 417),
    "an expectation of any case": (more(b"Expect: 100-CONTINUE"), 200),
    "two slashes": (target(b"//predict"), 404),
    "a host as the path": (target(b"//x/predict"), 404),
    "three slashes": (target(b"///predict"), 404),
    "two slashes within": (target(b"/predict//"), 404),
    "two slashes in escapes": (target(b"/%2Fpredict"), 404),
    "a dot": (target(b"/./predict"), 404),
    "a backslash": (target(b"/\\predict"), 404),
    "an absolute target": (target(b"http://x/predict"), 200),
    "an absolute target of another host": (target(b"http://y/predict"), 200),
    "an absolute target without a path": (target(b"http://x"), 405),
    "an absolute target of two slashes": (target(b"http://x//predict"), 404),
    "an asterisk": (target(b"*"), 400),
    "an authority": (target(b"x:80"), 400),
    "no leading slash": (target(b"predict"), 400),
    "a fragment": (target(b"/predict#a"), 200),
    "a byte above ASCII in the target": (target(b"/pr\xc3\xa9dict"), 400),
    "DEL in the target": (target(b"/predict\x7f"), 400),
    "a query of odd signs": (target(b"/predict?{}|"), 400),
    "an unfinished bracket": (target(b"http://[x/predict"), 400),
    "an upgrade": (
        more(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
        ),
        200,
    ),
    "a request line of 8191 bytes": (target(b"/" + b"x" * (8191 - len("POST / HTTP/1.1"))), 414),
    "a request line of 4094 bytes": (target(b"/" + b"x" * (4094 - len("POST / HTTP/1.1"))), 404),
    "a request line of 4095 bytes": (target(b"/" + b"x" * (4095 - len("POST / HTTP/1.1"))), 414),
    "a header of 8190 bytes": (more(b"X-A: " + b"x" * (8190 - len("X-A: \r\n"))), 200),
    "a header of 8191 bytes": (more(b"X-A: " + b"x" * (8191 - len("X-A: \r\n"))), 431),
    "a header of 9000 spaces": (more(b"X-A: " + b" " * 9000 + b"1"), 431),
    "100 headers": (more(*(b"X-%d: 1" % n for n in range(97))), 200),
    "101 headers": (more(*(b"X-%d: 1" % n for n in range(98))), 431),
}


@pytest.fixture(scope="module")
def without_c(shared_server, shipped, tmp_path_factory):
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
def test_unusual_head_answers_are_equal_with_and_without_c_parser(name, live, without_c):
    head, status = UNUSUAL_HEADS[name]
    found = [read_statuses(server, head + GOOD + NEXT) for server in (live, without_c)]
    assert found[0] == found[1]
    is_refused = status in (400, 414, 417, 431, 501) and name != "a query of odd signs"
    closes = is_refused or b"HTTP/1.0" in head
    assert found[0] == ([status] if closes else [status, 200])
