"""One request by itself to the server under load, and where that is."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

TIMEOUT_SECONDS = 10.0  # seconds for one answer, or a word of it
MAX_QUOTED_BYTES = 300  # characters of an answer that an error quotes
JSON_MEDIA_TYPE = "application/json"


class UnusableServerError(Exception):
    """No server that can be put under load; the message says what was expected, and what came."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server listens.

    Attributes:
        host: name or number.
        port: of TCP.
        tls: whether it speaks HTTPS.
        ca: a file of certificates to trust instead of the system's; None for the system's.
    """

    host: str
    port: int
    tls: bool = False
    ca: str | None = None


def fetch(
    address: ServerAddress,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request on a connection of its own: GET, or POST where there is a body.

    Args:
        address: where the server listens.
        path: with whatever comes before it.
        headers: beside Host and Content-Length.
        body: to be posted.
        timeout: seconds for connecting, and for each word of the answer.

    Returns:
        The status, the headers, whose names are of any case, and the body.

    Raises:
        TargetError: nothing answers there, or not in HTTP, or not as it should over TLS.
    """
    connection = _create_connection(address, timeout)
    try:
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except ssl.SSLCertVerificationError as error:
        raise UnusableServerError(
            f"expected a certificate that is trusted at {format_url(address)}; got: "
            f"{error.verify_message}; give --ca FILE with the authority that signed it"
        ) from None
    except ssl.SSLError as error:
        raise UnusableServerError(
            f"expected TLS at {format_url(address)}; got: {error.reason or error}; try http://"
        ) from None
    except (http.client.HTTPException, ConnectionResetError) as error:
        hint = "check the address" if address.tls else "check the address, or try https://"
        raise UnusableServerError(
            f"expected HTTP at {format_url(address)}; got {type(error).__name__}: {error}; {hint}"
        ) from None
    except TimeoutError:
        raise UnusableServerError(
            f"expected an answer of {format_url(address)} within {timeout:g} s; got none; "
            "check that it "
            "is the right address, and that the server is not under load already"
        ) from None
    except socket.gaierror as error:
        raise UnusableServerError(
            f"expected a host that is known; got {address.host!r}: {error.strerror}; check the name"
        ) from None
    except OSError as error:
        raise UnusableServerError(
            f"expected a server that listens at {format_url(address)}; got: "
            f"{error.strerror or error}; "
            "start one with `serving run`, or check the address"
        ) from None
    finally:
        connection.close()


def format_url(address: ServerAddress) -> str:
    """The address as a URL."""
    return f"{'https' if address.tls else 'http'}://{format_host(address.host)}:{address.port}"


def format_host(host: str) -> str:
    """A host as URLs and the header Host write it."""
    return f"[{host}]" if ":" in host else host


def _create_connection(address: ServerAddress, timeout: float) -> http.client.HTTPConnection:
    if not address.tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    return http.client.HTTPSConnection(
        address.host, address.port, timeout=timeout, context=_create_tls_context(address.ca)
    )


@lru_cache(4)
def _create_tls_context(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # of which SSLError is one
        raise UnusableServerError(
            f"expected a file of certificates in PEM as --ca; got {ca!r}: {error.strerror or error}"
        ) from None


def quote_error_body(body: bytes) -> str:
    """What an answer says: the message of an error, or its beginning."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict) and isinstance(said.get("error"), str):
        text = str(said["error"])
    else:
        text = body[:MAX_QUOTED_BYTES].decode(errors="replace").strip() or "an empty body"
    # A terminal would obey what is not to be printed.
    return "".join(sign if sign.isprintable() else "�" for sign in text)
