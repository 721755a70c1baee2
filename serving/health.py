"""The image's health check: exit status 0 where this container's server says that it is ready.

Run as a file, `python -IS health.py`, every second: so it imports nothing but what it needs of the
standard library (some 50 ms), and asks the server itself, past any proxy.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection

PORT = 8000  # the image's, and the server's default
SECONDS = 2.0  # until the check fails
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def address(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return the host and port where the server of these variables listens.

    A blank variable is unset, and one of Kubernetes, `FORWARDPASS_PORT=tcp://10.0.0.1:8000`, is no
    port: as `serving.environment` has it, whose import would take ten times as long.
    """
    host = environ.get("FORWARDPASS_HOST", "").strip()
    port = environ.get("FORWARDPASS_PORT", "").strip()
    return LOOPBACK.get(host, host), int(port) if port.isascii() and port.isdigit() else PORT


def is_ready(environ: Mapping[str, str]) -> bool:
    """Return whether the server of these variables answers `GET /readyz` with 200."""
    host, port = address(environ)
    if environ.get("FORWARDPASS_TLS_CERT", "").strip():
        # Its certificate is for the name by which clients know it, not for this one.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=SECONDS, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    raise SystemExit(0 if is_ready(os.environ) else 1)
