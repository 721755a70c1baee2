"""Reserve some file descriptors for the files of models and keys and for the log.

The kernel gives every new file the lowest free descriptor. So if a new connection gets a descriptor
near the limit of open files, its number shows how many files other than connections are open.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on the connections of one worker.

    Attributes:
        max_connections: Largest number of open connections.
        spare_descriptors: Number of file descriptors to keep free for other files.
        is_shared: Whether other workers accept on the same sockets; default True.
    """

    max_connections: int
    spare_descriptors: int
    is_shared: bool = True


class DescriptorBudget:
    """Estimates how many connections can be open while some file descriptors stay free.

    Args:
        spare: Number of descriptors to keep free; at most a quarter of the limit of open files.

    Attributes:
        capacity: Largest number of connections with which `spare` descriptors stay free; infinite
            until the descriptor of a connection has come close to the limit.
    """

    def __init__(self, spare: int) -> None:
        self._spare, self._limit, self._first_reserved = spare, inf, inf
        self.capacity = inf
        self.read_limit()

    def read_limit(self) -> None:
        """Read the limit of open files again: another process may have changed it (prlimit)."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limit = inf if soft == resource.RLIM_INFINITY else soft
        if limit != self._limit:
            self._limit, self.capacity = limit, inf
            self._first_reserved = limit if limit == inf else limit - min(self._spare, limit // 4)

    def record_descriptor(self, descriptor: float, connections: int) -> None:
        """Lower the capacity if a new connection got one of the descriptors to keep free.

        Args:
            descriptor: File descriptor of the new connection: the lowest that was free.
            connections: Number of connections that were open before it.
        """
        if descriptor >= self._first_reserved:  # all lower descriptors are in use
            excess = descriptor - self._first_reserved
            self.capacity = max(1, min(self.capacity, connections - excess))

    def record_exhaustion(self, connections: int) -> None:
        """Lower the capacity because no descriptor was free for a new connection.

        Args:
            connections: Number of connections that were open.
        """
        self.read_limit()
        if self._limit < inf:
            self.record_descriptor(self._limit, connections)

    def count_excess_connections(self, connections: int) -> int:
        """Return how many connections must be closed, after an update of the capacity.

        Args:
            connections: Number of connections that are open.
        """
        self.read_limit()
        if connections < self.capacity / 2:
            # The estimate may be too low: more other files may have been open when it was made.
            self.capacity = inf
        return max(0, connections - int(self.capacity)) if self.capacity < inf else 0
