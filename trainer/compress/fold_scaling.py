"""Folding of the feature scaling into the first layer.

Once the network is small, the two graph nodes that scale every feature take longer than its layers.
If all features have the same scale and no offset (pixels, for example), the scale can be folded
into the weights of the first layer or, in an integer network, into the scale of its inputs. In all
other cases the scaling stays: folded into the weights, features with a large mean and a small
deviation would lose precision in float32.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from trainer.data.preprocess import Scaler
from trainer.model import Model
from trainer.nn import Dense, IntegerDense, Layer, Network, PeriodicEmbedding, Quantization


def fold_scaling(model: Model) -> Model:
    """Return the model with its feature scaling folded into the first layer, if that is possible.

    Returns:
        A model whose answers differ by rounding only; the same object if the scaling has to stay.
    """
    encoder = model.encoder
    numbers, scaler = encoder.numbers, encoder.numbers.scaler
    has_other_columns = encoder.precise or encoder.dates or encoder.categories
    has_only_numbers = not has_other_columns and not len(numbers.flagged_columns)
    if not has_only_numbers or not isinstance(scaler, Scaler) or scaler.offset.any():
        return model
    is_embedded = any(isinstance(layer, PeriodicEmbedding) for layer in model.network.layers)
    if scaler.is_limited or is_embedded:
        return model  # The first layer does not see the scaled features as they are.
    scale = scaler.scale[0]
    if (scaler.scale != scale).any():
        return model
    identity = Scaler(np.zeros_like(scaler.offset), np.ones_like(scaler.scale))
    return replace(
        model,
        encoder=replace(encoder, numbers=replace(numbers, scaler=identity)),
        network=_scale_first_layer(model.network, scale),
    )


def _scale_first_layer(network: Network, scale: np.float32) -> Network:
    """Return a copy of the network for inputs that are `scale` times as large."""
    layers = [copy.deepcopy(layer) for layer in network.layers]
    index = next(i for i, layer in enumerate(layers) if isinstance(layer, Dense | IntegerDense))
    layers[index] = _scale_integer_layer(layers[index], scale)
    scaled = Network(network.n_inputs, layers, rng=np.random.default_rng(0))
    scaled.parameters[...] = network.parameters
    first = scaled.layers[index]
    if isinstance(first, Dense):
        first.W /= scale
    return scaled


def _scale_integer_layer(layer: Layer, scale: np.float32) -> Layer:
    """Return an `IntegerDense` for inputs that are `scale` times as large; others as they are."""
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
