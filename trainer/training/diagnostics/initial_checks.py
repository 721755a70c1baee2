"""The start: what can be told of rows and first weights before the first step."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np

from trainer.nn import Embedding, Loss, Network
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.layer_health import named_layers, sample


def check_initial_state(network: Network, rows: TrainingRows, loss: Loss) -> list[Measurement]:
    """Rows, targets and first weights, in a moment; the network stays as it is.

    Args:
        network: not trained yet.
        rows: what it is to learn from.
        loss: what is to be minimised.
    """
    try:
        rows.check(loss, network.n_inputs, network.n_outputs, network.dtype)
    except ValueError as error:
        return [Measurement("label_shape", 1, note=str(error))]
    found = [Measurement("label_shape", 0), *_scales(network, rows, loss), *_symmetry(network)]
    if loss.link in ("sigmoid", "softmax"):
        found += _initial_loss(network, sample(rows), copy.deepcopy(loss))
    return found


def even_odds(network: Network, rows: TrainingRows, loss: Loss) -> float:
    """The loss of logits 0, above the lowest: for K classes ln K."""
    zeros = np.zeros((len(rows), network.n_outputs))
    value = loss.value(zeros, rows.targets, rows.weights)
    return value - loss.compute_minimum(rows.targets, network.n_outputs, rows.weights)


def excess(network: Network, rows: TrainingRows, loss: Loss) -> float:
    """The network's loss, in training, above the lowest that any could have."""
    probe = network.astype(network.dtype)  # buffers and random streams of its own
    value = probe.training_loss(rows.features, rows.targets, loss, rows.weights)
    return value - loss.compute_minimum(rows.targets, network.n_outputs, rows.weights)


def _initial_loss(network: Network, rows: TrainingRows, loss: Loss) -> Iterator[Measurement]:
    even, first = even_odds(network, rows, loss), excess(network, rows, loss)
    if even > 0:
        yield Measurement("initial_loss", first / even, note=f"{first:.3g} over {even:.3g}")


def _scales(network: Network, rows: TrainingRows, loss: Loss) -> Iterator[Measurement]:
    if rows.targets.ndim == 1:
        yield Measurement("one_class", len(np.unique(rows.targets)))
    elif loss.link == "sigmoid":
        yield Measurement("one_class", min(len(np.unique(column)) for column in rows.targets.T))
    some = sample(rows).features
    if isinstance(network.layers[0], Embedding):  # places of categories have no scale
        some = some[:, : network.layers[0].n_numeric]
    if some.shape[1]:
        yield _largest("unscaled_features", some)
    if loss.link == "identity":
        yield _largest("unscaled_targets", rows.targets)


def _largest(fault: str, columns: np.ndarray) -> Measurement:
    size = np.sqrt(np.mean(np.square(columns, dtype=np.float64), axis=0))
    return Measurement(fault, float(size.max()), note=f"column {size.argmax()}")


def _symmetry(network: Network) -> Iterator[Measurement]:
    alike = [
        name
        for name, layer in named_layers(network)
        for p in layer.parameters()
        if p.is_weight and p.value.shape[1] > 1 and not np.ptp(p.value, axis=1).any()
    ]
    yield Measurement("symmetry", len(alike), alike[0] if alike else None)
