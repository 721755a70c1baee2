"""The tiny set: a network that cannot learn twenty rows by heart will learn nothing else."""

from __future__ import annotations

import copy

import numpy as np

from trainer.nn import Adam, Dropout, Loss, Network
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.layer_health import sample

ROWS = 20
RATES = (0.01, 0.001)  # the second if the first is too large for the network
STEPS = 2000
ENOUGH = 1e-3  # of the first loss: with that little left, it is learned


def check_overfitting(network: Network, rows: TrainingRows, loss: Loss) -> Measurement:
    """Learn up to `ROWS` rows by heart, without dropout; the network stays as it is.

    Args:
        network: not trained yet.
        rows: of which distinct ones are taken.
        loss: what is minimised.
    """
    some = _distinct(rows)
    lowest = loss.compute_minimum(some.targets, network.n_outputs, some.weights)
    left = np.inf
    for rate in RATES:
        left = min(left, _learn(network, some, copy.deepcopy(loss), lowest, rate))
        if left <= ENOUGH:
            break
    return Measurement("cannot_overfit", left, note=f"{len(some)} rows")


def _learn(network: Network, rows: TrainingRows, loss: Loss, lowest: float, rate: float) -> float:
    """The share of the first loss above the lowest that is left."""
    pupil, optimizer = network.astype(network.dtype), Adam(rate)
    for layer in (inner for outer in pupil.layers for inner in outer.list_sublayers()):
        if isinstance(layer, Dropout):
            layer.rate = 0
    first = left = np.inf
    with np.errstate(over="ignore", invalid="ignore"):  # NaN is answer enough
        for step in range(STEPS):
            # Smaller steps in the second half, to settle and not to jitter.
            optimizer.learning_rate = rate * min(1, 2 * (1 - step / STEPS))
            value = pupil.loss_and_gradients(rows.features, rows.targets, loss, rows.weights)
            if first == np.inf:
                first = value - lowest
            left = min(left, max(value - lowest, 0) / first if first > 0 else 0.0)
            if not np.isfinite(value) or left <= ENOUGH:
                break
            optimizer.step(pupil.parameters, pupil.gradients)
    return float(left)


def _distinct(rows: TrainingRows) -> TrainingRows:
    """Rows that differ, so that no two ask for different answers to the same question."""
    some = sample(rows, 20 * ROWS)
    _, places = np.unique(some.features, axis=0, return_index=True)
    places = np.sort(places)
    weights = None if some.weights is None else some.weights[places]
    return sample(TrainingRows(some.features[places], some.targets[places], weights), ROWS)
