"""Which request heads are read directly, and the WSGI environ that results."""

from types import SimpleNamespace

import pytest

from serving.server.request_head import GUNICORN_ONLY_HEADERS, build_base_environ, build_environ

CONFIG = SimpleNamespace(
    errorlog="-", workers=1, is_ssl=False, forwarded_allow_ips=["127.0.0.1"], forwarder_headers=[]
)
HOST, LENGTH = (b"Host", b"example.org:8000"), (b"Content-Length", b"12")
CLIENT, SERVER = ("192.0.2.7", 50123), ("192.0.2.1", 8000)
# Headers by which gunicorn, or a proxy, changes how a request is read or who sent it.
GUNICORN_ONLY = [
    "Transfer-Encoding",
    "Expect",
    "Upgrade",
    "HTTP2-Settings",
    "TE",
    "Trailer",
    "Script-Name",
    "Path-Info",
    "Remote-User",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-SSL",
]


def read(*headers, method=b"POST", target=b"/predict", minor_version=1, server=SERVER):
    lines = [
        b"%s %s HTTP/1.%d" % (method, target, minor_version),
        *(b"%s: %s" % header for header in [HOST, *headers]),
        b"",
        b"",
    ]
    data = b"\r\n".join(lines)
    head = {
        "method": method,
        "path": target,
        "minor_version": minor_version,
        "headers": [HOST, *headers],
        "consumed": len(data),
    }
    return build_environ(head, data, build_base_environ(CONFIG, None, CLIENT, server))


def test_build_environ_plain_post_sets_all_keys():
    target = b"/v2/models/digits/infer?a=b&c=d"
    headers = [LENGTH, (b"content-type", b"application/json"), (b"X-Request-Id", b"\xe9")]
    environ = read(*headers, target=target)
    expected = {
        "REQUEST_METHOD": "POST",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v2/models/digits/infer",
        "QUERY_STRING": "a=b&c=d",
        "RAW_URI": target.decode(),
        "CONTENT_LENGTH": "12",
        "CONTENT_TYPE": "application/json",
        "HTTP_HOST": "example.org:8000",
        "HTTP_X_REQUEST_ID": "é",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "50123",
        "SERVER_NAME": "192.0.2.1",
        "SERVER_PORT": "8000",
        "wsgi.url_scheme": "http",
    }
    assert {name: environ[name] for name in expected} == expected


def test_build_environ_unix_socket_has_name_and_no_port():
    environ = read(LENGTH, server="/run/socket")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("/run/socket", "")


@pytest.mark.parametrize("write", [str, str.lower, str.upper])
@pytest.mark.parametrize("name", GUNICORN_ONLY)
def test_build_environ_header_only_for_gunicorn_returns_none(name, write):
    assert read(LENGTH, (write(name).encode(), b"x")) is None
    assert read(LENGTH, (write(f"{name}s").encode(), b"x")) is not None


def test_gunicorn_only_headers_equal_the_expected_set():
    assert {name.lower().encode() for name in GUNICORN_ONLY} == GUNICORN_ONLY_HEADERS


@pytest.mark.parametrize(
    "request_",
    [
        {"method": b"GET"},
        {"method": b"post"},
        {"minor_version": 0},
        {"target": b"/predict?model=%64igits"},
        {"target": b"/%70redict"},
        {"target": b"/predict#a"},
        {"target": b"http://example.org/predict"},
        {"target": b"*"},
    ],
)
def test_build_environ_other_request_line_returns_none(request_):
    assert read(LENGTH, **request_) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"+5")],
        [(b"Content-Length", "٣".encode())],
        [(b"Content-Length", b"1" * 19)],
        [LENGTH, LENGTH],
        [LENGTH, (b"X_A", b"1")],
        [LENGTH, (b"", b"1")],
        [LENGTH, (b"Host", b"y")],
        [LENGTH, (b"Connection", b"close")],
        [LENGTH, (b"Connection", b"keep-alive, TE")],
    ],
)
def test_build_environ_unusual_headers_returns_none(headers):
    assert read(*headers) is None


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive"])
def test_build_environ_keep_alive_and_18_digits_are_accepted(value):
    assert read(LENGTH, (b"Connection", value)) is not None
    assert read((b"Content-Length", b"1" * 18)) is not None
