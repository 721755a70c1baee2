"""The closed-loop workloads: what every server is asked, and by how many clients at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Clients that send their next request as soon as the last one is answered.

    Attributes:
        network: Name of the network, `light` or `heavy`.
        rows: Rows of each request.
        connections: Number of connections, each with one request at a time.
        is_latency_only: Whether it measures only what this project's server adds to the time that
            ONNX Runtime takes, and no other server.
    """

    network: str
    rows: int
    connections: int
    is_latency_only: bool = False

    @property
    def name(self) -> str:
        """Name in the results, such as `light-1row-c16`."""
        return f"{self.network}-{self.rows}row-c{self.connections}"


WORKLOADS = (
    Workload("light", 1, 1),
    Workload("light", 1, 16),
    Workload("light", 1, 64),
    Workload("light", 32, 8),
    Workload("heavy", 1, 32),
    Workload("heavy", 1, 1, is_latency_only=True),
)

LIGHT_WORKLOAD_NAMES = frozenset(
    workload.name for workload in WORKLOADS if workload.network == "light"
)
