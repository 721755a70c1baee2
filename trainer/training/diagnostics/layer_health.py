"""The health of a network's layers: saturated outputs, dead units, sizes of gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.nn import Layer, Loss, Members, Network, Penalty
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement

SATURATING_ACTIVATIONS = ("sigmoid", "tanh")
DYING_ACTIVATIONS = ("relu", "gelu", "swish")
MIN_SLOPE_SHARE = 0.05  # share of the largest slope below which an output counts as saturated
DEAD_SLOPE = 1e-3  # slope below which a unit counts as dead
SAMPLE_ROWS = 512  # maximum number of rows that diagnostics examine


def sample_rows(rows: TrainingRows, max_rows: int = SAMPLE_ROWS) -> TrainingRows:
    """Return up to `max_rows` of the rows, evenly spaced."""
    indices = np.unique(np.linspace(0, len(rows) - 1, min(max_rows, len(rows))).astype(np.int64))
    weights = None if rows.weights is None else rows.weights[indices]
    features = np.ascontiguousarray(rows.features[indices])
    return TrainingRows(features, rows.targets[indices], weights)


def measure_layer_health(
    network: Network, rows: TrainingRows, loss: Loss, penalty: Penalty | None = None
) -> list[Measurement]:
    """Return measurements of the outputs and the gradients of each layer.

    Args:
        network: Network, which is not changed.
        rows: Training rows; all are used.
        loss: Loss that is minimised.
        penalty: Penalty on the weights; None for none.
    """
    # A copy has its own buffers and random generators, so that the run is not affected.
    probe = network.astype(network.dtype)
    probe.loss_and_gradients(rows.features, rows.targets, loss, rows.weights, penalty)
    layers = list(iterate_layers(probe))
    return [*_measure_outputs(layers), *_measure_gradients(layers)]


def iterate_layers(network: Network) -> Iterator[tuple[str, Layer]]:
    """Yield each layer with its description.

    The layers of branches and of members are yielded one by one. Those of a member have the
    positions that they would have if it were the only one.
    """
    for position, layer in enumerate(network.layers, start=1):
        if isinstance(layer, Members):
            for number, chain in enumerate(layer.chains, start=1):
                for place, part in enumerate(chain.layers, start=position):
                    for inner in part.list_sublayers():
                        yield f"member {number}, layer {place}, {inner!r}", inner
        else:
            for inner in layer.list_sublayers():
                yield f"layer {position}, {inner!r}", inner


def _measure_outputs(layers: list[tuple[str, Layer]]) -> Iterator[Measurement]:
    for name, layer in layers:
        activity = layer.activity()
        if activity is None:
            continue
        function, slopes = activity.activation, np.abs(activity.slopes)
        if function.name in SATURATING_ACTIVATIONS:
            share = np.mean(slopes < MIN_SLOPE_SHARE * function.max_slope)
            yield Measurement("saturation", float(share), name)
        if function.name in DYING_ACTIVATIONS:
            dead = (slopes < DEAD_SLOPE).all(axis=0)
            yield Measurement("dead_relu", float(dead.mean()), name)


def _measure_gradients(layers: list[tuple[str, Layer]]) -> Iterator[Measurement]:
    weights = [(name, p) for name, layer in layers for p in layer.parameters() if p.is_weight]
    sizes = [float(np.sqrt(np.mean(np.square(p.gradient, dtype=np.float64)))) for _, p in weights]
    largest = max(sizes, default=0.0)
    for (name, parameter), size in zip(weights, sizes, strict=True):
        if largest > 0:
            yield Measurement("vanishing_gradient", size / largest, name)
        norm = float(np.sqrt(np.mean(np.square(parameter.value, dtype=np.float64))))
        if norm > 0:
            yield Measurement("exploding_gradient", size / norm, name)
