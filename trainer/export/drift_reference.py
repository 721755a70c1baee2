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
    """Return the content of `reference.json`, with which served requests are compared.

    Args:
        model: The model.
        records: Training rows.

    Returns:
        `rows`, the number of rows; `features`, for each number and date a histogram, for each
        category the counts of its words and of all others, and for each column the number of
        missing values; `outputs`, for a classifier the count of each class in `label` and a
        histogram of each class in `probabilities`, for a regressor a histogram of each target in
        `value`.
    """
    categories = iter(model.encoder.categories)
    features = {}
    for column in records.columns:
        values = records.column(column.name)
        if column.kind == "category":
            features[column.name] = _count_words(next(categories), column, values)
        else:
            known_values = values[~np.isnan(values)]
            n_missing = len(values) - len(known_values)
            gap_field = {"gaps": n_missing} if n_missing else {}
            features[column.name] = _compute_histogram(known_values) | gap_field
    outputs = _describe_outputs(model, records)
    return {"rows": len(records), "features": features, "outputs": outputs}


def _describe_outputs(model: Model, records: Records) -> dict[str, Any]:
    answers = model.answers(records)
    if model.classes is None:
        return {"value": [_compute_histogram(column) for column in answers["value"].T]}
    edges = np.linspace(0, 1, BINS + 1, dtype=np.float32)
    return {
        "label": [int(np.count_nonzero(answers["label"] == c)) for c in model.classes],
        "probabilities": [_count_in_bins(column, edges) for column in answers["probabilities"].T],
    }


def _count_words(
    categories: Categories, column: Column, codes: NDArray[np.int32]
) -> dict[str, Any]:
    indices = categories.place(column, codes[codes != MISSING])
    counts = np.bincount(indices, minlength=categories.size)
    words = dict(zip(categories.words, counts[1:].tolist(), strict=False))
    return {"words": words, "other": int(counts[0]), "gaps": int((codes == MISSING).sum())}


def _compute_histogram(values: NDArray[Any]) -> dict[str, Any]:
    if not len(values):
        return {"edges": [], "counts": []}
    # Bins with equal counts show a shift that bins of equal width hide if there is an outlier.
    quantiles = np.quantile(
        values.astype(np.float64), np.linspace(0, 1, BINS + 1, dtype=np.float32)
    )
    edges = np.unique(quantiles.astype(values.dtype))
    if len(edges) == 1:  # all values are equal
        edges = np.array([edges[0], np.nextafter(edges[0], edges.dtype.type(np.inf))])
    return _count_in_bins(values, edges)


def _count_in_bins(values: NDArray[Any], edges: NDArray[Any]) -> dict[str, Any]:
    counts, _ = np.histogram(values.astype(np.float64), edges.astype(np.float64))
    # str() gives the fewest digits that read back as the same float32.
    return {"edges": [float(str(edge)) for edge in edges], "counts": counts.tolist()}
