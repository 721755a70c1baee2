"""Folding: the layers of a network as the few operations that a prediction needs.

Dropout is left out. Batch normalisation, which in a prediction is a scale and a shift, is merged
into the dense layer before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.nn import (
    Activation,
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Embedding,
    FeatureSelect,
    IntegerDense,
    Layer,
    Members,
    PeriodicEmbedding,
)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """A dense layer, f(x W + b).

    Attributes:
        W: Weights, float32 `(n_in, n_out)`.
        b: Bias, float32 `(n_out,)`.
        activation: Activation f.
    """

    W: Matrix
    b: Matrix
    activation: Activation


@dataclass(frozen=True)
class Scale:
    """A normalisation that does not follow a dense layer, f(x · scale + shift).

    Attributes:
        scale: Factors, float32 `(n,)`.
        shift: Summands, float32 `(n,)`.
        activation: Activation f.
    """

    scale: Matrix
    shift: Matrix
    activation: Activation


@dataclass(frozen=True)
class Fork:
    """Branches, each with its own columns and operations, whose outputs are concatenated.

    Attributes:
        branches: Input columns and operations of each branch.
    """

    branches: list[tuple[slice, list[Operation]]]


@dataclass(frozen=True)
class Average:
    """Members, each with its own operations on the same inputs, whose outputs are averaged.

    Attributes:
        members: Operations of each member.
    """

    members: list[list[Operation]]


@dataclass(frozen=True)
class Lookup:
    """Embeddings of the last columns, which hold row indices; the first columns stay as they are.

    Attributes:
        n_passed: Number of columns that stay.
        tables: Embedding table of each other column, float32 `(size, units)`.
    """

    n_passed: int
    tables: list[Matrix]


@dataclass(frozen=True)
class Periodic:
    """Periodic embeddings of the first columns, followed by all columns as they are.

    Attributes:
        frequencies: Frequencies of each embedded column, float32 `(n, n_frequencies)`.
        phases: Phases of each embedded column, float32 `(n, n_frequencies)`.
        W: Weights of the linear layer of each column, float32 `(n, units, n_frequencies)`.
        b: Biases of the linear layer of each column, float32 `(n, units)`.
    """

    frequencies: Matrix
    phases: Matrix
    W: Matrix
    b: Matrix


# `FeatureSelect` and `IntegerDense` are used as they are, since they are made for prediction only.
Operation = Affine | Scale | Fork | Average | Lookup | Periodic | FeatureSelect | IntegerDense


def fold_network(layers: Sequence[Layer]) -> list[Operation]:
    """Return operations that compute, up to rounding, what the layers compute in a prediction.

    Raises:
        TypeError: If there is no operation for a layer.
    """
    operations: list[Operation] = []
    for layer in layers:
        match layer:
            case Dropout():
                pass
            case Dense():
                operations.append(Affine(layer.W, layer.b, layer.activation))
            case BatchNorm():
                previous = operations[-1] if operations else None
                if isinstance(previous, Affine) and previous.activation.name == "identity":
                    operations[-1] = _merge_normalization(previous, layer)
                else:
                    scale, shift = _compute_scale_and_shift(layer)
                    operations.append(
                        Scale(_to_float32(scale), _to_float32(shift), layer.activation)
                    )
            case FeatureSelect() | IntegerDense():
                operations.append(layer)
            case Embedding():
                tables = [parameter.value for parameter in layer.parameters()]
                operations.append(Lookup(layer.n_in - len(tables), tables))
            case PeriodicEmbedding():
                operations.append(Periodic(layer.frequencies, layer.phases, layer.W, layer.b))
            case Branches():
                operations.append(Fork(_fold_branches(layer)))
            case Members():
                operations.append(Average([fold_network(chain.layers) for chain in layer.chains]))
            case _:
                raise TypeError(f"expected a layer that can be exported; got {layer!r}")
    return operations


def _merge_normalization(dense: Affine, norm: BatchNorm) -> Affine:
    scale, shift = _compute_scale_and_shift(norm)
    W, b = dense.W.astype(np.float64), dense.b.astype(np.float64)
    return Affine(_to_float32(W * scale), _to_float32(b * scale + shift), norm.activation)


def _compute_scale_and_shift(norm: BatchNorm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale = γ / √(σ² + ε) and shift = β − μ · scale, each float64 `(n,)`."""
    variance, mean = norm.variance.astype(np.float64), norm.mean.astype(np.float64)
    scale = norm.gamma.astype(np.float64) / np.sqrt(variance + norm.epsilon)
    return scale, norm.beta - mean * scale


def _fold_branches(layer: Branches) -> list[tuple[slice, list[Operation]]]:
    branches, start = [], 0
    for width, chain in zip(layer.widths, layer.chains, strict=True):
        branches.append((slice(start, start + width), fold_network(chain.layers)))
        start += width
    return branches


def _to_float32(array: NDArray[np.float64]) -> Matrix:
    return array.astype(np.float32)
