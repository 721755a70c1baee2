"""Checks of a training run and of the gradients of the network library.

`check_run` measures one run on its data; `check_library` compares the gradient of every combination
of layer, activation, loss and penalty with numerical ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.config import Config
from trainer.nn import (
    ACTIVATIONS,
    LOSSES,
    Activation,
    BatchNorm,
    Branches,
    Dense,
    Dropout,
    Embedding,
    Layer,
    Members,
    Network,
    Penalty,
    PeriodicEmbedding,
    check_gradients,
)
from trainer.nn.gradient_check import STEPS
from trainer.pipeline import OnDataLoaded, load_and_split, prepare_training, spawn_generators
from trainer.training.diagnostics import (
    Diagnostics,
    Measurement,
    check_backpropagation,
    check_initial_state,
    check_overfitting,
)
from trainer.training.loop import TrainingDivergedError

# The small networks and rows of `check_library`.
N_ROWS, N_INPUTS, N_OUTPUTS = 12, 5, 3
N_CATEGORIES = 3  # of the last input, which the embedding takes
TARGETS: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "mse": lambda rng: rng.normal(size=(N_ROWS, N_OUTPUTS)),
    "mae": lambda rng: rng.normal(size=(N_ROWS, N_OUTPUTS)),
    "huber": lambda rng: 2 * rng.normal(size=(N_ROWS, N_OUTPUTS)),
    "poisson": lambda rng: rng.poisson(2, (N_ROWS, N_OUTPUTS)).astype(np.float64),
    "binary_cross_entropy": lambda rng: rng.integers(0, 2, (N_ROWS, N_OUTPUTS)).astype(np.float64),
    "categorical_cross_entropy": lambda rng: rng.integers(0, N_OUTPUTS, N_ROWS),
}
LAYERS: dict[str, Callable[[type[Activation]], list[Layer]]] = {
    "dense": lambda f: [Dense(6, f()), Dense(5, f()), Dense(N_OUTPUTS)],
    "batch norm": lambda f: [Dense(6), BatchNorm(f()), Dense(N_OUTPUTS)],
    "dropout": lambda f: [Dense(8, f()), Dropout(0.3), Dense(N_OUTPUTS)],
    "embedding": lambda f: [Embedding([N_CATEGORIES], [2]), Dense(5, f()), Dense(N_OUTPUTS)],
    "periodic embedding": lambda f: [
        PeriodicEmbedding(N_INPUTS - 1, n_frequencies=3, units=2),
        Dense(5, f()),
        Dense(N_OUTPUTS),
    ],
    "branches": lambda f: [
        Branches((2, [Dense(3, f())]), (3, [Dense(4, f())])),
        Dense(N_OUTPUTS),
    ],
    "members": lambda f: [
        Embedding([N_CATEGORIES], [2]),
        Members(*([Dense(4, f()), Dropout(0.3), Dense(N_OUTPUTS)] for _ in range(2))),
    ],
}
PENALTIES = {"none": None, "l1": Penalty(l1=0.01), "l2": Penalty(l2=0.01)}


def check_run(config: Config, announce: OnDataLoaded | None = None) -> Iterator[Measurement]:
    """Yield the measurements of one run: initial state, gradients, overfitting and training.

    Args:
        config: The options of the run. The training is measured for its number of epochs.
        announce: Function that is called with the table and its split before the first
            measurement; None for none.

    Raises:
        DataError: If the data cannot be trained on.
    """
    training_rng, _ = spawn_generators(config.seed)  # The same as in `trainer fit`.
    table, split = load_and_split(config)
    if announce is not None:
        announce(table, split)
    task = prepare_training(table, split, config, training_rng)
    network, loss, rows = task.model.network, task.model.loss, task.sample_training_rows()
    initial = check_initial_state(network, rows, loss)
    yield from initial
    if any(m.fault == "label_shape" and not m.is_healthy for m in initial):
        return  # Without targets of the right shape, nothing else can be measured.
    yield from check_backpropagation(network, rows, loss, task.config.build_update_rule().penalty)
    yield check_overfitting(network, rows, loss)
    diagnostics = Diagnostics()
    try:
        task.create_run([task.create_early_stopping(), diagnostics]).run()
    except TrainingDivergedError as error:
        yield Measurement("exploding_loss", float("nan"), note=str(error))
    yield from diagnostics.measurements


@dataclass(frozen=True)
class GradientCase:
    """The largest gradient errors of one combination.

    Attributes:
        layers: Name of the layers in `LAYERS`.
        activation: Name of the activation.
        loss: Name of the loss.
        penalty: Name of the penalty in `PENALTIES`.
        central: Largest relative difference from the gradient by central differences.
        complex: Largest relative difference from the gradient by the complex step.
    """

    layers: str
    activation: str
    loss: str
    penalty: str
    central: float
    complex: float


def check_library() -> Iterator[GradientCase]:
    """Yield the gradient errors of every combination of layer, activation, loss and penalty."""
    for layers, activation, loss, penalty in itertools.product(
        LAYERS, ACTIVATIONS, LOSSES, PENALTIES
    ):
        rng = np.random.default_rng(7)
        network = Network(
            N_INPUTS, LAYERS[layers](ACTIVATIONS[activation]), rng=rng, dtype=np.float64
        )
        # Biases of 0 could hide an error in their gradients.
        network.parameters += 0.1 * rng.normal(size=network.n_parameters)
        x, targets = rng.normal(size=(N_ROWS, N_INPUTS)), TARGETS[loss](rng)
        x[:, -1] = rng.integers(0, N_CATEGORIES, N_ROWS)
        errors = {
            method: max(
                error.relative
                for error in check_gradients(
                    network, x, targets, LOSSES[loss](), penalty=PENALTIES[penalty], method=method
                )
            )
            for method in STEPS
        }
        yield GradientCase(
            layers, activation, loss, penalty, central=errors["central"], complex=errors["complex"]
        )
