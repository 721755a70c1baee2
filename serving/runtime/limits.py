"""What the proof of a version may take, and what it has to cover."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.bundle import BundleLimits
from serving.runtime.timing import TIMED_ROWS


@dataclass(frozen=True)
class ProofLimits:
    """Limits within which a version is loaded and proved.

    Attributes:
        bundle: Limits of the bundle's files.
        largest_batch: Rows of the largest batch that requests will be joined to.
    """

    bundle: BundleLimits = field(default_factory=BundleLimits)
    largest_batch: int = TIMED_ROWS[-1]
