"""The path prefix that a trusted proxy removed from a request, from `X-Forwarded-Prefix`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from serving.settings.options import read_networks

LONGEST = 256  # characters of a prefix; a longer one is ignored
# Unreserved characters only: the prefix is put into a JSON document and an HTML page.
PREFIX = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]++)*", re.ASCII)


class TrustedProxies:
    """Proxies whose forwarding headers are trusted.

    Args:
        allowed: Addresses and networks of the proxies, separated by commas; `*` for all.
    """

    def __init__(self, allowed: str) -> None:
        self._networks = read_networks(allowed)

    def prefix_of(self, environ: Mapping[str, Any]) -> str:
        """Return the path prefix under which the client of a request sees this application.

        It is `X-Forwarded-Prefix` of a trusted proxy, followed by WSGI's SCRIPT_NAME. Of several
        values the last counts, since the nearest proxy added it.

        Args:
            environ: WSGI environment of the request.

        Returns:
            The prefix without a slash at its end; empty for the root, and if it is no plain path.
        """
        forwarded = environ.get("HTTP_X_FORWARDED_PREFIX", "").rpartition(",")[2].strip()
        if not (forwarded and self._trusts(environ.get("REMOTE_ADDR"))):
            forwarded = ""
        prefix = forwarded.rstrip("/") + environ.get("SCRIPT_NAME", "").rstrip("/")
        return prefix if len(prefix) <= LONGEST and PREFIX.fullmatch(prefix) else ""

    def _trusts(self, address: str | None) -> bool:
        if self._networks is None or address == "":  # a Unix socket
            return True
        try:
            found = ip_address(address or "")
        except ValueError:
            return False
        plain = getattr(found, "ipv4_mapped", None) or found  # of a dual-stack socket
        return any(plain in network for network in self._networks)
