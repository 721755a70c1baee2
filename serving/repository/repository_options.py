"""The options of a repository: which versions and variants it serves, and how it tests them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.runtime import ProofLimits
from serving.runtime.self_test import DEFAULT_PROOF_LIMITS
from serving.runtime.variant_selection import AUTO_VARIANT

TakeUpPolicy = Literal["compatible", "all"]


@dataclass(frozen=True)
class RepositoryOptions:
    """Options of a repository.

    Attributes:
        variant: Name of the variant to serve if a version has it, or "auto".
        keep: Largest number of versions of each model to serve.
        poll: Time between two scans of the folder, in seconds; 0 scans it only on request.
        take_up: "compatible" holds a new version that does not accept every request that the live
            version accepts; "all" serves every version that passes its self-test.
        state: Path of the state file, relative to the folder of models.
        default_model: Name of the default model, which serves requests without a model name; None
            for the first model that was ever served alone, even if that was before a restart.
        limits: Limits of time and memory within which versions are tested.
        should_ignore_extra: Whether a request may name columns that the model does not have, which
            are then ignored.
    """

    variant: str = AUTO_VARIANT
    keep: int = 1
    poll: float = 1.0
    take_up: TakeUpPolicy = "compatible"
    state: Path = Path(".serving.json")
    default_model: str | None = None
    limits: ProofLimits = DEFAULT_PROOF_LIMITS
    should_ignore_extra: bool = False


DEFAULT_OPTIONS = RepositoryOptions()
