"""Subnetworks: a dense network reduced to some of the inputs of each of its dense layers.

The inputs of the first dense layer are features; those of every other dense layer are the units of
the layer before it. Removing an input removes a row of one weight matrix and, for a unit, a column
of the matrix before. The mean of a removed input moves into the biases of its layer, so that only
its deviation from the mean is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.compress.to_dense import build_dense_network, list_dense_layers, list_embeddings
from trainer.nn import Dense, FeatureSelect, Network

Floats = NDArray[np.float32]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


def compute_layer_inputs(network: Network, x: Floats) -> list[Floats]:
    """Return the inputs of each dense layer and, last, the logits.

    Args:
        network: A dense network as returned by `to_dense`.
        x: Rows as the network takes them, float32 `(n, n_inputs)`.

    Returns:
        Float32 arrays `(n, n_in)`, and `(n, n_outputs)` for the logits. They are views of buffers,
        valid until the next pass through the network.
    """
    inputs = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            inputs.append(x)
        x = layer.forward(x, training=False)
    return [*inputs, x]


def compute_means(layer_inputs: Sequence[Floats]) -> list[Vector]:
    """Return the mean of each input of each dense layer, float64 `(n_in,)`."""
    return [values.mean(axis=0, dtype=np.float64) for values in layer_inputs]


def copy_parameters(network: Network) -> tuple[list[Matrix], list[Vector]]:
    """Return copies of the weights and of the biases of each dense layer, in float64."""
    dense = list_dense_layers(network)
    return (
        [layer.W.astype(np.float64) for layer in dense],
        [layer.b.astype(np.float64) for layer in dense],
    )


def extract_subnetwork(
    network: Network,
    weights: Sequence[Matrix],
    biases: Sequence[Vector],
    means: Sequence[Vector],
    remaining_inputs: Sequence[NDArray[np.int64]],
) -> Network:
    """Return a network of the given parameters that has only the remaining inputs of each layer.

    Args:
        network: The dense network that the embeddings, the selection and the activations are taken
            from.
        weights: Weights of each dense layer with all inputs, float64 `(n_in, units)`.
        biases: Biases of each dense layer with all inputs, float64 `(units,)`.
        means: Mean of each input of each dense layer, float64 `(n_in,)`.
        remaining_inputs: Ascending indices of the inputs that each dense layer keeps, int64.
    """
    select = next((layer for layer in network.layers if isinstance(layer, FeatureSelect)), None)
    features = remaining_inputs[0]
    columns = features if select is None else select.columns[features]
    remaining_outputs = [*remaining_inputs[1:], np.arange(network.n_outputs)]
    parameters = []
    for layer, W, b, mean, rows, units in zip(
        list_dense_layers(network),
        weights,
        biases,
        means,
        remaining_inputs,
        remaining_outputs,
        strict=True,
    ):
        removed = np.delete(np.arange(len(mean)), rows)
        shifted_b = b + mean[removed] @ W[removed]
        parameters.append(
            (
                W[np.ix_(rows, units)].astype(np.float32),
                shifted_b[units].astype(np.float32),
                layer.activation,
            )
        )
    return build_dense_network(network.n_inputs, list_embeddings(network), columns, parameters)
