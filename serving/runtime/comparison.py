"""How far answers are from the expected ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.bundle import Arrays
from serving.runtime.session import GraphError


@dataclass(frozen=True)
class OutputDifference:
    """How far some answers are from the expected ones.

    Attributes:
        rows: number of rows compared.
        max_abs: largest |Δ| over all float outputs; infinite where an answer is no number.
        max_rel: largest |Δ| / |expected|, where |expected| counts as at least 1e-3; likewise.
        label_agreement: share of rows with the same label; None where there are no labels.
        is_within_tolerance: every |Δ| is within its tolerance, and every label equal.
    """

    rows: int
    max_abs: float
    max_rel: float
    label_agreement: float | None
    is_within_tolerance: bool

    def describe(self) -> str:
        """Return the figures as part of a sentence."""
        labels = self.label_agreement
        share = "" if labels is None else f", labels equal {labels:.1%}"
        return f"max |Δ| {self.max_abs:.1e}{share}"


def compare_outputs(got: Arrays, expected: Arrays, tolerances: Arrays) -> OutputDifference:
    """Compare answers output by output; outputs with a tolerance as floats, others exactly.

    Raises:
        GraphError: an output is missing or has another shape or type.
    """
    rows, max_abs, max_rel, within = 0, 0.0, 0.0, True
    agreement: float | None = None
    for name, wanted in expected.items():
        found = got.get(name)
        if found is None or found.shape != wanted.shape or found.dtype.kind != wanted.dtype.kind:
            face = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise GraphError(f"expected {name} as {wanted.dtype} {wanted.shape}; got {face}")
        rows = len(wanted)
        if name not in tolerances:
            same = found == wanted
            within &= bool(same.all())
            agreement = float(same.mean()) if rows else 1.0
            continue
        # In float64, so that the differences are not rounded themselves.
        delta = np.abs(found.astype(np.float64) - wanted)
        delta[np.isnan(delta)] = np.inf
        within &= bool((delta <= tolerances[name]).all())
        max_abs = max(max_abs, float(delta.max(initial=0)))
        relative = delta / np.maximum(np.abs(wanted), 1e-3)
        max_rel = max(max_rel, float(relative.max(initial=0)))
    return OutputDifference(rows, max_abs, max_rel, agreement, within)
