"""Calibration: the range of each layer's inputs that INT8 values represent.

The scale of a layer's inputs is the width of its range divided by 255. A wide range makes the steps
between INT8 values coarse; a narrow range clips the values outside it. Three methods choose the
range from the values that training rows lead to. Which method is best depends on the data:
`quantize.py` tries all of them on the validation rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainer.compress.qat import QuantizedDense
from trainer.nn import Network

Range = tuple[float, float]
CLIPPED_SHARE = 1e-4  # share of the values that `get_percentile_range` clips at each end
N_BINS = 2048  # bins of the histogram that `find_entropy_range` compares
N_LEVELS = 256  # values of an unsigned byte
N_CANDIDATES = 24  # ranges that `find_entropy_range` compares


def get_full_range(values: NDArray[np.float32]) -> Range:
    """Return the lowest and the highest value."""
    return float(values.min()), float(values.max())


def get_percentile_range(values: NDArray[np.float32]) -> Range:
    """Return the range that holds all values but one in ten thousand at each end."""
    low, high = np.quantile(values, [CLIPPED_SHARE, 1 - CLIPPED_SHARE])
    return float(low), float(high)


def find_entropy_range(values: NDArray[np.float32]) -> Range:
    """Return the range whose INT8 values have the distribution closest to that of the values.

    Of a series of ever narrower ranges, it is the one with the smallest Kullback-Leibler divergence
    between the values, clipped to the range, and their INT8 values. Migacz 2017, "8-bit Inference
    with TensorRT", GTC. The ranges there are symmetric. Here both ends move towards 0 in
    proportion, since the bytes are unsigned and the outputs of a ReLU begin at 0.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return low, high
    counts, edges = np.histogram(values, N_BINS, (low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    least_divergence, best_range = np.inf, (low, high)
    # In the narrowest range, an INT8 step is as wide as a bin. The histogram cannot show what a
    # narrower step would do.
    for share in np.geomspace(1, N_LEVELS / N_BINS, N_CANDIDATES).tolist():
        divergence = _compute_divergence(counts, centers, low * share, high * share)
        if divergence < least_divergence:
            least_divergence, best_range = divergence, (low * share, high * share)
    return best_range


def _compute_divergence(
    counts: NDArray[np.int64], centers: NDArray[np.float64], low: float, high: float
) -> float:
    """Return the Kullback-Leibler divergence of clipped values from their INT8 values, in nats.

    Args:
        counts: Number of values in each bin, int64 `(n_bins,)`.
        centers: Center of each bin, float64 `(n_bins,)`.
        low: Lower end of the range.
        high: Upper end of the range.
    """
    in_range = (centers >= low) & (centers <= high)
    unclipped = counts[in_range].astype(np.float64)
    p = unclipped.copy()
    p[0] += counts[centers < low].sum()
    p[-1] += counts[centers > high].sum()
    is_filled = p > 0
    # The bins that share an INT8 value cannot be told apart any more: their values count as spread
    # evenly over those of these bins that are not empty.
    level = ((centers[in_range] - low) / (high - low) * N_LEVELS).astype(np.int64)
    mean_count = np.bincount(level, unclipped) / np.maximum(np.bincount(level, is_filled), 1)
    q = mean_count[level][is_filled]
    p = p[is_filled] / p.sum()
    q /= max(q.sum(), 1)
    return float((p * np.log(p / np.maximum(q, 1e-12))).sum())


CALIBRATION_METHODS: dict[str, Callable[[NDArray[np.float32]], Range]] = {
    "min-max": get_full_range,
    "percentile": get_percentile_range,
    "entropy": find_entropy_range,
}


def calibrate(network: Network, x: NDArray[np.float32], method: str) -> None:
    """Set the input range of each quantized layer, in place, from the values that rows lead to.

    The layers are calibrated in order: each one on the outputs of the quantized layers before it.

    Args:
        network: A network as returned by `insert_quantization`.
        x: Rows as the network takes them, float32 `(n, n_inputs)`.
        method: Name of a method in `CALIBRATION_METHODS`.
    """
    for layer in network.layers:
        if isinstance(layer, QuantizedDense):
            layer.input_range[...] = CALIBRATION_METHODS[method](x)
        x = layer.forward(x, training=False)
