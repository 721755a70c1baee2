"""Groups of `errno` values of socket errors that the server handles alike."""

from __future__ import annotations

import errno

# The client closed or reset a connection that was being served, or the worker itself closed it.
DISCONNECT_ERRNOS = (
    errno.EPIPE,
    errno.ECONNRESET,
    errno.ENOTCONN,
    errno.EBADF,
    errno.ECONNABORTED,
)

# accept(2): no file descriptor or no memory was left for a new connection.
OUT_OF_RESOURCES_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# accept(2): the client or its network disappeared before the connection was accepted. Not every
# system has all of them.
CLIENT_GONE_ERRNOS = tuple(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EPROTO",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "EOPNOTSUPP",
        "ENETUNREACH",
        "ETIMEDOUT",
        "EINTR",
    )
    if hasattr(errno, name)
)

# accept(2): the listening socket is closed or broken.
LISTENER_UNUSABLE_ERRNOS = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK)
