"""Gradient check: backpropagation against finite differences, parameter by parameter.

A wrong gradient still trains, only worse; this is how one finds out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn.losses import Loss
from trainer.nn.network import Network

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class GradientError:
    """How far one parameter array's gradient is from its finite differences.

    Attributes:
        layer: position of the layer, from 0.
        parameter: `W` or `b`.
        relative: the largest |a − n| / (|a| + |n|) over the array, where |a| + |n| counts as at
            least a thousandth of the array's largest: below that the differences are rounding.
    """

    layer: int
    parameter: str
    relative: float


def check_gradients(
    network: Network, x: Array, targets: NDArray[Any], loss: Loss, *, step: float = 1e-5
) -> list[GradientError]:
    """Compare every entry of the gradient with the centred difference (L(θ+h) − L(θ−h)) / 2h.

    Correct code gives relative errors of 1e-7 or less for smooth networks. Where a ReLU's input is
    within `step` of its kink the two sides disagree, and the error says so.

    Args:
        network: a float64 network; its parameters come back unchanged.
        x: `(n, n_inputs)`, n ≥ 1.
        targets: one per row, in the form `loss` asks for.
        loss: applied to the logits.
        step: h.

    Returns:
        One entry for each W and each b, in the order of the layers.

    Raises:
        ValueError: the network is not float64: differences of float32 losses are rounding.
    """
    if network.dtype != np.float64:
        raise ValueError(
            f"expected a float64 network; got {network.dtype}; build it with dtype=np.float64"
        )
    network.loss_and_gradients(x, targets, loss)
    numeric = np.empty_like(network.parameters)
    for i, theta in enumerate(network.parameters):
        network.parameters[i] = theta + step
        above = loss.value(network.logits(x), targets)
        network.parameters[i] = theta - step
        below = loss.value(network.logits(x), targets)
        network.parameters[i] = theta
        numeric[i] = (above - below) / (2 * step)

    errors, start = [], 0
    for position, layer in enumerate(network.layers):
        for name, analytic in (("W", layer.dW), ("b", layer.db)):
            expected = numeric[start : start + analytic.size].reshape(analytic.shape)
            errors.append(GradientError(position, name, _relative(analytic, expected)))
            start += analytic.size
    return errors


def _relative(analytic: Array, numeric: Array) -> float:
    size = np.abs(analytic) + np.abs(numeric)
    floor = max(float(size.max()) * 1e-3, np.finfo(np.float64).tiny)
    return float((np.abs(analytic - numeric) / np.maximum(size, floor)).max())
