"""Plain networks: the same answers from nothing but dense layers, and a choice of their inputs.

Compression takes networks apart and puts smaller ones together. It need not know of dropout, nor
of batch normalisation, once the one is gone and the other is part of the dense layer before it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.export.folding import Affine, Fork, Lookup, Matrix, Scale, fold_network
from trainer.nn import Activation, Dense, Embedding, FeatureSelect, IntegerDense, Layer, Network

Part = tuple[Matrix, Matrix, Activation]  # W (n_in, n_out), b (n_out,) and f of a = f(x W + b)


def to_dense(network: Network) -> Network:
    """A network that answers as this one does but for rounding, with weights of its own.

    Its layers are an `Embedding` if there is one, a `Select` if not all inputs are looked at, and
    one `Dense` or more. It is in float32.

    Raises:
        ValueError: it has branches, whole numbers, a normalisation with no dense layer before it,
            a selection or an embedding that is not at its beginning, or no dense layer.
    """
    lookup = next((layer for layer in network.layers if isinstance(layer, Embedding)), None)
    columns: NDArray[np.int64] | None = None
    parts: list[Part] = []
    for place, operation in enumerate(fold_network(network.layers)):
        match operation:
            case Affine(W, b, activation):
                parts.append((W, b, activation))
            case FeatureSelect() if not parts and columns is None:
                columns = operation.columns
            case Lookup() if place == 0:
                pass
            case Fork():
                raise _refusal("branches; compress their networks one by one", network)
            case Scale():
                raise _refusal("a batch normalisation that follows no dense layer", network)
            case IntegerDense():
                raise _refusal("whole numbers; compress the network they were made of", network)
            case FeatureSelect():
                raise _refusal("a selection behind another layer", network)
            case Lookup():
                raise _refusal("an embedding behind another layer", network)
    if not parts:
        raise _refusal("no dense layer", network)
    return build_dense_network(network.n_inputs, lookup, columns, parts)


def build_dense_network(
    n_inputs: int,
    lookup: Embedding | None,
    columns: NDArray[np.int64] | None,
    parts: Sequence[Part],
) -> Network:
    """A plain network of given weights, which are copied.

    Args:
        n_inputs: number of features of a row.
        lookup: of a network, whose vectors are copied; comes first; None for none.
        columns: which of its outputs, or of the features, the first dense layer looks at,
            ascending, `(n,)`; None for all.
        parts: W, b and f of each dense layer, in order; at least one.

    Raises:
        ValueError: shapes do not fit.
    """
    layers: list[Layer] = [] if lookup is None else [copy.deepcopy(lookup)]
    width = n_inputs if lookup is None else lookup.outputs(n_inputs)
    if columns is not None and len(columns) < width:
        layers.append(FeatureSelect(columns))
    layers += [Dense(W.shape[1], copy.deepcopy(activation)) for W, _, activation in parts]
    network = Network(
        n_inputs, layers, rng=np.random.default_rng(0)
    )  # what it draws is overwritten
    if lookup is not None:
        _copy_tables(lookup, network.layers[0])
    for dense, (W, b, _) in zip(dense_layers(network), parts, strict=True):
        if dense.W.shape != W.shape or dense.b.shape != b.shape:
            raise ValueError(
                f"expected weights {dense.W.shape} and biases {dense.b.shape}; got {W.shape} and "
                f"{b.shape}"
            )
        dense.W[...], dense.b[...] = W, b
    return network


def dense_layers(network: Network) -> list[Dense]:
    """The dense layers of a plain network, in order.

    Raises:
        ValueError: it has layers that a plain one has not.
    """
    for layer in network.layers:
        if not isinstance(layer, Dense | Embedding | FeatureSelect):
            raise ValueError(f"expected a plain network; got {layer!r} in one; make it by plain()")
    return [layer for layer in network.layers if isinstance(layer, Dense)]


def _copy_tables(source: Embedding, target: Layer) -> None:
    for ours, theirs in zip(target.parameters(), source.parameters(), strict=True):
        ours.value[...] = theirs.value


def _refusal(what: str, network: Network) -> ValueError:
    return ValueError(
        f"expected a network of dense layers, with dropout, batch normalisation behind dense "
        f"layers, an embedding or a selection first; got {what}, in {network!r}"
    )
