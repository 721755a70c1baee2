"""File descriptors that connections leave to other files: models, keys, the log.

The system gives the lowest number that is free. The number of a new connection therefore tells how
many files are open besides the connections, once it is close to the limit.
"""

from __future__ import annotations

import resource
from math import inf


class DescriptorBudget:
    """The last file descriptors of this process.

    Args:
        spare: Number of descriptors to keep free; at most a quarter of the limit counts.

    Attributes:
        capacity: Number of connections that leave those free; infinite as long as no connection
            has come close to the limit.
    """

    def __init__(self, spare: int) -> None:
        self._spare, self._limit, self._first_reserved = spare, inf, inf
        self.capacity = inf
        self.read_limit()

    def read_limit(self) -> None:
        """Read the limit of open files, which may be changed from outside."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = inf if soft == resource.RLIM_INFINITY else soft
        if limit != self._limit:
            self._limit, self.capacity = limit, inf
            self._first_reserved = limit if limit == inf else limit - min(self._spare, limit // 4)

    def record_descriptor(self, file: float, connections: int) -> None:
        """Learn from the number of a descriptor that was free.

        Args:
            file: Lowest descriptor that was free.
            connections: Number of connections that were open.
        """
        if file >= self._first_reserved:  # all below are in use
            self.capacity = max(1, min(self.capacity, connections - (file - self._first_reserved)))

    def record_exhaustion(self, connections: int) -> None:
        """Learn that no descriptor was free."""
        self.read_limit()
        if self._limit < inf:
            self.record_descriptor(self._limit, connections)

    def count_excess_connections(self, connections: int) -> int:
        """Return how many connections are too many, and forget what need not be true any more."""
        self.read_limit()
        if connections < self.capacity / 2:
            self.capacity = inf  # there may have been more other files then
        return max(0, connections - int(self.capacity)) if self.capacity < inf else 0
