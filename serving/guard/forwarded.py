"""What a trusted proxy says of the request it forwards: the path prefix that it has removed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from serving.settings import read_networks

LONGEST = 256  # characters of a prefix
# Segments of unreserved characters: nothing that a document or a page could take for more.
PREFIX = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]++)*+", re.ASCII)


class TrustedProxies:
    """Proxies whose headers are heeded.

    Args:
        allowed: Their addresses and networks, separated by commas; `*` for all.
    """

    def __init__(self, allowed: str) -> None:
        self._networks = read_networks(allowed)

    def prefix_of(self, environ: Mapping[str, Any]) -> str:
        """Return the path below which the client of a request sees this application.

        It is what a trusted proxy names in `X-Forwarded-Prefix`, followed by WSGI's SCRIPT_NAME.
        Of several values the last counts, which the proxy before this server has added.

        Args:
            environ: WSGI's.

        Returns:
            The path without a slash at its end; empty for the root, and for what is no such path.
        """
        forwarded = environ.get("HTTP_X_FORWARDED_PREFIX", "").rpartition(",")[2].strip()
        if not (forwarded and self._trusts(environ.get("REMOTE_ADDR"))):
            forwarded = ""
        prefix = forwarded.rstrip("/") + environ.get("SCRIPT_NAME", "").rstrip("/")
        return prefix if len(prefix) <= LONGEST and PREFIX.fullmatch(prefix) else ""

    def _trusts(self, address: str | None) -> bool:
        if self._networks is None or address == "":  # of a socket of this machine's file system
            return True
        try:
            found = ip_address(address or "")
        except ValueError:
            return False
        plain = getattr(found, "ipv4_mapped", None) or found  # as a socket of both families has it
        return any(plain in network for network in self._networks)
