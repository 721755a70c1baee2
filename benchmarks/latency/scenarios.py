"""The scenarios: what the requests hold, and whom they are put to."""

from __future__ import annotations

from dataclasses import dataclass

NETWORK = "light"
# Bounds of the 99th percentile in ms, in the order of the search: the one that counts comes first.
# And how near to each other the highest rate held and the lowest missed are to come.
BOUNDS_MS = {20: 1.05, 100: 1.15, 5: 1.5, 2: 1.5}
JSON = (
    "ours",
    "ours-int8",
    "ours-pruned-int8",
    "triton",
    "mosec",
    "mosec-batching",
    "fastapi",
    "mlserver",
    "litserve",
    "bentoml",
    "ray",
)
BINARY = ("ours-binary", "ours-pruned-int8-binary", "triton-binary")


@dataclass(frozen=True)
class Scenario:
    """Requests of one kind.

    Attributes:
        rows: of a request.
        form: of its body, in a word.
        sides: that are asked.
        coarse: the least of those ratios that is worth its time here.
        rounds: in which it is measured, at most; from the second on, for the first bound alone, and
            of those alone that held a good part of what the best one did.
    """

    rows: int
    form: str
    sides: tuple[str, ...]
    coarse: float
    rounds: int

    @property
    def name(self) -> str:
        """Says it all."""
        return f"{self.rows} row{'s' if self.rows > 1 else ''}, {self.form}"


SCENARIOS = (
    Scenario(1, "JSON", JSON, coarse=1.05, rounds=3),
    Scenario(32, "JSON", JSON, coarse=1.4, rounds=1),
    Scenario(1, "binary", BINARY, coarse=1.4, rounds=1),
    Scenario(32, "binary", BINARY, coarse=1.4, rounds=1),
)
