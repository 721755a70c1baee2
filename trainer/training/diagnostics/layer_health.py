"""Health: what a network's layers make of some rows, and what they would learn from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainer.nn import Layer, Loss, Network, Penalty
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement

SATURATING = ("sigmoid", "tanh")
DYING = ("relu", "gelu", "swish")
FLAT = 0.05  # of the steepest slope: there a unit counts as saturated
SAMPLE = 512  # rows


def sample(rows: TrainingRows, most: int = SAMPLE) -> TrainingRows:
    """Up to so many of the rows, evenly spaced."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))
    weights = None if rows.weights is None else rows.weights[places]
    return TrainingRows(np.ascontiguousarray(rows.features[places]), rows.targets[places], weights)


def layer_health(
    network: Network, rows: TrainingRows, loss: Loss, penalty: Penalty | None = None
) -> list[Measurement]:
    """Saturation, dead units and gradients, layer by layer. The network stays as it is.

    Args:
        network: as it stands in training.
        rows: some that it learns from.
        loss: what is minimised.
        penalty: on the weights.
    """
    probe = network.astype(network.dtype)  # buffers and random streams of its own
    probe.loss_and_gradients(rows.features, rows.targets, loss, rows.weights, penalty)
    layers = list(named_layers(probe))
    return [*_activities(layers), *_gradients(layers)]


def named_layers(network: Network) -> Iterator[tuple[str, Layer]]:
    """The layers with their names, those of branches one by one."""
    for position, layer in enumerate(network.layers, start=1):
        for inner in layer.list_sublayers():
            yield f"layer {position}, {inner!r}", inner


def _activities(layers: list[tuple[str, Layer]]) -> Iterator[Measurement]:
    for name, layer in layers:
        activity = layer.activity()
        if activity is None:
            continue
        function, slopes = activity.activation, np.abs(activity.slopes)
        if function.name in SATURATING:
            share = np.mean(slopes < FLAT * function.max_slope)
            yield Measurement("saturation", float(share), name)
        if function.name in DYING:
            dead = (slopes < 1e-3).all(axis=0)
            yield Measurement("dead_relu", float(dead.mean()), name)


def _gradients(layers: list[tuple[str, Layer]]) -> Iterator[Measurement]:
    weights = [(name, p) for name, layer in layers for p in layer.parameters() if p.is_weight]
    sizes = [float(np.sqrt(np.mean(np.square(p.gradient, dtype=np.float64)))) for _, p in weights]
    largest = max(sizes, default=0.0)
    for (name, parameter), size in zip(weights, sizes, strict=True):
        if largest > 0:
            yield Measurement("vanishing_gradient", size / largest, name)
        norm = float(np.sqrt(np.mean(np.square(parameter.value, dtype=np.float64))))
        if norm > 0:
            yield Measurement("exploding_gradient", size / norm, name)
