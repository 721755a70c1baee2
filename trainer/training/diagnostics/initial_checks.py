"""Checks before the first step: the rows, the targets, the initial weights and the initial loss."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np

from trainer.nn import Embedding, Loss, Network
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.layer_health import iterate_layers, sample_rows


def check_initial_state(network: Network, rows: TrainingRows, loss: Loss) -> list[Measurement]:
    """Return measurements of the rows, the targets and the initial weights.

    Args:
        network: Network before training, which is not changed.
        rows: Training rows.
        loss: Loss that is minimised.
    """
    try:
        rows.check(loss, network.n_inputs, network.n_outputs, network.dtype)
    except ValueError as error:
        return [Measurement("label_shape", 1, note=str(error))]
    measurements = [
        Measurement("label_shape", 0),
        *_measure_scales(network, rows, loss),
        _measure_symmetry(network),
    ]
    if loss.link in ("sigmoid", "softmax"):
        measurements += _measure_initial_loss(network, sample_rows(rows), copy.deepcopy(loss))
    return measurements


def compute_zero_logits_loss(network: Network, rows: TrainingRows, loss: Loss) -> float:
    """Return the loss of logits that are all 0, minus the lowest possible loss.

    A classifier with K classes gives all of them the same probability then, and its loss is ln K.
    """
    zeros = np.zeros((len(rows), network.n_outputs))
    value = loss.value(zeros, rows.targets, rows.weights)
    return value - loss.compute_minimum(rows.targets, network.n_outputs, rows.weights)


def compute_excess_loss(network: Network, rows: TrainingRows, loss: Loss) -> float:
    """Return the loss of the network as it is in training, minus the lowest possible loss."""
    # A copy has its own buffers and random generators, so that the run is not affected.
    probe = network.astype(network.dtype)
    value = probe.training_loss(rows.features, rows.targets, loss, rows.weights)
    return value - loss.compute_minimum(rows.targets, network.n_outputs, rows.weights)


def _measure_initial_loss(
    network: Network, rows: TrainingRows, loss: Loss
) -> Iterator[Measurement]:
    # The lowest possible loss is above 0 with label smoothing. The ratio of the excesses over it
    # would make the same logits look worse than with plain labels.
    lowest = loss.compute_minimum(rows.targets, network.n_outputs, rows.weights)
    expected = compute_zero_logits_loss(network, rows, loss) + lowest
    initial = compute_excess_loss(network, rows, loss) + lowest
    if expected > 0:
        note = f"{initial:.3g} over {expected:.3g}"
        yield Measurement("initial_loss", initial / expected, note=note)


def _measure_scales(network: Network, rows: TrainingRows, loss: Loss) -> Iterator[Measurement]:
    if rows.targets.ndim == 1:
        yield Measurement("one_class", len(np.unique(rows.targets)))
    elif loss.link == "sigmoid":
        yield Measurement("one_class", min(len(np.unique(column)) for column in rows.targets.T))
    features = sample_rows(rows).features
    for layer in network.layers:
        if isinstance(layer, Embedding):  # the last inputs are indices, which have no scale
            features = features[:, : -len(layer.sizes)]
    if features.shape[1]:
        yield _measure_largest("unscaled_features", features)
    if loss.link == "identity":
        yield _measure_largest("unscaled_targets", rows.targets)


def _measure_largest(fault: str, columns: np.ndarray) -> Measurement:
    """Return the largest root mean square of a column, with the column's index as the note."""
    size = np.sqrt(np.mean(np.square(columns, dtype=np.float64), axis=0))
    return Measurement(fault, float(size.max()), note=f"column {size.argmax()}")


def _measure_symmetry(network: Network) -> Measurement:
    symmetric = [
        name
        for name, layer in iterate_layers(network)
        for p in layer.parameters()
        if p.is_weight and p.value.shape[1] > 1 and not np.ptp(p.value, axis=1).any()
    ]
    return Measurement("symmetry", len(symmetric), symmetric[0] if symmetric else None)
