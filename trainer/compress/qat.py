"""Quantization-aware training: layers that are trained with the rounding of their integer form.

Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, section 3.2: the forward pass rounds inputs
and weights to the values that integers can represent ("fake quantization"). The backward pass is
that of a layer without rounding, except that the slope is 0 where a value is clipped (the
straight-through estimator of Bengio et al. 2013, https://arxiv.org/abs/1308.3432).

`insert_quantization` makes such a network from a dense one; `quantize_weights` then converts it to
integer layers, which have the scales that it was trained with.
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

FLOAT_BITS = 32
RANGE_MOMENTUM = 0.99  # of the moving average that the input range is in training
# Ratios of the clipping threshold to the largest weight of a unit that are compared. With few bits,
# the precision that small weights gain outweighs what the large ones lose. With more bits than
# MAX_CLIPPED_BITS, no weight is clipped.
CLIP_RATIOS = np.linspace(1, 0.4, 13)
MAX_CLIPPED_BITS = 4
CLIP_INTERVAL_STEPS = 100  # training steps between two searches for the clip ratios
# Half of what 32 bits hold, in steps of the bias. The sums of products need the other half.
MAX_BIAS_STEPS = 2**30


class QuantizedDense(Dense):
    """A dense layer that rounds its inputs and weights as an `IntegerDense` does.

    The weights themselves stay floats, so that they can be trained. The weights of a unit are
    rounded to multiples of a scale t with t · largest_weight(bits) = clip ratio · max |w|. The clip
    ratio is the one with the smallest squared rounding error.

    Args:
        units: Number of units.
        activation: Activation function, or its name.
        bits: Bits of a weight. With 32, only the inputs are rounded. Default 8.

    Attributes:
        input_range: Lowest and highest input that is not clipped, float32 `(2,)`. In training, it
            is a moving average over the batches.
        clip_ratios: Clip ratio of each unit, float32 `(units,)`.
    """

    settings = (*Dense.settings, "bits", "input_range", "clip_ratios")

    def __init__(self, units: int, activation: str | Activation, *, bits: int = 8) -> None:
        super().__init__(units, activation)
        self.bits = bits
        self.input_range = np.zeros(2, np.float32)
        self.clip_ratios = np.ones(units, np.float32)

    _n_steps = 0  # training steps so far

    def state(self) -> dict[str, NDArray[Any]]:
        return {"input_range": self.input_range, "clip_ratios": self.clip_ratios}

    @property
    def input_quantization(self) -> Quantization:
        """Scale and zero point of the inputs."""
        return Quantization.from_range(*self.input_range.tolist())

    def compute_scales(self) -> NDArray[np.float32]:
        """Return the scale of each unit's weights, float32 `(units,)`."""
        max_weights = np.maximum(self.W.max(axis=0), -self.W.min(axis=0))
        scales = max_weights * self.clip_ratios / np.float32(largest_weight(self.bits))
        # The bias is an integer of 32 bits in steps of this scale times the input's, so the scale
        # must not be too small for it.
        input_scale = float(self.input_quantization.scale)
        min_steps = np.maximum(np.abs(self.b) / MAX_BIAS_STEPS, np.finfo(np.float32).tiny)
        limited: NDArray[np.float32] = np.maximum(scales, min_steps / input_scale).astype(
            np.float32
        )
        return limited

    def fit_clip_ratios(self) -> None:
        """Set the clip ratio of each unit to that of the smallest squared rounding error."""
        if self.bits > MAX_CLIPPED_BITS:
            return
        least_errors = np.full(self.units, np.inf, np.float32)
        best_ratios = self.clip_ratios.copy()
        for ratio in CLIP_RATIOS:
            self.clip_ratios.fill(ratio)
            differences = self._round_weights(self.compute_scales())
            np.subtract(differences, self.W, out=differences)
            errors = np.einsum("ij,ij->j", differences, differences)
            best_ratios[errors < least_errors] = ratio
            np.minimum(least_errors, errors, out=least_errors)
        self.clip_ratios[...] = best_ratios

    def compute_integer_weights(self) -> NDArray[np.int8]:
        """Return the weights as integer multiples of their scales, int8 `(n_in, units)`."""
        return self._divide_weights(self.compute_scales()).astype(np.int8)

    def forward(self, x: Array, *, training: bool) -> Array:
        if training:
            self._update_statistics(x)
        quantization = self.input_quantization
        self._unrounded_x = x
        rounded_x = quantization.dequantize(quantization.quantize(x))
        if self.bits == FLOAT_BITS:
            self._rounded_W = self.W
        else:
            self._scales = self.compute_scales()
            self._rounded_W = self._round_weights(self._scales)
        z = self._buffers.get("z", (len(x), self.units), self.dtype)
        np.dot(rounded_x, self._rounded_W, out=z)
        np.add(z, self.b, out=z)
        a = (
            z
            if self.activation.has_output_derivative
            else self._buffers.get("a", z.shape, self.dtype)
        )
        self.activation.value(z, out=a)
        self._x, self._z, self._a = rounded_x, z, a
        return a

    def backward(self, gradient: Array, *, to_inputs: bool) -> Array | None:
        x = require_forward(self._x)
        self.activation.backward(gradient, self._z, self._a)
        np.dot(x.T, gradient, out=self.dW)
        np.sum(gradient, axis=0, out=self.db)
        if self.bits <= MAX_CLIPPED_BITS:
            # Half a step beyond the largest integer, a weight is still rounded to it, not clipped.
            limit = self._scales * np.float32(largest_weight(self.bits) + 0.5)
            np.multiply(self.dW, np.abs(self.W) <= limit, out=self.dW)
        if not to_inputs:
            return None
        dx: Array = gradient @ self._rounded_W.T
        # `Quantization` extends the range to 0, so that 0 is represented exactly.
        low, high = np.minimum(self.input_range[0], 0), np.maximum(self.input_range[1], 0)
        dx *= (self._unrounded_x >= low) & (self._unrounded_x <= high)
        return dx

    def _update_statistics(self, x: Array) -> None:
        """Update the input range by a training batch and, at intervals, the clip ratios."""
        batch_range = np.array([x.min(), x.max()], np.float32)
        if not self.input_range.any():
            self.input_range[...] = batch_range
        self.input_range += np.float32(1 - RANGE_MOMENTUM) * (batch_range - self.input_range)
        if self._n_steps % CLIP_INTERVAL_STEPS == 0:
            self.fit_clip_ratios()
        self._n_steps += 1

    def _round_weights(self, scales: NDArray[np.float32]) -> Array:
        """Return the weights rounded to multiples of their scales, a buffer `(n_in, units)`."""
        multiples = self._divide_weights(scales)
        return np.multiply(multiples, scales, out=multiples)

    def _divide_weights(self, scales: NDArray[np.float32]) -> Array:
        """Return the weights as clipped integer multiples, in floats, a buffer `(n_in, units)`."""
        multiples = self._buffers.get("rounded", self.W.shape, self.dtype)
        limit = largest_weight(self.bits)
        np.divide(self.W, scales, out=multiples)
        np.rint(multiples, out=multiples)
        return np.clip(multiples, -limit, limit, out=multiples)

    def __repr__(self) -> str:
        return f"QuantizedDense({self.units}, {self.activation.name!r}, bits={self.bits})"


def insert_quantization(network: Network, bits: Sequence[int]) -> Network:
    """Return a copy of the network with quantized layers, whose input ranges are not set yet.

    A layer whose weights stay in float32 is not quantized, unless it is the last one and the layer
    before it is: then its inputs are rounded. ONNX Runtime would quantize a float layer between two
    quantized ones by itself.

    Args:
        network: A dense network as returned by `to_dense`.
        bits: Bits of the weights of each dense layer; 32 for float32.
    """
    is_quantized = [layer_bits != FLOAT_BITS for layer_bits in bits]
    is_quantized[-1] |= any(is_quantized[-2:-1])
    dense_settings = zip(bits, is_quantized, strict=True)
    layers = [
        _quantize_layer(layer, *next(dense_settings))
        if isinstance(layer, Dense)
        else copy.deepcopy(layer)
        for layer in network.layers
    ]
    quantized = Network(network.n_inputs, layers, rng=np.random.default_rng(0))
    quantized.parameters[...] = network.parameters  # Both networks have the same layout.
    for layer in quantized.layers:
        if isinstance(layer, QuantizedDense):
            layer.fit_clip_ratios()
    return quantized


def _quantize_layer(layer: Dense, bits: int, is_quantized: bool) -> Layer:
    if not is_quantized:
        return copy.deepcopy(layer)
    return QuantizedDense(layer.units, copy.deepcopy(layer.activation), bits=bits)


def quantize_weights(network: Network) -> Network:
    """Return the integer network of a network as returned by `insert_quantization`."""
    layers = network.layers
    integer_layers = [
        _convert_layer(layer, next_layer)
        if isinstance(layer, QuantizedDense)
        else copy.deepcopy(layer)
        for layer, next_layer in itertools.zip_longest(layers, layers[1:])
    ]
    integer_network = Network(network.n_inputs, integer_layers, rng=np.random.default_rng(0))
    for source, target in zip(layers, integer_network.layers, strict=True):
        # Integer layers have no trainable parameters: their pairs are empty.
        for origin, to in zip(source.parameters(), target.parameters(), strict=False):
            to.value[...] = origin.value
    return integer_network


def _convert_layer(layer: QuantizedDense, next_layer: Layer | None) -> Layer:
    """Return the integer form of a layer; a float layer if its weights have 32 bits."""
    if layer.bits == FLOAT_BITS:
        return Dense(layer.units, copy.deepcopy(layer.activation))
    source, scales = layer.input_quantization, layer.compute_scales()
    bias_steps = np.asarray(source.scale * scales, np.float64)
    return IntegerDense(
        layer.compute_integer_weights(),
        np.rint(layer.b / bias_steps).astype(np.int32),
        scales,
        source=source,
        target=next_layer.input_quantization if isinstance(next_layer, QuantizedDense) else None,
        activation=copy.deepcopy(layer.activation),
        bits=layer.bits,
    )
