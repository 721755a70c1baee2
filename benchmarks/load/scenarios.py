"""The scenarios: what the requests hold, and whom they are put to."""

from __future__ import annotations

from dataclasses import dataclass

NETWORK = "light"
BOUNDS_MS = (20, 100, 5, 2)  # in the order of the search: the one that counts comes first
JSON = (
    "ours", "ours-int8", "ours-pruned-int8", "triton", "mosec", "mosec-batching", "fastapi",
    "mlserver", "litserve", "bentoml", "ray",
)  # fmt: skip
BINARY = ("ours-binary", "ours-pruned-int8-binary", "triton-binary")


@dataclass(frozen=True)
class Scenario:
    """Requests of one kind.

    Attributes:
        rows: of a request.
        form: of its body, in a word.
        sides: that are asked.
        precision: of the rates that are found: the lowest missed to the highest held.
        rounds: in which it is measured, at most; from the second on, for the first bound alone.
    """

    rows: int
    form: str
    sides: tuple[str, ...]
    precision: float
    rounds: int

    @property
    def name(self) -> str:
        """Says it all."""
        return f"{self.rows} row{'s' if self.rows > 1 else ''}, {self.form}"


SCENARIOS = (
    Scenario(1, "JSON", JSON, precision=1.05, rounds=3),
    Scenario(32, "JSON", JSON, precision=1.15, rounds=1),
    Scenario(1, "binary", BINARY, precision=1.15, rounds=1),
    Scenario(32, "binary", BINARY, precision=1.15, rounds=1),
)
