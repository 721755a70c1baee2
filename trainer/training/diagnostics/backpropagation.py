"""Gradient check: compare backpropagation through a network with the complex-step derivative."""

from __future__ import annotations

import numpy as np

from trainer.nn import Loss, Network, Penalty, check_gradients
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.layer_health import iterate_layers, sample_rows

MAX_ENTRIES = 40  # entries of each parameter array whose derivatives are checked
MAX_ROWS = 16
JITTER = 0.01  # standard deviation of the noise that is added to the parameters


def check_backpropagation(
    network: Network, rows: TrainingRows, loss: Loss, penalty: Penalty | None = None
) -> list[Measurement]:
    """Return the relative error of the gradient of each parameter array.

    Up to `MAX_ENTRIES` entries of each array are checked, on a float64 copy of the network.

    Args:
        network: Network, which is not changed.
        rows: Training rows, of which up to `MAX_ROWS` are used.
        loss: Loss that is minimised.
        penalty: Penalty on the weights; None for none.
    """
    double = network.astype(np.float64)
    # A unit whose inputs and bias are all 0 is at the kink of a ReLU, which has two slopes there.
    # The noise moves the units away from it.
    double.parameters += JITTER * np.random.default_rng(0).normal(size=double.n_parameters)
    sample = sample_rows(rows, MAX_ROWS)
    targets = sample.targets
    errors = check_gradients(
        double,
        sample.features.astype(np.float64),
        targets.astype(np.float64) if targets.dtype.kind == "f" else targets,
        loss,
        weights=sample.weights,
        penalty=penalty,
        method="complex",
        max_entries=MAX_ENTRIES,
    )
    names = [name for name, layer in iterate_layers(network) for _ in layer.parameters()]
    return [
        Measurement("wrong_gradient", error.relative, f"{error.parameter} of {name}")
        for name, error in zip(names, errors, strict=True)
    ]
