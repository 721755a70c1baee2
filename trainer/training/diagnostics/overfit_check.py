"""Overfit check: a network that cannot fit twenty rows has a fault."""

from __future__ import annotations

import copy

import numpy as np

from trainer.nn import Adam, Dropout, Loss, Network
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.layer_health import sample_rows

N_ROWS = 20
# The second learning rate is tried if the first is too large for the network.
LEARNING_RATES = (0.01, 0.001)
MAX_STEPS = 2000
FITTED_SHARE = 1e-3  # share of the initial loss at which the rows count as fitted


def check_overfitting(network: Network, rows: TrainingRows, loss: Loss) -> Measurement:
    """Train a copy of the network on a few rows, and return the share of its loss that remains.

    The copy is trained without dropout, on up to `N_ROWS` rows.

    Args:
        network: Network before training, which is not changed.
        rows: Training rows, of which distinct ones are used.
        loss: Loss that is minimised.
    """
    sample = _sample_distinct_rows(rows)
    lowest = loss.compute_minimum(sample.targets, network.n_outputs, sample.weights)
    share = np.inf
    for rate in LEARNING_RATES:
        share = min(share, _fit(network, sample, copy.deepcopy(loss), lowest, rate))
        if share <= FITTED_SHARE:
            break
    return Measurement("cannot_overfit", share, note=f"{len(sample)} rows")


def _fit(network: Network, rows: TrainingRows, loss: Loss, lowest: float, rate: float) -> float:
    """Return the smallest share of the initial loss that is reached, above the lowest possible."""
    pupil, optimizer = network.astype(network.dtype), Adam(rate)
    for layer in (inner for outer in pupil.layers for inner in outer.list_sublayers()):
        if isinstance(layer, Dropout):
            layer.rate = 0
    initial = share = np.inf
    # An overflow needs no warning, since the loss is tested after each step.
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(MAX_STEPS):
            # The learning rate falls to 0 in the second half, so that the loss converges.
            optimizer.learning_rate = rate * min(1, 2 * (1 - step / MAX_STEPS))
            value = pupil.loss_and_gradients(rows.features, rows.targets, loss, rows.weights)
            if initial == np.inf:
                initial = value - lowest
            share = min(share, max(value - lowest, 0) / initial if initial > 0 else 0.0)
            if not np.isfinite(value) or share <= FITTED_SHARE:
                break
            optimizer.step(pupil.parameters, pupil.gradients)
    return float(share)


def _sample_distinct_rows(rows: TrainingRows) -> TrainingRows:
    """Return rows with distinct features, since equal ones could have different targets."""
    sample = sample_rows(rows, 20 * N_ROWS)
    _, indices = np.unique(sample.features, axis=0, return_index=True)
    indices = np.sort(indices)
    weights = None if sample.weights is None else sample.weights[indices]
    distinct = TrainingRows(sample.features[indices], sample.targets[indices], weights)
    return sample_rows(distinct, N_ROWS)
