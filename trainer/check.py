"""The check: a network, its data and its training examined before anyone trusts them."""

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
    Network,
    Penalty,
    check_gradients,
)
from trainer.nn.gradient_check import STEPS
from trainer.pipeline import OnDataLoaded, load_and_split, prepare_training, spawn_generators
from trainer.training.callbacks import EarlyStopping
from trainer.training.diagnostics import (
    Diagnostics,
    Measurement,
    check_backpropagation,
    check_initial_state,
    check_overfitting,
)
from trainer.training.loop import TrainingDivergedError


def check_run(config: Config, announce: OnDataLoaded | None = None) -> Iterator[Measurement]:
    """Everything about one run: rows, start, gradients, a tiny set, and the training itself.

    Args:
        config: every choice, the number of epochs to watch among them.
        announce: Told what the data are before anything is measured.

    Raises:
        DataError: If the data cannot be trained on.
    """
    learning, _ = spawn_generators(config.seed)  # the very run that `fit` would make
    table, parts = load_and_split(config)
    if announce is not None:
        announce(table, parts)
    task = prepare_training(table, parts, config, learning)
    network, loss, rows = task.model.network, task.model.loss, task.sample_training_rows()
    start = check_initial_state(network, rows, loss)
    yield from start
    if any(m.fault == "label_shape" and not m.healthy for m in start):
        return  # there is nothing to train on
    yield from check_backpropagation(network, rows, loss, config.build_update_rule().penalty)
    yield check_overfitting(network, rows, loss)
    watch = Diagnostics()
    try:
        task.create_run(config, [EarlyStopping(config.patience), watch]).run()
    except TrainingDivergedError as error:
        yield Measurement("exploding_loss", float("nan"), note=str(error))
    yield from watch.measurements


ROWS, INPUTS, OUTPUTS = 12, 5, 3
TARGETS: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "mse": lambda rng: rng.normal(size=(ROWS, OUTPUTS)),
    "mae": lambda rng: rng.normal(size=(ROWS, OUTPUTS)),
    "huber": lambda rng: 2 * rng.normal(size=(ROWS, OUTPUTS)),
    "poisson": lambda rng: rng.poisson(2, (ROWS, OUTPUTS)).astype(np.float64),
    "binary_cross_entropy": lambda rng: rng.integers(0, 2, (ROWS, OUTPUTS)).astype(np.float64),
    "categorical_cross_entropy": lambda rng: rng.integers(0, OUTPUTS, ROWS),
}
LAYERS: dict[str, Callable[[type[Activation]], list[Layer]]] = {
    "dense": lambda f: [Dense(6, f()), Dense(5, f()), Dense(OUTPUTS)],
    "batch norm": lambda f: [Dense(6), BatchNorm(f()), Dense(OUTPUTS)],
    "dropout": lambda f: [Dense(8, f()), Dropout(0.3), Dense(OUTPUTS)],
    "embedding": lambda f: [Embedding([3], [2]), Dense(5, f()), Dense(OUTPUTS)],
    "branches": lambda f: [Branches((2, [Dense(3, f())]), (3, [Dense(4, f())])), Dense(OUTPUTS)],
}
PENALTIES = {"none": None, "l1": Penalty(l1=0.01), "l2": Penalty(l2=0.01)}


@dataclass(frozen=True)
class GradientCase:
    """One combination, and the worst relative error of its gradient by either method."""

    layers: str
    activation: str
    loss: str
    penalty: str
    central: float
    complex: float


def check_library() -> Iterator[GradientCase]:
    """The gradient of every kind of layer, activation, loss and penalty, on this machine."""
    for names in itertools.product(LAYERS, ACTIVATIONS, LOSSES, PENALTIES):
        layers, activation, loss, penalty = names
        rng = np.random.default_rng(7)
        built = LAYERS[layers](ACTIVATIONS[activation])
        network = Network(INPUTS, built, rng=rng, dtype=np.float64)
        network.parameters += 0.1 * rng.normal(size=network.n_parameters)  # biases off zero
        x, targets = rng.normal(size=(ROWS, INPUTS)), TARGETS[loss](rng)
        x[:, -1] = rng.integers(0, 3, ROWS)  # a category, to who looks it up
        worst = {
            method: max(
                error.relative
                for error in check_gradients(
                    network, x, targets, LOSSES[loss](), penalty=PENALTIES[penalty], method=method
                )
            )
            for method in STEPS
        }
        yield GradientCase(*names, central=worst["central"], complex=worst["complex"])
