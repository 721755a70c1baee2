"""The metrics that `Sequential.compile` accepts, by name or as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import Loss
from trainer.nn.initializers import find_by_name

Array = NDArray[Any]

# A function of the targets and the predictions that returns a number.
Metric = Callable[[Array, Array], float]


def accuracy(targets: Array, predictions: Array) -> float:
    """Return the share of correct classes; with several labels per row, of correct labels.

    Args:
        targets: Class indices, int `(n,)`, or labels 0 and 1, `(n, k)`.
        predictions: Probabilities, float `(n, k)`.
    """
    if targets.ndim == 1:
        return float(np.mean(predictions.argmax(axis=1) == targets))
    return float(np.mean((predictions >= 0.5) == (targets >= 0.5)))


def mse(targets: Array, predictions: Array) -> float:
    """Return the mean squared error of float arrays `(n, k)`."""
    return float(np.mean((predictions - targets) ** 2))


def mae(targets: Array, predictions: Array) -> float:
    """Return the mean absolute error of float arrays `(n, k)`."""
    return float(np.mean(np.abs(predictions - targets)))


METRICS: dict[str, Metric] = {f.__name__: f for f in (accuracy, mse, mae)}

# Metrics that have no meaning for the targets of a loss, by the link of the loss.
UNSUITABLE_METRICS = {"softmax": (mse, mae), "identity": (accuracy,), "exp": (accuracy,)}


def select_metrics(metrics: Sequence[str | Metric] | None, loss: Loss) -> dict[str, Metric]:
    """Return the metric functions by name.

    Args:
        metrics: Names from `METRICS`, or functions; None for the default of the loss, which is
            `accuracy` for cross-entropies and `mae` for other losses.
        loss: Loss that the network is trained with.

    Raises:
        ValueError: If a name is unknown or occurs twice, or a metric does not fit the loss.
    """
    if metrics is None:
        metrics = ["accuracy"] if loss.link in ("sigmoid", "softmax") else ["mae"]
    functions: dict[str, Metric] = {}
    for metric in metrics:
        name = metric if isinstance(metric, str) else metric.__name__
        function = find_by_name("metric", METRICS, metric) if isinstance(metric, str) else metric
        if name in functions or name == "loss":
            raise ValueError(
                f"expected a different name for each metric, and none called loss; got {name!r} "
                f"twice"
            )
        if function in UNSUITABLE_METRICS.get(loss.link, ()):
            raise ValueError(f"expected metrics that fit the loss {loss.name}; got {name!r}")
        functions[name] = function
    return functions
