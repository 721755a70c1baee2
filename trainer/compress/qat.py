"""Quantisation-aware training: layers that learn with the rounding they will answer with.

Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 3.2: forward with inputs and weights
rounded to what whole numbers can say ("fake quantised"), backward as if they had not been, but for
what lies outside the range, whose slope is 0 (the straight-through estimator of Bengio et al. 2013,
https://arxiv.org/abs/1308.3432). `whole_numbers` then makes of such a network the one that answers,
whose scales are those it learned with.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import (
    Activation,
    Dense,
    IntegerDense,
    Layer,
    Network,
    Quantization,
    largest_weight,
)
from trainer.nn.layers.layer import Array, require_forward

MOMENTUM = 0.99  # of the range that follows those of the batches
# Shares of the largest weight beyond which the others are cut off. Where a weight has few values,
# small ones gain more precision than large ones lose; where it has many, nothing is cut.
CUTS = np.linspace(1, 0.4, 13)
FEW_BITS, FLOAT = 4, 32
STEPS = 100  # between two looks for the best cuts
MOST_BIAS = 2**30  # in steps: half of what 32 bits hold; the sums need the rest


class QuantizedDense(Dense):
    """A dense layer whose inputs and weights are rounded as those of an `IntegerDense`.

    Its weights are floats that learn. Those of a unit are rounded to steps of t, so that
    cut · max |w| = t · (the largest weight of so many bits), where the cut is that of the least
    squared error.

    Args:
        units: as of Dense.
        activation: as of Dense.
        bits: of a weight; with 32 it is left as it is, and only the inputs are rounded.

    Attributes:
        range: lowest and highest input that has a byte of its own, float32 `(2,)`; in training it
            follows those of the batches.
        cuts: of each unit, float32 `(units,)`.
    """

    settings = (*Dense.settings, "bits", "range", "cuts")

    def __init__(self, units: int, activation: str | Activation, *, bits: int = 8) -> None:
        super().__init__(units, activation)
        self.bits = bits
        self.range = np.zeros(2, np.float32)
        self.cuts = np.ones(units, np.float32)

    _steps = 0  # learned from

    def state(self) -> dict[str, NDArray[Any]]:
        return {"range": self.range, "cuts": self.cuts}

    @property
    def source(self) -> Quantization:
        """That of the inputs."""
        return Quantization.from_range(*self.range.tolist())

    def scales(self) -> NDArray[np.float32]:
        """The step of each unit's weights, `(units,)`."""
        largest = np.maximum(self.W.max(axis=0), -self.W.min(axis=0))
        steps = largest * self.cuts / np.float32(largest_weight(self.bits))
        # So large that the bias, which counts in steps of this and the input's, fits into its bits.
        source = float(self.source.scale)
        least = np.maximum(np.abs(self.b) / MOST_BIAS, np.finfo(np.float32).tiny) / source
        found: NDArray[np.float32] = np.maximum(steps, least).astype(np.float32)
        return found

    def find_cuts(self) -> None:
        """Cut the weights of each unit where the squared error of all of them is least."""
        if self.bits > FEW_BITS:
            return
        best, found = np.full(self.units, np.inf, np.float32), self.cuts.copy()
        for cut in CUTS:
            self.cuts.fill(cut)
            errors = self._rounded(self.scales())
            np.subtract(errors, self.W, out=errors)
            error = np.einsum("ij,ij->j", errors, errors)
            found[error < best] = cut
            np.minimum(best, error, out=best)
        self.cuts[...] = found

    def whole_weights(self) -> NDArray[np.int8]:
        """The weights as whole numbers of their steps, int8 `(n_in, units)`."""
        return self._whole(self.scales()).astype(np.int8)

    def forward(self, x: Array, *, training: bool) -> Array:
        if training:
            self._follow(x)
        source = self.source
        self._unrounded, rounded = x, source.dequantize(source.quantize(x))
        if self.bits == FLOAT:
            self._W = self.W
        else:
            self._scales = self.scales()
            self._W = self._rounded(self._scales)
        z = self._buffers.get("z", (len(x), self.units), self.dtype)
        np.dot(rounded, self._W, out=z)
        np.add(z, self.b, out=z)
        a = (
            z
            if self.activation.has_output_derivative
            else self._buffers.get("a", z.shape, self.dtype)
        )
        self.activation.value(z, out=a)
        self._x, self._z, self._a = rounded, z, a
        return a

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        self.activation.backward(gradient, self._z, self._a)
        np.dot(x.T, gradient, out=self.dW)
        np.sum(gradient, axis=0, out=self.db)
        if self.bits <= FEW_BITS:  # else no weight is cut
            limit = self._scales * np.float32(largest_weight(self.bits) + 0.5)
            np.multiply(self.dW, np.abs(self.W) <= limit, out=self.dW)
        if not to_inputs:
            return None
        dx: Array = gradient @ self._W.T
        # 0 has a byte in any case, and so has what lies between it and the range.
        low, high = np.minimum(self.range[0], 0), np.maximum(self.range[1], 0)
        dx *= (self._unrounded >= low) & (self._unrounded <= high)
        return dx

    def _follow(self, x: Array) -> None:
        """Let the range follow that of a batch, and now and then the cuts the weights."""
        seen = np.array([x.min(), x.max()], np.float32)
        if not self.range.any():
            self.range[...] = seen
        self.range += np.float32(1 - MOMENTUM) * (seen - self.range)
        if self._steps % STEPS == 0:
            self.find_cuts()
        self._steps += 1

    def _rounded(self, scales: NDArray[np.float32]) -> Array:
        whole = self._whole(scales)
        return np.multiply(whole, scales, out=whole)

    def _whole(self, scales: NDArray[np.float32]) -> Array:
        whole = self._buffers.get("rounded", self.W.shape, self.dtype)
        most = largest_weight(self.bits)
        np.divide(self.W, scales, out=whole)
        np.rint(whole, out=whole)
        return np.clip(whole, -most, most, out=whole)

    def __repr__(self) -> str:
        return f"QuantizedDense({self.units}, {self.activation.name!r}, bits={self.bits})"


def insert_quantization(network: Network, bits: Sequence[int]) -> Network:
    """A copy that rounds; its ranges are not known yet.

    Args:
        network: of Dense layers, behind an Embedding and a Select or neither.
        bits: of the weights of each Dense layer.

    Returns:
        A network of `QuantizedDense` layers. Of those whose weights stay in float32 only the last
        is one, where it is fed bytes; ONNX Runtime would put one between bytes into bytes itself.
    """
    rounds = [width != FLOAT for width in bits]
    rounds[-1] |= any(rounds[-2:-1])
    each = zip(bits, rounds, strict=True)
    layers = [
        _rounding(layer, *next(each)) if isinstance(layer, Dense) else copy.deepcopy(layer)
        for layer in network.layers
    ]
    other = Network(network.n_inputs, layers, rng=np.random.default_rng(0))
    other.parameters[...] = network.parameters  # which lie as they did
    for layer in other.layers:
        if isinstance(layer, QuantizedDense):
            layer.find_cuts()
    return other


def _rounding(layer: Dense, bits: int, rounds: bool) -> Layer:
    if not rounds:
        return copy.deepcopy(layer)
    return QuantizedDense(layer.units, copy.deepcopy(layer.activation), bits=bits)


def quantize_weights(network: Network) -> Network:
    """The network that answers in whole numbers as `network`, which rounds, does in floats."""
    layers = network.layers
    made = [
        _whole(layer, following) if isinstance(layer, QuantizedDense) else copy.deepcopy(layer)
        for layer, following in itertools.zip_longest(layers, layers[1:])
    ]
    other = Network(network.n_inputs, made, rng=np.random.default_rng(0))
    for mine, theirs in zip(layers, other.layers, strict=True):
        for own, copied in zip(mine.parameters(), theirs.parameters(), strict=False):
            copied.value[...] = own.value
    return other


def _whole(layer: QuantizedDense, following: Layer | None) -> Layer:
    if layer.bits == FLOAT:
        return Dense(layer.units, copy.deepcopy(layer.activation))
    source, scales = layer.source, layer.scales()
    steps = np.asarray(source.scale * scales, np.float64)
    return IntegerDense(
        layer.whole_weights(),
        np.rint(layer.b / steps).astype(np.int32),
        scales,
        source=source,
        target=following.source if isinstance(following, QuantizedDense) else None,
        activation=copy.deepcopy(layer.activation),
        bits=layer.bits,
    )
