"""The drift reference: histograms of the training features and of the model's answers to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess import Categories
from trainer.data.records import MISSING, Column, Records
from trainer.model import Model

BINS = 10


def compute_drift_reference(model: Model, records: Records) -> dict[str, Any]:
    """What later traffic is compared with; `records` are training rows.

    Returns:
        `rows`; `features`, of each number and date a histogram, of each category how often each of
        its words came up and how often any other, and of each how many gaps there were; and
        `outputs`: `label` with the count of each class and `probabilities` with a histogram per
        class, or `value` with one per target.
    """
    answers = model.answers(records)
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
    categories = iter(model.encoder.categories)
    features = {}
    for column in records.columns:
        values = records.column(column.name)
        if column.kind == "category":
            features[column.name] = _frequencies(next(categories), column, values)
        else:
            there = values[~np.isnan(values)]
            gaps = len(values) - len(there)
            features[column.name] = _histogram(there) | ({"gaps": gaps} if gaps else {})
    return {"rows": len(records), "features": features, "outputs": outputs}


def _frequencies(
    categories: Categories, column: Column, codes: NDArray[np.int32]
) -> dict[str, Any]:
    places = categories.to_indices(column, codes[codes != MISSING])
    counts = np.bincount(places, minlength=categories.size)
    words = dict(zip(categories.words, counts[1:].tolist(), strict=False))
    return {"words": words, "other": int(counts[0]), "gaps": int((codes == MISSING).sum())}


def _histogram(values: NDArray[Any]) -> dict[str, Any]:
    if not len(values):
        return {"edges": [], "counts": []}
    # Quantile edges: bins of equal weight see a shift that equal widths hide behind an outlier.
    quantiles = np.quantile(
        values.astype(np.float64), np.linspace(0, 1, BINS + 1, dtype=np.float32)
    )
    edges = np.unique(quantiles.astype(values.dtype))
    if len(edges) == 1:  # a constant
        edges = np.array([edges[0], np.nextafter(edges[0], edges.dtype.type(np.inf))])
    return _counts(values, edges)


def _counts(values: NDArray[Any], edges: NDArray[Any]) -> dict[str, Any]:
    counts, _ = np.histogram(values.astype(np.float64), edges.astype(np.float64))
    # The fewest digits that read back as the same float32.
    return {"edges": [float(str(edge)) for edge in edges], "counts": counts.tolist()}
