"""The scenarios: what the requests contain, and which servers they are sent to."""

from __future__ import annotations

from dataclasses import dataclass

NETWORK = "light"
# Bounds of the 99th percentile in ms, in the order of the search, the most important one first. For
# each, the search ends when the lowest rate that misses the bound is at most this multiple of the
# highest rate that holds it.
PRECISION_BY_BOUND_MS = {20: 1.05, 100: 1.15, 5: 1.5, 2: 1.5}
FIRST_BOUND_MS = next(iter(PRECISION_BY_BOUND_MS))
JSON_CONTENDERS = (
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
BINARY_CONTENDERS = ("ours-binary", "ours-pruned-int8-binary", "triton-binary")


@dataclass(frozen=True)
class Scenario:
    """Requests of one kind.

    Attributes:
        rows: Rows of each request.
        format_name: Format of the bodies, `JSON` or `binary`.
        contenders: Names of the contenders that it is measured for.
        min_precision: Lower limit of the precisions above; a larger one saves time.
        rounds: Number of rounds. From the second on, only the first bound is measured, and only
            contenders that came near enough to the best one.
    """

    rows: int
    format_name: str
    contenders: tuple[str, ...]
    min_precision: float
    rounds: int

    @property
    def name(self) -> str:
        """Name in the results, such as `32 rows, JSON`."""
        return f"{self.rows} row{'s' if self.rows > 1 else ''}, {self.format_name}"


SCENARIOS = (
    Scenario(1, "JSON", JSON_CONTENDERS, min_precision=1.05, rounds=3),
    Scenario(32, "JSON", JSON_CONTENDERS, min_precision=1.4, rounds=1),
    Scenario(1, "binary", BINARY_CONTENDERS, min_precision=1.4, rounds=1),
    Scenario(32, "binary", BINARY_CONTENDERS, min_precision=1.4, rounds=1),
)
