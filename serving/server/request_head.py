"""Build a WSGI environ from the head of a request on a fast path, and check header fields.

The fast path is for a POST whose head contains nothing unusual and was parsed by `gunicorn_h1c`,
gunicorn's parser in C. All other requests go to gunicorn's parser in Python. Where the C parser is
more lenient than the Python parser, the request leaves the fast path, so that it is accepted or
refused alike whether or not `gunicorn_h1c` is installed.
"""

from __future__ import annotations

import os
import re
from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.errors import ConfigurationProblem, InvalidHeader

# Path and query of a request target without percent-encoding or unusual characters.
TARGET_PATTERN = re.compile(rb"(/[A-Za-z0-9_.~:/-]*)(?:\?([A-Za-z0-9_.~:/=&-]*))?")
# A name or an IPv4 address without two dots in a row, or an IPv6 address; then an optional port.
HOST_PATTERN = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?!.*\.\.)[A-Za-z0-9_.~!$&'()*+;=%-]*)(?::[0-9]{0,5})?"
)
# Headers that change how a request is read or who sent it. Only gunicorn interprets them.
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
MAX_HEAD_BYTES = 8190  # gunicorn's limit for one line; here it limits the whole head
MAX_LENGTH_DIGITS = 18  # largest number of digits of a Content-Length
MAX_CACHE_ENTRIES = 256  # largest size of each cache: header names, hosts and targets

# Caches of functions of what clients send. They belong to the process, since all its connections
# fill and read them; an entry never changes, and their number is limited.
_environ_keys: dict[bytes, str] = {
    b"Content-Type": "CONTENT_TYPE",
    b"Content-Length": "CONTENT_LENGTH",
}
_valid_hosts: set[str] = set()
_parsed_targets: dict[bytes, tuple[str, str, str, bytes]] = {}


def build_base_environ(cfg: Any, client: Any, address: Any, server: Any) -> dict[str, Any]:
    """Return the part of the environ that all requests of a connection share.

    Args:
        cfg: gunicorn's configuration.
        client: Socket of the connection.
        address: Address of the client: host and port, or the name of a Unix socket.
        server: Address of the listening socket: host and port, or the name of a Unix socket.
    """
    host, port = (address[0], str(address[1])) if isinstance(address, tuple) else (address, "")
    here = server if isinstance(server, tuple) else (server, "")  # IPv6 addresses have 4 parts
    return {
        **wsgi.base_environ(cfg),
        "wsgi.multithread": True,
        "wsgi.url_scheme": "https" if cfg.is_ssl else "http",
        "gunicorn.socket": client,
        "REQUEST_METHOD": "POST",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": os.environ.get("SCRIPT_NAME", ""),
        "REMOTE_ADDR": host,
        "REMOTE_PORT": port,
        "SERVER_NAME": here[0],
        "SERVER_PORT": str(here[1]),
    }


def build_environ(head: dict[str, Any], data: bytes, base: dict[str, Any]) -> dict[str, Any] | None:
    """Return the environ of a request, or None if gunicorn's Python parser has to read it.

    Args:
        head: Result of `gunicorn_h1c.parse_request`.
        data: Bytes that were parsed, perhaps followed by others.
        base: Result of `build_base_environ` for the connection.
    """
    if head["method"] != b"POST" or head["minor_version"] != 1:
        return None
    target = _parsed_targets.get(head["path"]) or _parse_target(head["path"])
    headers = head["headers"]
    # The C parser accepts a bare LF as the end of a line, empty lines before the head and repeated
    # spaces. So require the exact request line, and CRLF after it, each header and the head.
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
        # Each header may occur once. For a folded header line, the C parser returns an empty name.
        if not key or key in environ:
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
    is_number = length.isascii() and length.isdigit() and len(length) <= MAX_LENGTH_DIGITS
    return environ if is_number else None


def is_valid_host(value: str) -> bool:
    """Return whether a `Host` header has a valid value; it may be empty (RFC 9110, section 7.2)."""
    if HOST_PATTERN.fullmatch(value) is None:
        return False
    if len(_valid_hosts) < MAX_CACHE_ENTRIES:
        _valid_hosts.add(value)
    return True


def require_valid_host(request: Any) -> None:
    """Refuse an HTTP/1.1 request without a `Host`, and any request with an invalid one.

    See RFC 9112, section 3.2. gunicorn's parser has refused a second `Host` already.

    Args:
        request: gunicorn's request.

    Raises:
        InvalidHeader: If the header is missing or its value is not a host.
    """
    hosts = [value for name, value in request.headers if name == "HOST"]
    if (request.version >= (1, 1) and not hosts) or not all(map(is_valid_host, hosts)):
        raise InvalidHeader("HOST", req=request)


def normalize_path_info(environ: dict[str, Any]) -> None:
    """Refuse a path that does not follow SCRIPT_NAME with a slash; replace an empty path by `/`.

    gunicorn only compares characters, and Werkzeug adds a slash: with `/api` as SCRIPT_NAME, a
    request for `/apipredict` would be served as `/api/predict`. A slash at the end of SCRIPT_NAME
    becomes the first one of the path.

    Args:
        environ: WSGI environ of the request. PATH_INFO and SCRIPT_NAME are changed in place.

    Raises:
        ConfigurationProblem: If there is no slash between SCRIPT_NAME and the path.
    """
    path, name = environ["PATH_INFO"], environ["SCRIPT_NAME"]
    prefix = name.rstrip("/")
    path = f"{name[len(prefix) :]}{path}" or "/"
    if prefix and not path.startswith("/"):
        raise ConfigurationProblem(f"expected a path below {prefix!r}; got {path[:64]!r}")
    environ["PATH_INFO"], environ["SCRIPT_NAME"] = path, prefix


def has_close_option(request: Any) -> bool:
    """Return whether the client asks to close the connection after the response.

    gunicorn itself only recognises `Connection: close`, not "close" in a list of options.

    Args:
        request: gunicorn's request.
    """
    options = ",".join(value for name, value in request.headers if name == "CONNECTION")
    return "close" in (option.strip(" \t").lower() for option in options.split(","))


def _find_environ_key(name: bytes) -> str:
    """Return the environ key of a header; "" for a header that only gunicorn interprets."""
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
    """Split a request target.

    Returns:
        Path, query, whole target, and the request line that a head with this target begins with;
        None if the target is percent-encoded or otherwise unusual.
    """
    match = TARGET_PATTERN.fullmatch(raw)
    if match is None or os.environ.get("SCRIPT_NAME"):
        return None
    line = b"POST %b HTTP/1.1\r\n" % raw
    target = match[1].decode(), (match[2] or b"").decode(), raw.decode(), line
    if len(_parsed_targets) < MAX_CACHE_ENTRIES:
        _parsed_targets[raw] = target
    return target
