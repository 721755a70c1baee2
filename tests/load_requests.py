"""A load's simplest call: zeros for the digit classifier."""

from urllib.parse import urlsplit

from serving.loadtest.http_client import ServerAddress
from serving.loadtest.run_record import PreparedRequest

BODY = b'{"instances":[[' + b",".join([b"0"] * 64) + b"]]}"
HEAD = b"POST %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n"


def make_call(body=BODY, path=b"/predict", headers=b"", expected=None, fault=lambda _: None):
    head = HEAD % (path, b"Content-Type: application/json\r\n" + headers, len(body))
    return PreparedRequest(head + body, 1, expected, fault)


def make_address(url, **options):
    parts = urlsplit(url)
    return ServerAddress(parts.hostname, parts.port, **options)
