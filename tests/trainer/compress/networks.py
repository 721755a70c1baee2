"""Dense networks of random weights, and their sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.compress.to_dense import build_dense_network, list_dense_layers
from trainer.data.tables import Table
from trainer.model import Model
from trainer.nn import FeatureSelect, Identity, Network
from trainer.training.batches import TrainingRows


class TrainedDigits(NamedTuple):
    """The digits with a model that was trained on the first 1,200 of them.

    Attributes:
        table: All rows.
        model: The model, with a dense network.
        rows: All rows as the network takes them.
    """

    table: Table
    model: Model
    rows: TrainingRows


def make_dense_network(n_inputs, layer_widths, activation, rng, *, embeddings=(), columns=None):
    """Return a dense network of random weights and biases.

    Args:
        n_inputs: Number of features.
        layer_widths: Units of each dense layer, the outputs included.
        activation: Class of the activation of the hidden layers.
        rng: Generator of the numbers.
        embeddings: Embedding layers that come first.
        columns: Indices of the inputs that the first dense layer takes; None for all.
    """
    n_selected = n_inputs
    if embeddings:
        n_selected = Network(n_inputs, embeddings, rng=rng).n_outputs
    sizes = [n_selected if columns is None else len(columns), *layer_widths]
    parameters = [
        (
            rng.normal(size=(n_in, n_out)).astype("f4") / n_in**0.5,
            rng.normal(0, 0.3, size=n_out).astype("f4"),
            activation() if i < len(layer_widths) else Identity(),
        )
        for i, (n_in, n_out) in enumerate(zip(sizes, layer_widths, strict=False), start=1)
    ]
    return build_dense_network(n_inputs, embeddings, columns, parameters)


def count_network_parameters(network):
    """Return the number of weights and biases of the dense layers."""
    return sum(layer.W.size + layer.b.size for layer in list_dense_layers(network))


def get_columns(network):
    """Return the indices of the inputs that the first dense layer takes."""
    select = next((layer for layer in network.layers if isinstance(layer, FeatureSelect)), None)
    if select is None:
        return list(range(list_dense_layers(network)[0].n_in))
    return list(select.columns)


def draw_rows(rng, n, width):
    """Return normally distributed rows, float32 `(n, width)`."""
    return rng.normal(size=(n, width)).astype(np.float32)
