"""Quantisation after training: floats become whole numbers, by ranges seen on training rows.

Static and per channel: each unit has a scale of its own, and the ranges of what layers are fed are
fixed here. Ranges taken from each batch as it comes ("dynamic quantisation") are not offered: a row
would be answered otherwise beside a batch-mate of large values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.compress.calibrate import CALIBRATIONS, calibrate
from trainer.compress.qat import FLOAT, insert_quantization, quantize_weights
from trainer.compress.to_dense import dense_layers
from trainer.nn import Network

Score = Callable[[Network], float]
WORTH = 0.01  # share of the loss that a last layer in float32 has to save


def quantize_network(
    network: Network, x: NDArray[np.float32], score: Score, *, bits: int
) -> Network:
    """A plain network as one that rounds, by the calibration that serves it best.

    Args:
        network: plain.
        x: training rows as the network takes them, `(n, n_inputs)`.
        score: of a network in whole numbers on validation rows; lower is better.
        bits: of a weight; the last layer's have 7 at least.

    Returns:
        A network of `QuantizedDense` layers; `whole_numbers` makes of it the one that answers. The
        weights of the last layer stay in float32 where that pays.
    """
    candidates: list[tuple[float, Network]] = []
    for last in (max(bits, 7), FLOAT):
        widths = _widths(network, bits, last)
        if set(widths) == {FLOAT}:  # nothing would be in bytes
            continue
        for method in CALIBRATIONS:
            rounds = insert_quantization(network, widths)
            calibrate(rounds, x, method)
            loss = score(quantize_weights(rounds))
            candidates.append((loss + WORTH * abs(loss) * (last == FLOAT), rounds))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _widths(network: Network, bits: int, last: int) -> list[int]:
    """Bits of each dense layer's weights; a hidden layer that does not bend stays as it is."""
    *hidden, _ = dense_layers(network)
    return [*(FLOAT if layer.activation.name == "identity" else bits for layer in hidden), last]
