"""Calibration: which range of a layer's inputs gets bytes, found on training rows.

A wide range loses precision, a narrow one cuts off what lies outside. Three answers are known, and
which is best depends on the data: the caller tries them on validation rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.compress.qat import QuantizedDense
from trainer.nn import Network

Range = tuple[float, float]
CUT_OFF = 1e-4  # share of the values beyond the percentiles, on each side
BINS = 2048  # of the histogram that the entropy is measured on
BYTES = 256


def min_max(values: NDArray[np.float32]) -> Range:
    """All values there are."""
    return float(values.min()), float(values.max())


def percentile(values: NDArray[np.float32]) -> Range:
    """All but one in ten thousand on each side."""
    low, high = np.quantile(values, [CUT_OFF, 1 - CUT_OFF])
    return float(low), float(high)


def entropy(values: NDArray[np.float32]) -> Range:
    """The range whose bytes tell most of what the values tell.

    Of ranges that cut off ever more, that where the distribution of the values, those beyond put
    at its ends, diverges least (Kullback and Leibler) from that of their bytes. Migacz 2017,
    "8-bit Inference with TensorRT", GTC, whose ranges are symmetric; here both ends move towards 0
    in proportion, since bytes are unsigned and a ReLU's outputs begin at 0.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return low, high
    counts, edges = np.histogram(values, BINS, (low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    best, found = np.inf, (low, high)
    # To the range whose bytes are as narrow as the bins, which tell nothing of narrower ones.
    for share in np.geomspace(1, BYTES / BINS, 24).tolist():
        divergence = _divergence(counts, middles, low * share, high * share)
        if divergence < best:
            best, found = divergence, (low * share, high * share)
    return found


def _divergence(
    counts: NDArray[np.int64], middles: NDArray[np.float64], low: float, high: float
) -> float:
    """Of the distribution of values cut off at the ends, from that of their bytes, in nats."""
    within = (middles >= low) & (middles <= high)
    inside = counts[within].astype(np.float64)
    p = inside.copy()
    p[0] += counts[middles < low].sum()
    p[-1] += counts[middles > high].sum()
    there = p > 0
    # A byte tells its bins apart no more: what lies in them counts as spread evenly over those that
    # are not empty.
    byte = ((middles[within] - low) / (high - low) * BYTES).astype(np.int64)
    share = np.bincount(byte, inside) / np.maximum(np.bincount(byte, there), 1)
    q = share[byte][there]
    p = p[there] / p.sum()
    q /= max(q.sum(), 1)
    return float((p * np.log(p / np.maximum(q, 1e-12))).sum())


CALIBRATIONS: dict[str, Callable[[NDArray[np.float32]], Range]] = {
    "min-max": min_max,
    "percentile": percentile,
    "entropy": entropy,
}


def calibrate(network: Network, x: NDArray[np.float32], method: str) -> None:
    """Set the ranges of a network that rounds, layer by layer, from what rows lead to.

    Args:
        network: as `qat.rounding` makes it; the range of each of its layers is set.
        x: rows as the network takes them, `(n, n_inputs)`.
        method: out of `CALIBRATIONS`.
    """
    for layer in network.layers:
        if isinstance(layer, QuantizedDense):
            layer.range[...] = CALIBRATIONS[method](x)
        x = layer.forward(x, training=False)
