"""The arrays that `Sequential` takes, converted to the features, targets and weights of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.data.precision_loss import warn_of_precision_losses
from trainer.nn import Loss
from trainer.training.batches import TrainingRows

Array = NDArray[Any]
Inputs = ArrayLike | tuple[ArrayLike, ...]  # one array, or one for each branch
ClassWeight = Mapping[int, float] | str

PRECISION_ADVICE = "subtract an offset from them first, or make the network with dtype=float64"
CLASS_WEIGHT_ADVICE = "expected class_weight balanced, or by class"


def convert_features(x: Inputs, dtype: np.dtype[Any]) -> Array:
    """Return the features as one contiguous array `(n, n_inputs)` of the network's dtype.

    A warning is issued if float32 cannot represent the differences between values. It points at
    the caller of the function that calls this one.

    Args:
        x: Numbers, `(n, n_inputs)`, or a tuple of such arrays, which are joined column-wise.
        dtype: Dtype of the network.

    Raises:
        ValueError: If an array has another shape or no numbers, or the arrays differ in rows.
    """
    parts = [np.asarray(part) for part in (x if isinstance(x, tuple) else (x,))]
    for part in parts:
        if part.ndim != 2 or part.dtype.kind not in "fiub":
            raise ValueError(
                f"expected numbers of shape (n, n_inputs); got {part.dtype} of {part.shape}"
            )
    if len({len(part) for part in parts}) > 1:
        raise ValueError(f"expected as many rows in each input; got {[len(p) for p in parts]}")
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    if dtype == np.float32:
        names = [f"x{index}" for index in range(joined.shape[1])]
        warn_of_precision_losses(names, joined, PRECISION_ADVICE, stacklevel=3)
    return np.ascontiguousarray(joined, dtype)


def convert_targets(y: ArrayLike, loss: Loss, dtype: np.dtype[Any]) -> Array:
    """Return the targets as the loss requires them.

    Args:
        y: Class indices, `(n,)`, or numbers, `(n,)` or `(n, k)`.
        loss: Loss that is minimised.
        dtype: Dtype of the network.

    Returns:
        Class indices `(n,)` as they are, for a softmax; else numbers `(n, k)` of the dtype.

    Raises:
        ValueError: If the loss requires numbers and the targets are none, or there are no rows.
    """
    targets = np.asarray(y)
    if loss.link == "softmax":
        return targets
    if targets.dtype.kind not in "fiub":
        raise ValueError(f"expected numbers as targets of {loss.name}; got {targets.dtype}")
    if not targets.size:
        raise ValueError(f"expected rows; got targets of shape {targets.shape}")
    return targets.reshape(len(targets), -1).astype(dtype)


def convert_weights(sample_weight: ArrayLike | None, dtype: np.dtype[Any]) -> Array | None:
    """Return the weights of the rows as an array of the network's dtype, or None."""
    return None if sample_weight is None else np.asarray(sample_weight, dtype)


def check_validation_data(data: Any) -> None:
    """Check that validation data are a tuple or list of two or three parts.

    Raises:
        ValueError: If they are not (x, y) or (x, y, sample_weight).
    """
    is_sequence = isinstance(data, tuple | list)
    if not is_sequence or len(data) not in (2, 3):
        got = f"{len(data)} of them" if is_sequence else repr(data)[:80]
        raise ValueError(f"expected validation_data of (x, y) or (x, y, sample_weight); got {got}")


def split_rows(rows: TrainingRows, share: float) -> tuple[TrainingRows, TrainingRows]:
    """Split the last rows off for validation.

    Args:
        rows: All rows.
        share: Share of the rows that are for validation, in (0, 1).

    Returns:
        Training rows and validation rows, as views.

    Raises:
        ValueError: If one part has no rows, or a class occurs in the validation rows only.
    """
    n_training = len(rows) - int(len(rows) * share)
    if not 0 < n_training < len(rows):
        raise ValueError(
            f"expected a validation_split that leaves rows for training and for validation; got "
            f"{share} of {len(rows)}"
        )
    training, validation = rows[:n_training], rows[n_training:]
    if training.targets.ndim == 1:
        missing = np.setdiff1d(validation.targets, training.targets)
        if missing.size:
            raise ValueError(
                f"expected every class among the training rows; got {missing.tolist()} only among "
                f"the last rows, which validation_split takes for validation; shuffle the rows "
                f"first"
            )
    return training, validation


def apply_class_weights(
    rows: TrainingRows, class_weight: ClassWeight, loss: Loss, n_outputs: int
) -> TrainingRows:
    """Return the rows with their weights multiplied by those of their classes.

    Args:
        rows: Training rows.
        class_weight: Weight of each class by its index, 1 for a class that is not given; or
            `balanced`. For several labels per row only `balanced` is accepted; the weight of a row
            is then the product of those of its labels.
        loss: Loss that is minimised.
        n_outputs: Number of outputs of the network.

    Raises:
        ValueError: If the loss is not for classes, or `class_weight` does not fit the classes.
    """
    weights = _compute_class_weights(class_weight, rows.targets, loss, n_outputs)
    weights = weights.astype(rows.features.dtype)
    if rows.weights is not None:
        weights = weights * rows.weights
    return TrainingRows(rows.features, rows.targets, weights)


def _compute_class_weights(
    class_weight: ClassWeight, targets: Array, loss: Loss, n_outputs: int
) -> Array:
    """Return the weight of each row's class, float64 `(n,)`."""
    from sklearn.utils.class_weight import compute_sample_weight  # noqa: PLC0415 - slow to import

    if loss.link not in ("sigmoid", "softmax"):
        raise ValueError(
            f"expected classes for class_weight; got values to regress on by {loss.name}; "
            f"leave it out, or give sample_weight"
        )
    labels = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"{CLASS_WEIGHT_ADVICE}; got {class_weight!r}")
        balanced: Array = compute_sample_weight(class_weight, labels)
        return balanced
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"{CLASS_WEIGHT_ADVICE}; got {class_weight!r}")
    classes = range(n_outputs) if loss.link == "softmax" else range(2)
    if labels.ndim == 2 or (unknown := [c for c in class_weight if c not in classes]):
        got = "several labels at once" if labels.ndim == 2 else f"{unknown} too"
        raise ValueError(f"expected class_weight of the classes {[*classes]}; got {got}")
    weights = np.ones(len(labels))
    for label, weight in class_weight.items():
        weights[labels == label] = weight
    return weights
