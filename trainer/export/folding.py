"""Folding: a network as the few operations that answering needs.

Dropout is gone, and batch normalisation, which for answering is a scale and a shift, goes into the
dense layer before it.
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
)

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """a = f(x W + b).

    Attributes:
        W: `(n_in, n_out)`.
        b: `(n_out,)`.
        activation: f.
    """

    W: Matrix
    b: Matrix
    activation: Activation


@dataclass(frozen=True)
class Scale:
    """a = f(x · scale + shift): a normalisation with no dense layer before it to go into.

    Attributes:
        scale: `(n,)`.
        shift: `(n,)`.
        activation: f.
    """

    scale: Matrix
    shift: Matrix
    activation: Activation


@dataclass(frozen=True)
class Fork:
    """Parts of a row, each through operations of its own, joined again.

    Attributes:
        parts: of each branch, the columns it takes and its operations.
    """

    parts: list[tuple[slice, list[Operation]]]


@dataclass(frozen=True)
class Lookup:
    """The last columns of a row, each the place of a row in a table; the first ones pass.

    Attributes:
        passed: how many pass.
        tables: one for each of the others, `(size, units)`.
    """

    passed: int
    tables: list[Matrix]


# A selection and whole numbers only answer: they are what they are.
Operation = Affine | Scale | Fork | Lookup | FeatureSelect | IntegerDense


def fold_network(layers: Sequence[Layer]) -> list[Operation]:
    """The operations that answer as these layers do, but for rounding.

    Raises:
        TypeError: a layer is of a kind that is not known here.
    """
    folded: list[Operation] = []
    for layer in layers:
        match layer:
            case Dropout():
                pass
            case Dense():
                folded.append(Affine(layer.W, layer.b, layer.activation))
            case BatchNorm():
                last = folded[-1] if folded else None
                if isinstance(last, Affine) and last.activation.name == "identity":
                    folded[-1] = _fold_into(last, layer)
                else:
                    scale, shift = _scale_and_shift(layer)
                    folded.append(Scale(_single(scale), _single(shift), layer.activation))
            case FeatureSelect() | IntegerDense():
                folded.append(layer)
            case Embedding():
                tables = [parameter.value for parameter in layer.parameters()]
                folded.append(Lookup(layer.n_in - len(tables), tables))
            case Branches():
                folded.append(Fork(_parts(layer)))
            case _:
                raise TypeError(f"expected a layer that can be exported; got {layer!r}")
    return folded


def _fold_into(dense: Affine, norm: BatchNorm) -> Affine:
    scale, shift = _scale_and_shift(norm)
    W, b = dense.W.astype(np.float64), dense.b.astype(np.float64)
    return Affine(_single(W * scale), _single(b * scale + shift), norm.activation)


def _scale_and_shift(norm: BatchNorm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """γ / √(σ² + ε), and β − μ of that."""
    variance, mean = norm.variance.astype(np.float64), norm.mean.astype(np.float64)
    scale = norm.gamma.astype(np.float64) / np.sqrt(variance + norm.epsilon)
    return scale, norm.beta - mean * scale


def _parts(branches: Branches) -> list[tuple[slice, list[Operation]]]:
    parts, start = [], 0
    for width, chain in zip(branches.widths, branches.chains, strict=True):
        parts.append((slice(start, start + width), fold_network(chain.layers)))
        start += width
    return parts


def _single(array: NDArray[np.float64]) -> Matrix:
    return array.astype(np.float32)
