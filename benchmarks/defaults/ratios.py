"""Ratios of errors: geometric means over tables and seeds, and the number of tables that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WORSE_FACTOR = 1.05  # a table counts as clearly worse above this ratio
# Smaller log losses count as this one. That of an easy table can be 0, and a ratio to it infinite.
SMALLEST_LOG_LOSS = 1e-3


def compute_geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of numbers above 0."""
    return float(np.exp(np.mean(np.log(values))))


def compare_contenders(
    ours: Mapping[str, Sequence[float]],
    other: Mapping[str, Sequence[float]],
    *,
    smallest: float = 0.0,
) -> dict[str, Any]:
    """Compare two contenders by the ratios of their errors, seed by seed.

    Args:
        ours: Errors by table, one for each seed.
        other: Errors of the other contender on the same tables and seeds.
        smallest: Value as which smaller errors count [default: 0].

    Returns:
        `ratio`, the geometric mean over tables and seeds of ours / other; `better` and `worse`, the
        number of tables whose mean ratio is below and above 1; `clearly_worse`, above 1.05; and
        `tables`, the mean ratio of each.
    """
    tables = {
        name: compute_geometric_mean(
            np.divide(np.maximum(ours[name], smallest), np.maximum(other[name], smallest)).tolist()
        )
        for name in ours
        if name in other
    }
    means = np.array(list(tables.values()))
    return {
        "ratio": compute_geometric_mean(means.tolist()),
        "better": int(np.count_nonzero(means < 1)),
        "worse": int(np.count_nonzero(means > 1)),
        "clearly_worse": int(np.count_nonzero(means > WORSE_FACTOR)),
        "tables": tables,
    }
