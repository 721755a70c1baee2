"""The gradient check: compares backpropagated gradients with finite differences of the loss.

A network with a wrong gradient still trains, only worse, so that nothing else shows the error.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.nn.losses import Loss
from trainer.nn.network import Network
from trainer.nn.regularizers import Penalty

Array = NDArray[Any]
Method = Literal["central", "complex"]

STEPS: dict[Method, float] = {"central": 1e-5, "complex": 1e-30}


@dataclass(frozen=True)
class GradientError:
    """The error of the gradient of one parameter array.

    Attributes:
        layer: Position of the layer, from 0.
        parameter: Name of the array, for example `W` or `b`.
        relative: The largest |a − n| / (|a| + |n|) over the array, with the analytic derivative a
            and the numeric derivative n. |a| + |n| counts as at least a thousandth of its largest
            value in the array. |a − n| counts as 0 below the rounding error of the method: a bias
            before batch normalisation, for example, has no gradient at all.
    """

    layer: int
    parameter: str
    relative: float


def check_gradients(
    network: Network,
    x: Array,
    targets: NDArray[Any],
    loss: Loss,
    *,
    weights: NDArray[Any] | None = None,
    penalty: Penalty | None = None,
    method: Method = "central",
    max_entries: int | None = None,
) -> list[GradientError]:
    """Compare the gradient of the training loss with its numeric derivative, entry by entry.

    Correct code gives relative errors of 1e-7 or less with central differences,
    (L(θ+h) − L(θ−h)) / 2h, and of 1e-12 or less with the complex step, Im L(θ+ih) / h, which has no
    subtraction and therefore no cancellation (Squire and Trapp 1998,
    https://doi.org/10.1137/S003614459631241X). Near the kink of a ReLU, closer than h, central
    differences report an error although the gradient is right. The complex step does not, unless
    the input is exactly 0, where it takes another side than backpropagation: set biases to nonzero
    values before the check.

    Args:
        network: Float64 network; the check changes its `gradients` and nothing else.
        x: Inputs, float64 `(n, n_inputs)`, n ≥ 1.
        targets: Targets of the rows, in the form that `loss` expects.
        loss: Loss of the logits.
        weights: Weights of the rows, float64 `(n,)` [default: 1 each].
        penalty: Penalty on the weight matrices [default: none].
        method: Numeric derivative, `central` or `complex` [default: central].
        max_entries: Number of evenly spaced entries of each array to check [default: all].

    Returns:
        The error of each parameter array, in the order of the layers.

    Raises:
        ValueError: If the network is not float64: differences of float32 losses are mostly
            rounding.
    """
    if network.dtype != np.float64:
        raise ValueError(
            f"expected a float64 network; got {network.dtype}; build it with dtype=np.float64"
        )
    analytic = network.astype(np.float64)
    value = analytic.loss_and_gradients(x, targets, loss, weights, penalty)
    network.gradients[...] = analytic.gradients
    indices = _select_entries(network, max_entries)
    places = np.concatenate(indices)
    numeric = _derivatives(
        network, places, x, targets, copy.deepcopy(loss), weights, penalty, method
    )
    # The loss is a mean over members; the gradient is that of their sum.
    numeric *= network.n_members
    # Rounding error of a derivative that is 0: relative to L / h, or to the largest derivative.
    scale = abs(value) / STEPS[method] if method == "central" else np.abs(numeric).max()
    noise = 20 * np.finfo(np.float64).eps * scale
    names = [(i, p.name) for i, layer in enumerate(network.layers) for p in layer.parameters()]
    own = network.gradients[places]
    ends = np.cumsum([len(part) for part in indices])[:-1]
    return [
        GradientError(position, name, _relative_error(a, n, noise))
        for (position, name), a, n in zip(
            names, np.split(own, ends), np.split(numeric, ends), strict=True
        )
    ]


def _select_entries(network: Network, max_entries: int | None) -> list[NDArray[np.int64]]:
    """Return, for each parameter array, the flat indices of the entries to check, int64."""
    indices, start = [], 0
    for layer in network.layers:
        for parameter in layer.parameters():
            size = parameter.value.size
            count = size if max_entries is None else min(max_entries, size)
            indices.append(start + np.linspace(0, size - 1, count).astype(np.int64))
            start += size
    return indices


def _derivatives(
    network: Network,
    places: NDArray[np.int64],
    x: Array,
    targets: NDArray[Any],
    loss: Loss,
    weights: NDArray[Any] | None,
    penalty: Penalty | None,
    method: Method,
) -> Array:
    """Return the numeric derivative of the training loss by each entry in `places`, float64."""
    h = STEPS[method]
    # Each evaluation starts from the same random state, so that dropout drops the same units.
    probe = network.astype(np.complex128 if method == "complex" else np.float64)
    streams = [g.bit_generator.state for g in probe.generators()]
    rows = x.astype(probe.dtype)

    def evaluate() -> Any:
        for generator, stream in zip(probe.generators(), streams, strict=True):
            generator.bit_generator.state = stream
        return probe.training_loss(rows, targets, loss, weights, penalty)

    derivatives = np.empty(len(places))
    for nth, i in enumerate(places):
        theta = network.parameters[i]
        if method == "complex":
            probe.parameters[i] = theta + 1j * h
            derivatives[nth] = evaluate().imag / h
        else:
            probe.parameters[i] = theta + h
            above = evaluate()
            probe.parameters[i] = theta - h
            derivatives[nth] = (above - evaluate()) / (2 * h)
        probe.parameters[i] = theta
    return derivatives


def _relative_error(analytic: Array, numeric: Array, noise: float) -> float:
    """Return `GradientError.relative`; differences up to `noise` count as 0."""
    difference = np.abs(analytic - numeric)
    difference[difference <= noise] = 0
    size = np.abs(analytic) + np.abs(numeric)
    floor = max(float(size.max()) * 1e-3, np.finfo(np.float64).tiny)
    return float((difference / np.maximum(size, floor)).max())
