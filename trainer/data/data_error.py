"""The error for data that cannot be used, and how its message lists names."""

from __future__ import annotations

from collections.abc import Sequence

MAX_LISTED_NAMES = 20  # names that a message lists at most


class DataError(ValueError):
    """The data cannot be used as they are; the message says why, and what to do."""


def join_names(names: Sequence[str]) -> str:
    """Return the names in quotes: the first `MAX_LISTED_NAMES`, and how many more there are."""
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return ", ".join(map(repr, names[:MAX_LISTED_NAMES])) + more
