"""The loads: what is asked of every server, and by how many clients at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """Clients that ask again as soon as they are answered.

    Attributes:
        network: what answers.
        rows: of a body.
        connections: kept open, each with one request at a time.
        latency_only: measured on our side alone, beside ONNX Runtime without a server.
    """

    network: str
    rows: int
    connections: int
    latency_only: bool = False

    @property
    def name(self) -> str:
        """Says it all."""
        return f"{self.network}-{self.rows}row-c{self.connections}"


LOADS = (
    Load("light", 1, 1),
    Load("light", 1, 16),
    Load("light", 1, 64),
    Load("light", 32, 8),
    Load("heavy", 1, 32),
    Load("heavy", 1, 1, latency_only=True),
)

LIGHT = frozenset(load.name for load in LOADS if load.network == "light")
