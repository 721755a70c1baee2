"""The training loop: epochs of shuffled mini-batches, one optimizer step each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.nn import Loss, Network, Optimizer


class TrainingDivergedError(ArithmeticError):
    """The loss is no longer a finite number; nothing of the run may be kept."""


@dataclass(frozen=True)
class Rows:
    """Rows in the form the network takes.

    Attributes:
        features: of the network's dtype, `(n, n_inputs)`, n ≥ 1.
        targets: one per row, in the form the loss asks for.
    """

    features: NDArray[Any]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows led to.

    Attributes:
        number: from 1.
        train_loss: mean over the epoch's batches, each before its step.
        validation_loss: after the epoch's last step; None without validation rows.
    """

    number: int
    train_loss: float
    validation_loss: float | None


@dataclass
class Run:
    """A training run as callbacks see it.

    Attributes:
        network: the network being trained.
        epochs: the most epochs there will be.
        history: one entry per finished epoch.
        stop: set it to end the run after the current epoch.
    """

    network: Network
    epochs: int
    history: list[Epoch] = field(default_factory=list)
    stop: bool = False


class Callback:
    """Called at the turns of a run; the defaults do nothing."""

    def on_start(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch(self, run: Run) -> None:
        """After each epoch; `run.history[-1]` is its result."""

    def on_end(self, run: Run) -> None:
        """After the last epoch, however the run ended, an error included."""


def train(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    rows: Rows,
    *,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator,
    validation: Rows | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Epoch]:
    """Train `network` in place.

    Args:
        network: its parameters are updated.
        loss: what is minimised.
        optimizer: how a step is made of a gradient.
        rows: what is learned from; shuffled anew each epoch, the last batch may be smaller.
        epochs: passes over the rows, at least 1.
        batch_size: rows per step, at least 1.
        rng: decides the order of the rows.
        validation: rows whose loss is measured after each epoch and never learned from.
        callbacks: called in this order.

    Returns:
        One entry per epoch run.

    Raises:
        TrainingDivergedError: the loss became infinite or NaN.
    """
    run = Run(network, epochs)
    for callback in callbacks:
        callback.on_start(run)
    try:
        for number in range(1, epochs + 1):
            order = rng.permutation(len(rows))
            with np.errstate(over="ignore", invalid="ignore"):  # the loss tells
                train_loss = _epoch(network, loss, optimizer, rows, order, batch_size)
                seen = None if validation is None else _validate(network, loss, validation)
            _refuse_divergence(number, optimizer, train_loss, seen)
            run.history.append(Epoch(number, train_loss, seen))
            for callback in callbacks:
                callback.on_epoch(run)
            if run.stop:
                break
    finally:
        for callback in callbacks:
            callback.on_end(run)
    return run.history


def _epoch(
    network: Network,
    loss: Loss,
    optimizer: Optimizer,
    rows: Rows,
    order: NDArray[np.int64],
    batch_size: int,
) -> float:
    total = 0.0
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        value = network.loss_and_gradients(rows.features[batch], rows.targets[batch], loss)
        optimizer.step(network.parameters, network.gradients)
        total += value * len(batch)
    return total / len(order)


def _validate(network: Network, loss: Loss, rows: Rows) -> float:
    return loss.value(network.logits(rows.features), rows.targets)


def _refuse_divergence(
    number: int, optimizer: Optimizer, train_loss: float, validation_loss: float | None
) -> None:
    for name, value in (("training", train_loss), ("validation", validation_loss)):
        if value is not None and not np.isfinite(value):
            raise TrainingDivergedError(
                f"expected a finite {name} loss; got {value} in epoch {number} with {optimizer!r}; "
                f"lower the learning rate"
            )
