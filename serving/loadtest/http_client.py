"""A simple HTTP client for the requests before and after a load, which are sent one by one."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

TIMEOUT_SECONDS = 10.0  # applies to connecting and to each read
MAX_QUOTED_BYTES = 300  # longer bodies are cut in messages
JSON_MEDIA_TYPE = "application/json"


class UnusableServerError(Exception):
    """The server cannot be tested; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a server.

    Attributes:
        host: Host name or IP address.
        port: TCP port.
        use_tls: Whether to use HTTPS.
        ca_file: PEM file of certificates to trust instead of the system's; None for the system's.
    """

    host: str
    port: int
    use_tls: bool = False
    ca_file: str | None = None


def fetch(
    address: ServerAddress,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send one request over a new connection: POST if there is a body, GET otherwise.

    Args:
        address: Address of the server.
        path: Absolute path, with its query.
        headers: Headers, without Host and Content-Length.
        body: Body to post, or None.
        timeout: Seconds allowed for connecting, and for each read.

    Returns:
        The status, the headers (their names are case-insensitive) and the body.

    Raises:
        UnusableServerError: If no server responds, the response is not HTTP, or TLS fails.
    """
    connection = _create_connection(address, timeout)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    except ssl.SSLCertVerificationError as error:
        raise UnusableServerError(
            f"expected a trusted certificate at {format_url(address)}; got: "
            f"{error.verify_message}; pass the certificate of "
            "the authority that issued it with --ca FILE"
        ) from None
    except ssl.SSLError as error:
        raise UnusableServerError(
            f"expected TLS at {format_url(address)}; got: {error.reason or error}; try http://"
        ) from None
    except (http.client.HTTPException, ConnectionResetError) as error:
        hint = "check the address" if address.use_tls else "check the address, or try https://"
        raise UnusableServerError(
            f"expected HTTP at {format_url(address)}; got {type(error).__name__}: {error}; {hint}"
        ) from None
    except TimeoutError:
        raise UnusableServerError(
            f"expected an answer from {format_url(address)} within {timeout:g} s; got none; check "
            "the address, and that the server is not under load already"
        ) from None
    except socket.gaierror as error:
        raise UnusableServerError(
            f"expected a known host; got {address.host!r}: {error.strerror}; check the name"
        ) from None
    except OSError as error:
        raise UnusableServerError(
            f"expected a server that listens at {format_url(address)}; got: "
            f"{error.strerror or error}; start one with `serving run`, or check the address"
        ) from None
    finally:
        connection.close()


def format_url(address: ServerAddress) -> str:
    """Return the address as a URL without a path."""
    scheme = "https" if address.use_tls else "http"
    return f"{scheme}://{format_host(address.host)}:{address.port}"


def format_host(host: str) -> str:
    """Return a host as in URLs and the Host header: IPv6 addresses in square brackets."""
    return f"[{host}]" if ":" in host else host


def quote_error_body(body: bytes) -> str:
    """Return the text of an error response to quote in a message.

    It is the field `error` of the body, or else the first `MAX_QUOTED_BYTES` bytes. Control
    characters are replaced, because a terminal would interpret them.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        content = None
    if isinstance(content, dict) and isinstance(content.get("error"), str):
        text = str(content["error"])
    else:
        text = body[:MAX_QUOTED_BYTES].decode(errors="replace").strip() or "an empty body"
    return "".join(char if char.isprintable() else "�" for char in text)


def _create_connection(address: ServerAddress, timeout: float) -> http.client.HTTPConnection:
    if not address.use_tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    return http.client.HTTPSConnection(
        address.host, address.port, timeout=timeout, context=_create_tls_context(address.ca_file)
    )


@lru_cache(4)
def _create_tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # includes SSLError
        raise UnusableServerError(
            f"expected a PEM file of certificates as --ca; got {ca_file!r}: "
            f"{error.strerror or error}; check the file"
        ) from None
