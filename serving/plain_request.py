"""A plain request: its environ, and its body as a stream.

Plain is a POST with nothing unusual in its head; gunicorn reads every other.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from typing import Any

from gunicorn.http import wsgi

from serving.observe.front import WORKER

MOST_READ = 2**20  # bytes of one read of a body
WASTED = 64 * 2**10  # the same of one that no one wants
TARGET = re.compile(rb"(/[A-Za-z0-9_.~:/-]*)(?:\?([A-Za-z0-9_.~:/=&-]*))?")
# These change how a request is read, or who sent it: gunicorn's to judge.
UNUSUAL = {
    b"transfer-encoding", b"expect", b"upgrade", b"http2-settings", b"te", b"trailer",
    b"script-name", b"path-info", b"remote-user",
    b"x-forwarded-proto", b"x-forwarded-protocol", b"x-forwarded-ssl",
}  # fmt: skip
DIGITS = 18  # of a length: more bytes than there are
REMEMBERED = 256  # names of headers, and targets, that need not be looked at twice

_waste = bytearray(WASTED)
_keys: dict[bytes, str] = {b"Content-Type": "CONTENT_TYPE", b"Content-Length": "CONTENT_LENGTH"}
_targets: dict[bytes, tuple[str, str, str]] = {}


def base_environ(cfg: Any, client: Any, address: Any, server: Any) -> dict[str, Any]:
    """What all plain requests of a connection have in common.

    Args:
        cfg: gunicorn's settings.
        client: its socket.
        address: of the client, host and port; of a socket without them, its name.
        server: the address it came to, likewise.
    """
    host, port = (address[0], str(address[1])) if isinstance(address, tuple) else (address, "")
    here = server if isinstance(server, tuple) else (server, "")
    return {
        **wsgi.base_environ(cfg),
        "wsgi.multithread": True,
        "wsgi.url_scheme": "https" if cfg.is_ssl else "http",
        "gunicorn.socket": client,
        WORKER: True,
        "REQUEST_METHOD": "POST",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": os.environ.get("SCRIPT_NAME", ""),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": port,
        "SERVER_NAME": here[0],
        "SERVER_PORT": str(here[1]),
    }


def environ_of(head: dict[str, Any], base: dict[str, Any]) -> dict[str, Any] | None:
    """The environ of a plain request; None for any other.

    Args:
        head: as gunicorn's parser in C tells it.
        base: what all of its connection have in common.
    """
    if head["method"] != b"POST" or head["minor_version"] != 1:
        return None
    target = _targets.get(head["path"]) or _read_target(head["path"])
    if target is None:
        return None
    environ = base.copy()
    environ["PATH_INFO"], environ["QUERY_STRING"], environ["RAW_URI"] = target
    for name, value in head["headers"]:
        key = _keys.get(name) or _key_of(name)
        if not key or key in environ:
            return None
        environ[key] = value.decode("latin-1")
    if environ.get("HTTP_CONNECTION", "keep-alive").lower() != "keep-alive":
        return None
    length = environ.get("CONTENT_LENGTH", "")
    known = length.isascii() and length.isdigit() and len(length) <= DIGITS
    return environ if known else None


def _key_of(name: bytes) -> str:
    """Under which name a header is in an environ; empty for one that makes a request unusual."""
    lower = name.lower()
    if not name or b"_" in name or lower in UNUSUAL:
        return ""
    key = lower.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if len(_keys) < REMEMBERED:
        _keys[name] = key
    return key


def _read_target(raw: bytes) -> tuple[str, str, str] | None:
    """Path, query and all of it; None where something is to be unquoted, or strange."""
    match = TARGET.fullmatch(raw)
    if match is None or os.environ.get("SCRIPT_NAME"):
        return None
    target = match[1].decode(), (match[2] or b"").decode(), raw.decode()
    if len(_targets) < REMEMBERED:
        _targets[raw] = target
    return target


class Input:
    """A request's body as a stream, `wsgi.input`: read when it is wanted, no further than its end.

    Args:
        client: its socket.
        begun: what has been read already, and perhaps the beginning of the next request.
        length: of the body, in bytes.

    Attributes:
        length: bytes that have not come yet.
        after: what was read behind its end.
    """

    def __init__(self, client: Any, begun: bytes, length: int) -> None:
        self._client = client
        if len(begun) > length:
            self._here, self.after = begun[:length], begun[length:]
        else:
            self._here, self.after = begun, b""
        self.length = length - len(self._here)

    def read(self, size: int = -1) -> bytes:
        """So many bytes, all for -1; fewer only at the end, or when the client breaks off."""
        here = self._here
        wanted = len(here) + self.length if size < 0 else min(size, len(here) + self.length)
        if wanted <= len(here):
            self._here = here[wanted:]
            return here[:wanted] if self._here else here
        parts, self._here, missing = [here], b"", wanted - len(here)
        while missing and (part := self._client.recv(min(missing, MOST_READ))):
            parts.append(part)
            missing -= len(part)
            self.length -= len(part)
        return b"".join(parts)

    def drain(self) -> bool:
        """Read what no one wanted; whether the body is behind us."""
        while self.length and (count := self._client.recv_into(_waste, min(self.length, WASTED))):
            self.length -= count
        return self.length == 0

    def readline(self, size: int = -1) -> bytes:
        """A line of the rest, as WSGI demands."""
        lines = io.BytesIO(self.read())
        line = lines.readline(size)
        self._here = lines.read()
        return line

    def readlines(self, hint: int = -1) -> list[bytes]:
        """All lines, as WSGI demands."""
        return io.BytesIO(self.read()).readlines(hint)

    def __iter__(self) -> Iterable[bytes]:
        return iter(self.readlines())
