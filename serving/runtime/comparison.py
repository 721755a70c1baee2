"""Compare the outputs of a graph with the expected ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.bundle import Arrays
from serving.runtime.session import GraphError

MIN_RELATIVE_DENOMINATOR = 1e-3  # smallest |expected| that a difference is divided by


@dataclass(frozen=True)
class OutputDifference:
    """The largest differences between some outputs and the expected ones.

    Attributes:
        rows: Number of rows that were compared.
        max_abs: Largest |Δ| over all float outputs; infinite if a value is NaN.
        max_rel: Largest |Δ| / max(|expected|, 1e-3) over all float outputs; infinite if a value is
            NaN.
        label_agreement: Share of rows with the expected label, 0 to 1; None without labels.
        is_within_tolerance: Whether every |Δ| is within its tolerance and all labels are equal.
    """

    rows: int
    max_abs: float
    max_rel: float
    label_agreement: float | None
    is_within_tolerance: bool

    def describe(self) -> str:
        """Return the main figures as part of a sentence."""
        labels = self.label_agreement
        share = "" if labels is None else f", labels equal {labels:.1%}"
        return f"max |Δ| {self.max_abs:.1e}{share}"


def compare_outputs(got: Arrays, expected: Arrays, tolerances: Arrays) -> OutputDifference:
    """Compare outputs by name: those with a tolerance as floats, the others exactly.

    Args:
        got: Outputs of the graph.
        expected: Expected outputs.
        tolerances: Largest allowed |Δ| of each element, for each float output.

    Raises:
        GraphError: If an output is missing, or has another shape or kind of dtype.
    """
    rows, max_abs, max_rel, is_within_tolerance = 0, 0.0, 0.0, True
    label_agreement: float | None = None
    for name, wanted in expected.items():
        found = got.get(name)
        if found is None or found.shape != wanted.shape or found.dtype.kind != wanted.dtype.kind:
            description = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise GraphError(f"expected {name} as {wanted.dtype} {wanted.shape}; got {description}")
        rows = len(wanted)
        if name not in tolerances:
            equal = found == wanted
            is_within_tolerance &= bool(equal.all())
            label_agreement = float(equal.mean()) if rows else 1.0
            continue
        # Float64 keeps the differences of float32 values exact.
        delta = np.abs(found.astype(np.float64) - wanted)
        delta[np.isnan(delta)] = np.inf
        is_within_tolerance &= bool((delta <= tolerances[name]).all())
        max_abs = max(max_abs, float(delta.max(initial=0)))
        relative = delta / np.maximum(np.abs(wanted), MIN_RELATIVE_DENOMINATOR)
        max_rel = max(max_rel, float(relative.max(initial=0)))
    return OutputDifference(rows, max_abs, max_rel, label_agreement, is_within_tolerance)
