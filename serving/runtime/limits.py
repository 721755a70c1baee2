"""What the proof of a version may take, and what it has to cover."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.bundle import BundleLimits
from serving.runtime.timing import TIMED_BATCH_SIZES


@dataclass(frozen=True)
class ProofLimits:
    """Limits within which a version is loaded and proved.

    Attributes:
        bundle: Limits of the bundle's files.
        largest_batch: Rows of the largest batch that requests will be joined to.
        run_seconds: Longest time of one run, in seconds, also when it is served; None for no limit.
        proof_seconds: Processor time that the proof of a variant may take in a process of its own,
            in seconds.
        memory_bytes: Memory that it may take there beyond 8 times its ONNX file, in bytes.
    """

    bundle: BundleLimits = field(default_factory=BundleLimits)
    max_batch_rows: int = TIMED_BATCH_SIZES[-1]
    run_seconds: float | None = None
    proof_seconds: float = 10
    memory_bytes: int = 256 * 2**20
