"""Gradient check: backpropagation against a derivative that knows nothing of the chain rule.

A wrong gradient still trains, only worse; this is how one finds out.
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
    """How far one parameter array's gradient is from its numeric derivative.

    Attributes:
        layer: position of the layer, from 0.
        parameter: its name, `W` or `b` for one.
        relative: the largest |a − n| / (|a| + |n|) over the array, where |a| + |n| counts as at
            least a thousandth of the array's largest, and |a − n| as 0 where the method cannot
            resolve it, as where a bias is followed by batch normalisation and has no gradient.
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
    most: int | None = None,
) -> list[GradientError]:
    """Compare the entries of the gradient with a numeric derivative of the training loss.

    Correct code gives relative errors of 1e-7 or less with centred differences,
    (L(θ+h) − L(θ−h)) / 2h, and 1e-12 or less with the complex step, Im L(θ+ih) / h, which subtracts
    nothing and so loses nothing (Squire and Trapp 1998,
    https://doi.org/10.1137/S003614459631241X). Where a ReLU's input is within h of its kink the
    centred differences disagree, and the error says so. The complex step stays on one side, but
    where the input is 0 exactly that is not the side of backpropagation: move biases off 0.

    Args:
        network: a float64 network; nothing of it changes but its gradients.
        x: `(n, n_inputs)`, n ≥ 1.
        targets: one per row, in the form `loss` asks for.
        loss: applied to the logits.
        weights: of the rows, `(n,)`.
        penalty: on the weights.
        method: `central` or `complex`.
        most: entries to check of each array, evenly spaced; by default all.

    Returns:
        One entry for each parameter array, in the order of the layers.

    Raises:
        ValueError: the network is not float64: differences of float32 losses are rounding.
    """
    if network.dtype != np.float64:
        raise ValueError(
            f"expected a float64 network; got {network.dtype}; build it with dtype=np.float64"
        )
    analytic = network.astype(np.float64)
    value = analytic.loss_and_gradients(x, targets, loss, weights, penalty)
    network.gradients[...] = analytic.gradients
    chosen = _chosen(network, most)
    places = np.concatenate(chosen)
    numeric = _derivatives(
        network, places, x, targets, copy.deepcopy(loss), weights, penalty, method
    )
    # What rounding leaves of a derivative that is 0: of L / h, or of the largest derivative.
    scale = abs(value) / STEPS[method] if method == "central" else np.abs(numeric).max()
    noise = 20 * np.finfo(np.float64).eps * scale
    names = [(i, p.name) for i, layer in enumerate(network.layers) for p in layer.parameters()]
    own = network.gradients[places]
    ends = np.cumsum([len(part) for part in chosen])[:-1]
    return [
        GradientError(position, name, _relative(a, n, noise))
        for (position, name), a, n in zip(
            names, np.split(own, ends), np.split(numeric, ends), strict=True
        )
    ]


def _chosen(network: Network, most: int | None) -> list[NDArray[np.int64]]:
    """Of each parameter array the places, in the flat vector, of the entries to check."""
    chosen, start = [], 0
    for layer in network.layers:
        for parameter in layer.parameters():
            size = parameter.value.size
            count = size if most is None else min(most, size)
            chosen.append(start + np.linspace(0, size - 1, count).astype(np.int64))
            start += size
    return chosen


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
    h = STEPS[method]
    # Each evaluation starts from the same random streams, so that dropout silences the same units.
    probe = network.astype(np.complex128 if method == "complex" else np.float64)
    streams = [g.bit_generator.state for g in probe.generators()]
    rows = x.astype(probe.dtype)

    def evaluate() -> Any:
        for generator, stream in zip(probe.generators(), streams, strict=True):
            generator.bit_generator.state = stream
        return probe.training_loss(rows, targets, loss, weights, penalty)

    found = np.empty(len(places))
    for nth, i in enumerate(places):
        theta = network.parameters[i]
        if method == "complex":
            probe.parameters[i] = theta + 1j * h
            found[nth] = evaluate().imag / h
        else:
            probe.parameters[i] = theta + h
            above = evaluate()
            probe.parameters[i] = theta - h
            found[nth] = (above - evaluate()) / (2 * h)
        probe.parameters[i] = theta
    return found


def _relative(analytic: Array, numeric: Array, noise: float) -> float:
    difference = np.abs(analytic - numeric)
    difference[difference <= noise] = 0
    size = np.abs(analytic) + np.abs(numeric)
    floor = max(float(size.max()) * 1e-3, np.finfo(np.float64).tiny)
    return float((difference / np.maximum(size, floor)).max())
