"""Beside: what a JSON body may say besides its instances, in a few short values."""

from __future__ import annotations

from typing import Any

MAX_OPTION_CHARACTERS = 4096  # characters of such a value


class BodyOptions:
    """Keys that a body may have, and what it says there.

    Args:
        keys: that may be there, each once.

    Attributes:
        said: by key, once the body is decoded.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.said: dict[str, Any] = {}


NO_OPTIONS = BodyOptions()
