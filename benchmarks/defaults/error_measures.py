"""The error of predictions, by the same formulas for all contenders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A probability is clipped to this before its logarithm, so that one certain and wrong answer does
# not make a mean infinite.
MIN_PROBABILITY = 1e-7


def measure_errors(
    task: str, target: NDArray[Any], predictions: Mapping[str, NDArray[Any]]
) -> dict[str, float]:
    """Return the error, and for classes the log loss, of predictions.

    Args:
        task: `binary`, `multiclass` or `regression`.
        target: Classes as int64 from 0, or quantities, `(n,)`.
        predictions: `values` `(n,)` of a regression; `labels` `(n,)` and `probabilities`
            `(n, n_classes)` of a classification.

    Raises:
        ValueError: If a prediction is not finite.
    """
    if not all(np.isfinite(array).all() for array in predictions.values()):
        raise ValueError("expected finite predictions; got NaN or infinity; the fit has failed")
    if task == "regression":
        return {"error": compute_relative_rmse(target, predictions["values"])}
    return {
        "error": compute_error_rate(target, predictions["labels"]),
        "log_loss": compute_log_loss(target, predictions["probabilities"]),
    }


def compute_error_rate(target: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return (wrong + 0.5) / (n + 1), which is never 0, so that ratios are finite."""
    return (int(np.count_nonzero(target != labels)) + 0.5) / (len(target) + 1)


def compute_log_loss(target: NDArray[np.int64], probabilities: NDArray[Any]) -> float:
    """Return the mean negative logarithm of the probability of the true class."""
    chosen = probabilities[np.arange(len(target)), target].astype(np.float64)
    return float(-np.log(chosen.clip(MIN_PROBABILITY, 1)).mean())


def compute_relative_rmse(target: NDArray[Any], values: NDArray[Any]) -> float:
    """Return the root mean squared error, divided by the standard deviation of the targets."""
    return float(np.sqrt(np.mean((target - values) ** 2)) / target.std())
