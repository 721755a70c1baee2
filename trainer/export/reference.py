"""The drift reference: histograms of the training features and of the model's answers to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.model import Model

BINS = 10


def drift_reference(
    model: Model, names: tuple[str, ...], features: NDArray[np.float32]
) -> dict[str, Any]:
    """What later traffic is compared with; `features` are the training rows, `(n, n_features)`.

    Returns:
        `rows`; `features`, a histogram per feature; and `outputs`: `label` with the count of each
        class and `probabilities` with a histogram per class, or `value` with one per target.
    """
    answers = model.answers(features)
    outputs: dict[str, Any]
    if model.classes is None:
        outputs = {"value": [_histogram(column) for column in answers["value"].T]}
    else:
        outputs = {
            "label": [int(np.count_nonzero(answers["label"] == c)) for c in model.classes],
            "probabilities": [
                _counts(column, np.linspace(0, 1, BINS + 1, dtype=np.float32))
                for column in answers["probabilities"].T
            ],
        }
    return {
        "rows": len(features),
        "features": {
            name: _histogram(column) for name, column in zip(names, features.T, strict=True)
        },
        "outputs": outputs,
    }


def _histogram(values: NDArray[np.float32]) -> dict[str, list[float]]:
    # Quantile edges: bins of equal weight see a shift that equal widths hide behind an outlier.
    quantiles = np.quantile(
        values.astype(np.float64), np.linspace(0, 1, BINS + 1, dtype=np.float32)
    )
    edges = np.unique(quantiles.astype(np.float32))
    if len(edges) == 1:  # a constant
        edges = np.array([edges[0], np.nextafter(edges[0], np.float32(np.inf))])
    return _counts(values, edges)


def _counts(values: NDArray[np.float32], edges: NDArray[np.float32]) -> dict[str, list[float]]:
    counts, _ = np.histogram(values.astype(np.float64), edges.astype(np.float64))
    # The fewest digits that read back as the same float32.
    return {"edges": [float(str(edge)) for edge in edges], "counts": counts.tolist()}
