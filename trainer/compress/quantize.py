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
from trainer.compress.plain import dense_layers
from trainer.compress.qat import rounding, whole_numbers
from trainer.nn import Network

Score = Callable[[Network], float]


def widths(network: Network, bits: int, *, last: int | None) -> list[int | None]:
    """Bits of the weights of each dense layer, where None is float32.

    Args:
        network: plain.
        bits: of all but the last.
        last: of the last.
    """
    dense = dense_layers(network)
    hidden = [None if layer.activation.name == "identity" else bits for layer in dense[:-1]]
    return [*hidden, last]


def quantized(network: Network, x: NDArray[np.float32], score: Score, *, bits: int) -> Network:
    """A plain network as one that rounds, by the calibration that serves it best.

    Args:
        network: plain.
        x: training rows as the network takes them, `(n, n_inputs)`.
        score: of a network in whole numbers on validation rows; higher is better.
        bits: of a weight.

    Returns:
        A network of `QuantizedDense` layers; `whole_numbers` makes of it the one that answers. The
        last layer is left in float32 where that scores higher.
    """
    best: tuple[float, Network] | None = None
    for last in dict.fromkeys((max(bits, 7), None)):
        for method in CALIBRATIONS:
            candidate = rounding(network, widths(network, bits, last=last))
            calibrate(candidate, x, method)
            found = score(whole_numbers(candidate))
            if best is None or found > best[0]:
                best = found, candidate
    if best is None:
        raise ValueError("expected a way to calibrate; got none")
    return best[1]
