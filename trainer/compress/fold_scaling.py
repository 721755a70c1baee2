"""Scaling folded into the first layer, where that is exact enough to be worth it.

Two nodes that touch every input cost more than the layers behind them, once those are small. Where
all columns have one scale and no offset (pixels), the scale can go into the first weights, or into
the step of the bytes that the input becomes. Elsewhere it stays where it is: in the weights,
columns of large mean and small deviation would lose their digits.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from trainer.data.preprocess import Scaler
from trainer.model import Model
from trainer.nn import Dense, IntegerDense, Layer, Network, Quantization


def fold_scaling(model: Model) -> Model:
    """The same model but for rounding, its numbers unscaled where that can be; else itself."""
    encoder = model.encoder
    numbers, scaler = encoder.numbers, encoder.numbers.scaler
    others = encoder.precise or encoder.dates or encoder.categories
    alone = not others and not len(numbers.flagged_columns)
    if not alone or not isinstance(scaler, Scaler) or scaler.offset.any():
        return model
    scale = scaler.scale[0]
    if (scaler.scale != scale).any():
        return model
    plain = Scaler(np.zeros_like(scaler.offset), np.ones_like(scaler.scale))
    return replace(
        model,
        encoder=replace(encoder, numbers=replace(numbers, scaler=plain)),
        network=_scaling(model.network, scale),
    )


def _scaling(network: Network, scale: np.float32) -> Network:
    """A copy that takes its inputs `scale` times as large."""
    layers = [copy.deepcopy(layer) for layer in network.layers]
    place = next(i for i, layer in enumerate(layers) if isinstance(layer, Dense | IntegerDense))
    layers[place] = _first(layers[place], scale)
    other = Network(network.n_inputs, layers, rng=np.random.default_rng(0))
    other.parameters[...] = network.parameters
    first = other.layers[place]
    if isinstance(first, Dense):
        first.W /= scale
    return other


def _first(layer: Layer, scale: np.float32) -> Layer:
    if not isinstance(layer, IntegerDense):
        return layer
    return IntegerDense(
        layer.W,
        layer.b,
        layer.scales / scale,
        source=Quantization(layer.source.scale * scale, layer.source.zero_point),
        target=layer.target,
        activation=layer.activation,
        bits=layer.bits,
    )
