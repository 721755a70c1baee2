"""The comparison of the exported graph with the NumPy forward pass.

The graph is run by the code that serves predictions. Its answers may differ from NumPy's by float32
rounding only; `tolerances` estimates how much that can be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, Parity
from serving.runtime import GraphSession, OutputDifference, compare_outputs, run_in_slices
from trainer.data.records import Records
from trainer.export.tolerances import compute_tolerances
from trainer.model import Model

BATCH_SIZES = (1, 7, 256)  # rows


class ParityError(ArithmeticError):
    """The exported graph does not answer as the NumPy forward pass, so it must not be served."""


def check_parity(
    model: Model, session: GraphSession, held_out: Records, synthetic: Records
) -> Parity:
    """Compare the graph with the model in batches of each size, and in an empty batch.

    Args:
        model: The model, whose NumPy answers are the reference.
        session: Session of the exported graph.
        held_out: At least one record that the model is evaluated on.
        synthetic: Random and extreme records.

    Returns:
        The largest differences on `held_out` in any batch size.

    Raises:
        ParityError: If a difference exceeds float32 rounding, or a label differs that no rounding
            can change.
    """
    for records in (held_out.take(slice(0)), synthetic):
        _compare_in_batches(model, session, records)
    differences = _compare_in_batches(model, session, held_out)
    agreements = [d.label_agreement for d in differences if d.label_agreement is not None]
    return Parity(
        rows=len(held_out),
        max_abs=max(d.max_abs for d in differences),
        max_rel=max(d.max_rel for d in differences),
        label_agreement=min(agreements) if agreements else None,
    )


def _compare_in_batches(
    model: Model, session: GraphSession, records: Records
) -> list[OutputDifference]:
    """Return the differences for each batch size.

    Raises:
        ParityError: If the answers differ by more than rounding; see `check_parity`.
    """
    expected, tolerances = model.answers(records), compute_tolerances(model, records)
    is_decided = np.True_ if model.classes is None else find_decided_rows(model, records)
    inputs, differences = records.inputs(), []
    for batch_size in BATCH_SIZES:
        outputs = run_in_slices(session, inputs, batch_size)
        difference = compare_outputs(outputs, expected, tolerances)
        if model.classes is not None:
            is_excused = ~is_decided & _find_excusable_labels(
                model.classes, outputs["label"], expected, tolerances
            )
            outputs["label"] = np.where(is_excused, expected["label"], outputs["label"])
        if not compare_outputs(outputs, expected, tolerances).is_within_tolerance:
            raise ParityError(
                f"expected the exported graph to answer {len(records)} rows as the NumPy forward "
                f"pass does; got max |Δ| {difference.max_abs:.1e} and labels equal "
                f"{difference.label_agreement} in batches of {batch_size}; this is a fault of the "
                f"export: report it"
            )
        differences.append(difference)
    return differences


def find_decided_rows(model: Model, records: Records) -> NDArray[np.bool_]:
    """Return for each row whether no rounding can change its label, bool `(n,)`.

    The other rows are ties within float32 precision, for which either label is right.

    Args:
        model: A classifier.
        records: The rows.
    """
    p = model.answers(records)["probabilities"]
    if model.task == "binary":
        leads = np.abs(p[:, model.positive_index] - np.float32(model.threshold))
    else:
        top_two = np.partition(p, -2, axis=1)
        leads = top_two[:, -1] - top_two[:, -2]
    tolerances = compute_tolerances(model, records)["probabilities"].max(axis=1)
    is_decided: NDArray[np.bool_] = leads > 2 * tolerances
    return is_decided


def _find_excusable_labels(
    classes: NDArray[Any], labels: NDArray[Any], expected: Arrays, tolerances: Arrays
) -> NDArray[np.bool_]:
    """Return for each label whether it can be right if its row is a tie, bool `(n,)`.

    With two classes, every label that is a class can be. With more, its probability must equal the
    highest one within the tolerances.
    """
    p = expected["probabilities"]
    indices = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    is_class: NDArray[np.bool_] = classes[indices] == labels
    if len(classes) == 2:
        return is_class
    gaps = p.max(axis=1) - np.take_along_axis(p, indices[:, None], axis=1)[:, 0]
    is_tied: NDArray[np.bool_] = gaps <= 2 * tolerances["probabilities"].max(axis=1)
    return is_class & is_tied
