"""Dense networks: a trained network rewritten as dense layers, with the same answers.

Pruning and quantization take networks apart and build smaller ones. They need not know of dropout
or batch normalization: `to_dense` drops the former and folds the latter into the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.export.folding import Affine, Fork, Lookup, Matrix, Periodic, Scale, fold_network
from trainer.nn import (
    Activation,
    Chain,
    Dense,
    Embedding,
    FeatureSelect,
    IntegerDense,
    Layer,
    Network,
    PeriodicEmbedding,
)

# Weights (n_in, n_out), biases (n_out,) and activation f of one layer f(x W + b).
DenseParameters = tuple[Matrix, Matrix, Activation]


def to_dense(network: Network) -> Network:
    """Return a network of dense layers that gives the same answers, up to rounding.

    Its layers are the embeddings of the network, of numbers and of categories, a `FeatureSelect` if
    the network ignores some inputs, and one or more `Dense`. It is in float32 and shares no weights
    with the original.

    Raises:
        ValueError: If the network has branches, integer layers, a normalization that does not
            follow a dense layer, a selection or an embedding that is not at its beginning, or no
            dense layer.
    """
    columns: NDArray[np.int64] | None = None
    parameters: list[DenseParameters] = []
    for operation in fold_network(network.layers):
        match operation:
            case Affine(W, b, activation):
                parameters.append((W, b, activation))
            case FeatureSelect() if not parameters and columns is None:
                columns = operation.columns
            case Periodic() | Lookup() if not parameters and columns is None:
                pass
            case Fork():
                raise _build_error("branches; compress their networks one by one", network)
            case Scale():
                raise _build_error("a batch normalization that follows no dense layer", network)
            case IntegerDense():
                raise _build_error("integer layers; compress the float network instead", network)
            case FeatureSelect():
                raise _build_error("a selection after another layer", network)
            case Periodic() | Lookup():
                raise _build_error("an embedding after another layer", network)
    if not parameters:
        raise _build_error("no dense layer", network)
    return build_dense_network(network.n_inputs, list_embeddings(network), columns, parameters)


def build_dense_network(
    n_inputs: int,
    embeddings: Sequence[Layer],
    columns: NDArray[np.int64] | None,
    parameters: Sequence[DenseParameters],
) -> Network:
    """Return a dense network with copies of the given weights.

    Args:
        n_inputs: Number of features of a row.
        embeddings: Embeddings that come first, in order, of which the parameters are copied.
        columns: Ascending indices, among the outputs of the embeddings or else the features, of the
            inputs of the first dense layer, int64 `(n,)`; None for all.
        parameters: Weights, biases and activation of each dense layer, in order; at least one.

    Raises:
        ValueError: If the shapes do not fit.
    """
    layers: list[Layer] = [copy.deepcopy(embedding) for embedding in embeddings]
    width = Chain(layers).widths(n_inputs)[-1]
    if columns is not None and len(columns) < width:
        layers.append(FeatureSelect(columns))
    layers += [Dense(W.shape[1], copy.deepcopy(activation)) for W, _, activation in parameters]
    # The initial weights that this generator draws are overwritten.
    network = Network(n_inputs, layers, rng=np.random.default_rng(0))
    for source, target in zip(embeddings, network.layers, strict=False):
        _copy_parameters(source, target)
    for dense, (W, b, _) in zip(list_dense_layers(network), parameters, strict=True):
        if dense.W.shape != W.shape or dense.b.shape != b.shape:
            raise ValueError(
                f"expected weights {dense.W.shape} and biases {dense.b.shape}; got {W.shape} and "
                f"{b.shape}"
            )
        dense.W[...], dense.b[...] = W, b
    return network


def list_embeddings(network: Network) -> list[Layer]:
    """Return the embeddings of a network, of numbers and of categories, in order."""
    return [layer for layer in network.layers if isinstance(layer, PeriodicEmbedding | Embedding)]


def list_dense_layers(network: Network) -> list[Dense]:
    """Return the dense layers of a network as returned by `to_dense`, in order.

    Raises:
        ValueError: If it has layers that such a network does not have.
    """
    for layer in network.layers:
        if not isinstance(layer, Dense | PeriodicEmbedding | Embedding | FeatureSelect):
            raise ValueError(
                f"expected a network of dense layers; got {layer!r} in it; convert the network "
                "with to_dense() first"
            )
    return [layer for layer in network.layers if isinstance(layer, Dense)]


def _copy_parameters(source: Layer, target: Layer) -> None:
    for to, origin in zip(target.parameters(), source.parameters(), strict=True):
        to.value[...] = origin.value


def _build_error(problem: str, network: Network) -> ValueError:
    return ValueError(
        "expected a network of dense layers, with dropout, batch normalization after dense layers, "
        f"and embeddings or a selection at its beginning; got {problem}, in {network!r}"
    )
