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
    best, found = np.inf, (low, high)
    for share in np.geomspace(1, 0.1, 24):
        divergence = _divergence(values, low * share, high * share)
        if divergence < best:
            best, found = divergence, (low * share, high * share)
    return found


def _divergence(values: NDArray[np.float32], low: float, high: float) -> float:
    """Of the distribution of values cut off at the ends, from that of their bytes, in nats."""
    counts, _ = np.histogram(values.clip(low, high), BINS, (low, high))
    inside, _ = np.histogram(values[(values >= low) & (values <= high)], BINS, (low, high))
    # A byte tells its bins apart no more: what lies in them counts as spread evenly over those that
    # are not empty.
    groups = inside.reshape(BYTES, -1).astype(np.float64)
    filled = (counts.reshape(BYTES, -1) > 0).astype(np.float64)
    share = groups.sum(axis=1, keepdims=True) / np.maximum(filled.sum(axis=1, keepdims=True), 1)
    q = (filled * share).reshape(-1)
    p = counts / counts.sum()
    q /= max(q.sum(), 1)
    there = p > 0
    return float((p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))).sum())


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
        x = layer.forward(x, training=False).copy()
