"""Quantization after training: float weights become integers, without further training.

The quantization is static and per channel: the weights of each unit have a scale of their own, and
the range of each layer's inputs is fixed here, from training rows. Ranges that are computed anew
for each batch ("dynamic quantization") are not offered: the answer to a row would depend on the
largest value of the other rows in its batch.

`calibrate.py` computes the scales of the inputs, `QuantizedDense` in `qat.py` those of the weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.compress.calibrate import CALIBRATION_METHODS, calibrate
from trainer.compress.qat import FLOAT_BITS, insert_quantization, quantize_weights
from trainer.compress.to_dense import list_dense_layers
from trainer.nn import Network

ComputeLoss = Callable[[Network], float]
MIN_LAST_LAYER_BITS = 7
MIN_LOSS_GAIN = 0.01  # share of the loss that a last layer with float32 weights has to save


def quantize_network(
    network: Network, x: NDArray[np.float32], compute_loss: ComputeLoss, *, bits: int
) -> Network:
    """Return the network with quantization, by the calibration method of the lowest loss.

    The weights of the last layer stay in float32 if that saves more than 1 % of the loss.

    Args:
        network: A dense network as returned by `to_dense`.
        x: Training rows as the network takes them, float32 `(n, n_inputs)`.
        compute_loss: Function that returns the loss of an integer network on validation rows.
        bits: Bits of a weight: 4, 7 or 8. In the last layer they are 7 at least.

    Returns:
        A network of `QuantizedDense` layers, which `quantize_weights` converts to integers.
    """
    candidates: list[tuple[float, Network]] = []
    for last_layer_bits in (max(bits, MIN_LAST_LAYER_BITS), FLOAT_BITS):
        layer_bits = _list_layer_bits(network, bits, last_layer_bits)
        if set(layer_bits) == {FLOAT_BITS}:  # Nothing would be quantized.
            continue
        for method in CALIBRATION_METHODS:
            quantized = insert_quantization(network, layer_bits)
            calibrate(quantized, x, method)
            loss = compute_loss(quantize_weights(quantized))
            handicap = MIN_LOSS_GAIN * abs(loss) * (last_layer_bits == FLOAT_BITS)
            candidates.append((loss + handicap, quantized))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _list_layer_bits(network: Network, bits: int, last_layer_bits: int) -> list[int]:
    """Return the bits of each dense layer's weights.

    A hidden layer whose activation is the identity keeps its weights in float32.
    """
    *hidden, _ = list_dense_layers(network)
    hidden_bits = [FLOAT_BITS if layer.activation.name == "identity" else bits for layer in hidden]
    return [*hidden_bits, last_layer_bits]
