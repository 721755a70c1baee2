"""Comparison of a compressed variant in ONNX Runtime with its NumPy reference, and with itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.bundle import Arrays
from serving.runtime import GraphSession, run_in_slices
from trainer.data.records import Records

OUTLIER_FACTOR = 1000.0
EXACT_ROW_TOLERANCE = 1e-6  # relative to the largest expected output


def measure_parity(graph: bytes, reference: Any, records: Records) -> dict[str, Any]:
    """Compare the answers of a graph with those of its NumPy reference in integers.

    Args:
        graph: ONNX graph of the variant.
        reference: NumPy model of the variant.
        records: Rows to answer.

    Returns:
        The number of rows, the largest difference, also relative to the range of the answers, the
        share of rows without a difference, the share of equal labels, and `by_batch`.
    """
    session = GraphSession(graph)
    inputs = records.inputs()
    answers, expected = run_in_slices(session, inputs, 256), reference.answers(records)
    output = "value" if "value" in expected else "probabilities"
    values = expected[output].astype(np.float64)
    difference = np.abs(answers[output].astype(np.float64) - expected[output])
    tolerance = EXACT_ROW_TOLERANCE * np.abs(expected[output]).max()
    parity: dict[str, Any] = {
        "rows": len(records),
        "max_abs": float(difference.max()),
        "of_spread": float(difference.max() / np.ptp(values)),
        "exact_rows": float((difference.max(axis=1) <= tolerance).mean()),
    }
    if "label" in expected:
        parity["labels_alike"] = float((answers["label"] == expected["label"]).mean())
    return parity | {"by_batch": measure_batch_effect(session, inputs, output)}


def measure_batch_effect(session: GraphSession, inputs: Arrays, output: str) -> dict[str, float]:
    """Measure how much answers depend on the batch, compared with each row alone.

    Args:
        session: Session of the graph.
        inputs: Input arrays.
        output: Name of the output to compare.

    Returns:
        The largest difference in batches of 7, in batches of 256 and among outliers, and the share
        of equal labels.
    """
    alone = run_in_slices(session, inputs, 1)
    answers = {"7": run_in_slices(session, inputs, 7), "256": run_in_slices(session, inputs, 256)}
    mixed = {name: np.repeat(array, 2, axis=0) for name, array in inputs.items()}
    for array in mixed.values():
        if array.dtype.kind == "f":
            array[1::2] *= np.asarray(OUTLIER_FACTOR, array.dtype)
    with_outliers = run_in_slices(session, mixed, 256)
    answers["outliers"] = {name: array[::2] for name, array in with_outliers.items()}
    effects = {
        name: float(np.abs(batch[output].astype(np.float64) - alone[output]).max())
        for name, batch in answers.items()
    }
    if "label" in alone:
        shares = [(batch["label"] == alone["label"]).mean() for batch in answers.values()]
        effects["labels_alike"] = float(np.mean(shares))
    return effects
