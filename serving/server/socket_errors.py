"""Socket errors: groups of `errno` values that the server handles alike, and their names."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from serving.telemetry.metric_definitions import (
    CLIENT_GONE_ERROR_NAMES,
    LISTENER_UNUSABLE_ERROR_NAMES,
    OUT_OF_RESOURCES_ERROR_NAMES,
)

# The client closed or reset a connection that was being served, or the worker itself closed it.
DISCONNECT_ERRNOS = (
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ENOTCONN,
    errno.EBADF,
    errno.ECONNABORTED,
)


def _find_numbers(names: Iterable[str]) -> tuple[int, ...]:
    """Return the numbers of errors; not every system has all of them.

    Args:
        names: Symbolic names of the errors, such as "EMFILE".
    """
    return tuple(getattr(errno, name) for name in names if hasattr(errno, name))


def get_error_name(error: OSError) -> str:
    """Return the symbolic name of an error, such as "EMFILE"; "other" if it has none."""
    return errno.errorcode.get(error.errno or 0, "other")


# Errors of accept(2). `metric_definitions` says what each group means, and has their names: the
# metric of these errors has a series for each.
OUT_OF_RESOURCES_ERRNOS = _find_numbers(OUT_OF_RESOURCES_ERROR_NAMES)
CLIENT_GONE_ERRNOS = _find_numbers(CLIENT_GONE_ERROR_NAMES)
LISTENER_UNUSABLE_ERRNOS = _find_numbers(LISTENER_UNUSABLE_ERROR_NAMES)
