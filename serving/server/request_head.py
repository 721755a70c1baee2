"""A plain request: what counts as one, and its environ.

Plain is a POST with nothing unusual in its head, which gunicorn's parser in C reads; all others are
read by its parser in Python. Where the one is less strict than the other, a request is not plain,
so that the verdict never depends on whether there was a compiler.
"""

from __future__ import annotations

import os
import re
from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.errors import ConfigurationProblem, InvalidHeader

from serving.http.middleware import WORKER_KEY

TARGET_PATTERN = re.compile(rb"(/[A-Za-z0-9_.~:/-]*)(?:\?([A-Za-z0-9_.~:/=&-]*))?")
# A name or an IPv4 address, without an empty part within; or an IPv6 address. And a port.
HOST_PATTERN = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?!.*\.\.)[A-Za-z0-9_.~!$&'()*+;=%-]*)(?::[0-9]{0,5})?"
)
# These change how a request is read, or who sent it: gunicorn's to judge.
GUNICORN_ONLY_HEADERS = {
    b"transfer-encoding",
    b"expect",
    b"upgrade",
    b"http2-settings",
    b"te",
    b"trailer",
    b"script-name",
    b"path-info",
    b"remote-user",
    b"x-forwarded-proto",
    b"x-forwarded-protocol",
    b"x-forwarded-ssl",
}
MAX_HEAD_BYTES = 8190  # bytes of a head; in longer ones a line may be longer than gunicorn allows
MAX_LENGTH_DIGITS = 18  # of a length: more bytes than there are
MAX_CACHE_ENTRIES = 256  # names of headers, and targets, that need not be looked at twice
_environ_keys: dict[bytes, str] = {
    b"Content-Type": "CONTENT_TYPE",
    b"Content-Length": "CONTENT_LENGTH",
}
_valid_hosts: set[str] = set()
_parsed_targets: dict[bytes, tuple[str, str, str, bytes]] = {}


def build_base_environ(cfg: Any, client: Any, address: Any, server: Any) -> dict[str, Any]:
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
        WORKER_KEY: True,
        "REQUEST_METHOD": "POST",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": os.environ.get("SCRIPT_NAME", ""),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": port,
        "SERVER_NAME": here[0],
        "SERVER_PORT": str(here[1]),
    }


def build_environ(head: dict[str, Any], data: bytes, base: dict[str, Any]) -> dict[str, Any] | None:
    """Return the environ of a plain request; None for any other.

    Args:
        head: What gunicorn's parser in C makes of it.
        data: Bytes that it has parsed, and perhaps more.
        base: What all requests of the connection have in common.
    """
    if head["method"] != b"POST" or head["minor_version"] != 1:
        return None
    target = _parsed_targets.get(head["path"]) or _parse_target(head["path"])
    headers = head["headers"]
    # The parser in C lets a bare LF end a line, empty lines lead and spaces be repeated. So the
    # first line must be the one expected, and CRLF end it, each header and the head.
    if (
        target is None
        or head["consumed"] > MAX_HEAD_BYTES
        or not data.startswith(target[3])
        or data.count(b"\r\n", 0, head["consumed"]) != len(headers) + 2
    ):
        return None
    environ = base.copy()
    environ["PATH_INFO"], environ["QUERY_STRING"], environ["RAW_URI"], _ = target
    for name, value in headers:
        key = _environ_keys.get(name) or _find_environ_key(name)
        if not key or key in environ:  # a continued line, which is cut off, has an empty name
            return None
        environ[key] = value.decode("latin-1")
    host = environ.get("HTTP_HOST")
    if (
        host is None
        or (host not in _valid_hosts and not is_valid_host(host))
        or environ.get("HTTP_CONNECTION", "keep-alive").lower() != "keep-alive"
    ):
        return None
    length = environ.get("CONTENT_LENGTH", "")
    known = length.isascii() and length.isdigit() and len(length) <= MAX_LENGTH_DIGITS
    return environ if known else None


def is_valid_host(value: str) -> bool:
    """Return whether the value of a `Host` is one: RFC 9110, section 7.2; it may be empty."""
    if HOST_PATTERN.fullmatch(value) is None:
        return False
    if len(_valid_hosts) < MAX_CACHE_ENTRIES:
        _valid_hosts.add(value)
    return True


def _find_environ_key(name: bytes) -> str:
    """Under which name a header is in an environ; empty for one that makes a request unusual."""
    lower = name.lower()
    if not name or b"_" in name or lower in GUNICORN_ONLY_HEADERS:
        return ""
    key = lower.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if len(_environ_keys) < MAX_CACHE_ENTRIES:
        _environ_keys[name] = key
    return key


def _parse_target(raw: bytes) -> tuple[str, str, str, bytes] | None:
    """Return path, query, both as they came, and the first line of a head with them.

    None if the target has to be unquoted or is unusual.
    """
    match = TARGET_PATTERN.fullmatch(raw)
    if match is None or os.environ.get("SCRIPT_NAME"):
        return None
    line = b"POST %b HTTP/1.1\r\n" % raw
    target = match[1].decode(), (match[2] or b"").decode(), raw.decode(), line
    if len(_parsed_targets) < MAX_CACHE_ENTRIES:
        _parsed_targets[raw] = target
    return target


def require_valid_host(request: Any) -> None:
    """Refuse an HTTP/1.1 request without a `Host`, and any request with an invalid one.

    RFC 9112, section 3.2. The caller has checked that there is at most one.

    Raises:
        InvalidHeader: If there is none, or its value is not a host.
    """
    hosts = [value for name, value in request.headers if name == "HOST"]
    if (request.version >= (1, 1) and not hosts) or not all(map(is_valid_host, hosts)):
        raise InvalidHeader("HOST", req=request)


def normalize_path_info(environ: dict[str, Any]) -> None:
    """Refuse a path that goes on behind SCRIPT_NAME without a slash; an empty one becomes `/`.

    gunicorn compares the characters alone, and Werkzeug adds a slash: with `/api` as SCRIPT_NAME
    `/apipredict` would be `/api/predict`. A slash at the end of SCRIPT_NAME counts as the path's.

    Raises:
        ConfigurationProblem: If there is no slash.
    """
    path, name = environ["PATH_INFO"], environ["SCRIPT_NAME"]
    prefix = name.rstrip("/")
    path = f"{name[len(prefix) :]}{path}" or "/"
    if prefix and not path.startswith("/"):
        raise ConfigurationProblem(f"expected a path below {prefix!r}; got {path[:64]!r}")
    environ["PATH_INFO"], environ["SCRIPT_NAME"] = path, prefix


def has_close_option(request: Any) -> bool:
    """Return whether "close" is among the options of `ServerConnection`: gunicorn reads only one."""
    options = ",".join(value for name, value in request.headers if name == "CONNECTION")
    return "close" in (option.strip(" \t").lower() for option in options.split(","))
