"""The importance of inputs and units: estimates of the loss of accuracy if one is removed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.compress.subnetwork import Floats, Vector, compute_layer_inputs, compute_means
from trainer.compress.to_dense import list_dense_layers
from trainer.nn import Loss, Network

SMALLEST_FLOAT = float(np.finfo(np.float64).tiny)


class UnitImportances(NamedTuple):
    """Two estimates of the importance of every input of every dense layer.

    The inputs of the first dense layer are features; those of every other dense layer are the units
    of the layer before it. Each estimate is a list with one array per dense layer, float64
    `(n_in,)`, of numbers of at least 0 that are comparable across the layers.

    Attributes:
        magnitude: Share of the input in the variance of its layer's sums; 1 in total per layer.
        taylor: Estimated increase of the loss if the input is replaced by its mean.
    """

    magnitude: list[Vector]
    taylor: list[Vector]


def compute_importances(
    network: Network, x: Floats, targets: NDArray[Any], loss: Loss
) -> UnitImportances:
    """Return the importance of every input and every hidden unit of a network.

    With a the values of an input, a removal loses the deviation δ = a − mean(a), since the mean
    moves into the biases.

    magnitude: mean(δ²) ‖w‖² with w the outgoing weights, divided by the sum over the layer, which
    makes the layers comparable. This is the l2 normalization of Molchanov et al. 2017,
    https://arxiv.org/abs/1611.06440, section 2.2, applied to squares.

    taylor: ½ mean((δ ∂ℓ/∂a)²) over the rows, with ℓ the loss of a row. To first order, a removal
    changes the loss by mean(−δ ∂ℓ/∂a) (equation 8 of the same paper). But in a trained network, the
    terms of the rows cancel, and this mean is near 0 even for important units. Squared row by row,
    as in Molchanov et al. 2019, https://arxiv.org/abs/1906.10771, it is the second-order term with
    the Fisher information in place of the Hessian (Theis et al. 2018,
    https://arxiv.org/abs/1801.05787). It is an increase of the loss in every layer and needs no
    normalization.

    Args:
        network: A dense network as returned by `to_dense`. Its gradients are overwritten.
        x: Rows as the network takes them, float32 `(n, n_inputs)`, n ≥ 1.
        targets: Target of each row, in the form that `loss` takes.
        loss: Loss that the network was trained with.

    Raises:
        ValueError: If the network is not a dense network.
    """
    dense = list_dense_layers(network)
    *layer_inputs, logits = compute_layer_inputs(network, x)
    means = compute_means(layer_inputs)
    gradient = np.empty_like(logits)
    loss.value_and_gradient(logits, targets, gradient)
    gradient *= len(x)  # The gradient of each row's own loss instead of that of the mean loss.
    magnitude: list[Vector] = []
    taylor: list[Vector] = []
    for index in reversed(range(len(dense))):
        deviations, W = layer_inputs[index] - means[index], dense[index].W.astype(np.float64)
        input_gradient = dense[index].backward(gradient, to_inputs=True)
        if input_gradient is None:  # pragma: no cover - a layer returns one if it is asked to
            raise RuntimeError(f"expected a gradient from {dense[index]!r}; got none")
        gradient = input_gradient
        taylor.insert(0, np.square(deviations * gradient).mean(axis=0) / 2)
        variance = np.square(deviations).mean(axis=0) * np.square(W).sum(axis=1)
        magnitude.insert(0, variance / max(float(variance.sum()), SMALLEST_FLOAT))
    return UnitImportances(magnitude, taylor)
