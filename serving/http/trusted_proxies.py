"""The path prefix that a trusted proxy removed from a request, from `X-Forwarded-Prefix`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from serving.settings.options import parse_networks

MAX_PREFIX_CHARACTERS = 256  # characters of a prefix; a longer one is ignored
# Unreserved characters only: the prefix is put into a JSON document and an HTML page.
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

        It is `X-Forwarded-Prefix` of a trusted proxy, followed by WSGI's SCRIPT_NAME. Of several
        values the last counts, since the nearest proxy added it.

        Args:
            environ: WSGI environment of the request.

        Returns:
            The prefix without a slash at its end; empty for the root, and if it is no plain path.
        """
        forwarded = environ.get("HTTP_X_FORWARDED_PREFIX", "").rpartition(",")[2].strip()
        if not (forwarded and self._is_trusted(environ.get("REMOTE_ADDR"))):
            forwarded = ""
        prefix = forwarded.rstrip("/") + environ.get("SCRIPT_NAME", "").rstrip("/")
        return (
            prefix
            if len(prefix) <= MAX_PREFIX_CHARACTERS and PREFIX_PATTERN.fullmatch(prefix)
            else ""
        )

    def _is_trusted(self, address: str | None) -> bool:
        if self._networks is None or address == "":  # a Unix socket
            return True
        try:
            found = ip_address(address or "")
        except ValueError:
            return False
        plain = getattr(found, "ipv4_mapped", None) or found  # of a dual-stack socket
        return any(plain in network for network in self._networks)
