"""The path prefix that a trusted proxy removed from a request, from `X-Forwarded-Prefix`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from serving.settings.options import parse_networks

MAX_PREFIX_CHARACTERS = 256  # a longer prefix is ignored
# Only unreserved characters are allowed, since the prefix is put into JSON and headers.
PREFIX_PATTERN = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]++)*", re.ASCII)


class TrustedProxies:
    """Proxies whose forwarding headers are trusted.

    Args:
        allowed: Addresses and networks of the proxies, separated by commas; `*` for all.
    """

    def __init__(self, allowed: str) -> None:
        self._networks = parse_networks(allowed)

    def find_prefix(self, environ: Mapping[str, Any]) -> str:
        """Return the path prefix under which the client of a request sees this application.

        The prefix is the `X-Forwarded-Prefix` of a trusted proxy, followed by WSGI's SCRIPT_NAME.
        If the header has several values, the last one counts, since the nearest proxy added it.

        Args:
            environ: WSGI environ of the request.

        Returns:
            The prefix without a slash at its end; empty for the root, and for a prefix that is not
            a plain path.
        """
        forwarded = environ.get("HTTP_X_FORWARDED_PREFIX", "").rpartition(",")[2].strip()
        if not (forwarded and self._is_trusted(environ.get("REMOTE_ADDR"))):
            forwarded = ""
        prefix: str = forwarded.rstrip("/") + environ.get("SCRIPT_NAME", "").rstrip("/")
        if len(prefix) <= MAX_PREFIX_CHARACTERS and PREFIX_PATTERN.fullmatch(prefix):
            return prefix
        return ""

    def _is_trusted(self, address: str | None) -> bool:
        if self._networks is None or address == "":  # a Unix socket
            return True
        try:
            parsed = ip_address(address or "")
        except ValueError:
            return False
        # A dual-stack socket shows an IPv4 client as ::ffff:1.2.3.4.
        plain = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(plain in network for network in self._networks)
