"""Gradients: backpropagation through this very network against the complex step."""

from __future__ import annotations

import numpy as np

from trainer.nn import Loss, Network, Penalty, check_gradients
from trainer.training.batches import TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.layer_health import sample

ENTRIES = 40  # of each parameter array, whose derivatives are checked
ROWS = 16
JITTER = 0.01


def check_backpropagation(
    network: Network, rows: TrainingRows, loss: Loss, penalty: Penalty | None = None
) -> list[Measurement]:
    """The gradient of every parameter array, at up to `ENTRIES` of its entries each.

    Args:
        network: any; a float64 copy is checked.
        rows: up to `ROWS` of them are used.
        loss: what is minimised.
        penalty: on the weights.
    """
    double = network.astype(np.float64)
    # Off the kinks: where all inputs of a unit are 0 and its bias too, a ReLU has two slopes.
    double.parameters += JITTER * np.random.default_rng(0).normal(size=double.n_parameters)
    some = sample(rows, ROWS)
    targets = some.targets.astype(np.float64) if some.targets.dtype.kind == "f" else some.targets
    errors = check_gradients(
        double,
        some.features.astype(np.float64),
        targets,
        loss,
        weights=some.weights,
        penalty=penalty,
        method="complex",
        max_entries=ENTRIES,
    )
    return [
        Measurement(
            "wrong_gradient",
            error.relative,
            f"{error.parameter} of layer {error.layer + 1}, {network.layers[error.layer]!r}",
        )
        for error in errors
    ]
