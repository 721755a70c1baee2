"""Dense networks: a trained network rewritten as dense layers, with the same answers.

Pruning and quantization take networks apart and build smaller ones. They need not know of dropout
or batch normalization: `to_dense` drops the former and folds the latter into the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.export.folding import (
    Affine,
    Average,
    Fork,
    Lookup,
    Matrix,
    Operation,
    Periodic,
    Scale,
    fold_network,
)
from trainer.nn import (
    Activation,
    Chain,
    Dense,
    Embedding,
    FeatureSelect,
    IntegerDense,
    Layer,
    Members,
    Network,
    PeriodicEmbedding,
)

# Weights (n_in, n_out), biases (n_out,) and activation f of one layer f(x W + b).
DenseParameters = tuple[Matrix, Matrix, Activation]


def to_dense(network: Network) -> Network:
    """Return a network of dense layers that gives the same answers, up to rounding.

    Its layers are the embeddings of the network, of numbers and of categories, a `FeatureSelect` if
    the network ignores some inputs, and one or more `Dense`. It is in float32 and shares no weights
    with the original. Members become one
    network, whose hidden layers have the units of all members.

    Raises:
        ValueError: If the network has branches, members with other layers than dense ones before a
            last one without an activation, integer layers, a normalization that does not
            follow a dense layer, a selection or an embedding that is not at its beginning, or no
            dense layer.
    """
    columns: NDArray[np.int64] | None = None
    parameters: list[DenseParameters] = []
    for operation in fold_network(network.layers):
        match operation:
            case Affine(W, b, activation):
                parameters.append((W, b, activation))
            case Average(members):
                parameters += _join_members([_list_affine(m, network) for m in members], network)
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


def simplify_members(network: Network) -> Network:
    """Return the network as `to_dense` does, but with members if it has some.

    Its graph has the same nodes and constants as that of `network`.

    Raises:
        ValueError: If `to_dense` does not accept the network.
    """
    *shared, last = network.layers
    if not isinstance(last, Members):
        return to_dense(network)
    members = [_list_affine(fold_network(chain.layers), network) for chain in last.chains]
    layers = [
        [Dense(W.shape[1], copy.deepcopy(activation)) for W, _, activation in parameters]
        for parameters in members
    ]
    result = Network(
        network.n_inputs, [*copy.deepcopy(shared), Members(*layers)], rng=np.random.default_rng(0)
    )
    for source, target in zip(shared, result.layers, strict=False):
        _copy_parameters(source, target)
    for chain, parameters in zip(list_members(result), members, strict=True):
        for dense, (W, b, _) in zip(chain, parameters, strict=True):
            dense.W[...], dense.b[...] = W, b
    return result


def list_members(network: Network) -> list[list[Dense]]:
    """Return the dense layers of each member of a network that `simplify_members` returned.

    A network without members has none.
    """
    last = network.layers[-1]
    if not isinstance(last, Members):
        return []
    return [[layer for layer in c.layers if isinstance(layer, Dense)] for c in last.chains]


def _list_affine(operations: Sequence[Operation], network: Network) -> list[DenseParameters]:
    parameters = []
    for operation in operations:
        if not isinstance(operation, Affine):
            raise _build_error("members with other layers than dense ones", network)
        parameters.append((operation.W, operation.b, operation.activation))
    return parameters


def _join_members(
    members: Sequence[Sequence[DenseParameters]], network: Network
) -> list[DenseParameters]:
    """Return the layers of one network that computes the average of the members.

    The weights of hidden layers are block-diagonal: the units of a member have weights of 0 from
    those of the others.
    """
    if members[0][-1][2].name != "identity":
        raise _build_error("members whose last layer has an activation", network)
    joined, share = [], np.float32(1 / len(members))
    n_layers = len(members[0])
    for i, layers in enumerate(zip(*members, strict=True)):
        matrices, biases = [W for W, _, _ in layers], [b for _, b, _ in layers]
        is_first, is_last = i == 0, i == n_layers - 1
        if is_last:
            matrices, biases = [W * share for W in matrices], [sum(b * share for b in biases)]
        if is_first and is_last:
            W = sum(matrices)
        elif is_first or is_last:
            W = np.concatenate(matrices, axis=1 if is_first else 0)
        else:
            W = _stack_diagonally(matrices)
        joined.append((W, np.concatenate(biases), layers[0][2]))
    return joined


def _stack_diagonally(matrices: Sequence[Matrix]) -> Matrix:
    n_rows, n_columns = (sum(W.shape[axis] for W in matrices) for axis in (0, 1))
    joined = np.zeros((n_rows, n_columns), np.float32)
    row = column = 0
    for W in matrices:
        joined[row : row + len(W), column : column + W.shape[1]] = W
        row, column = row + len(W), column + W.shape[1]
    return joined


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
    for name, array in target.state().items():
        array[...] = source.state()[name]


def _build_error(problem: str, network: Network) -> ValueError:
    return ValueError(
        "expected a network of dense layers, with dropout, batch normalization after dense layers, "
        f"and embeddings or a selection at its beginning; got {problem}, in {network!r}"
    )
