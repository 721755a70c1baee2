"""The training loop: epochs of shuffled mini-batches, with one update per batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from trainer.nn import Constant, Loss, Network, ReduceOnPlateau, check_pairing
from trainer.training.batches import (
    Batch,
    BatchIterable,
    BatchSource,
    ShuffledBatches,
    TrainingRows,
)
from trainer.training.update import UpdateRule

VALIDATION_ERROR = "validation_squared_error"  # name of the metric


class TrainingDivergedError(ArithmeticError):
    """The loss or a weight became NaN or infinite, so the result of the run must not be used."""


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch.

    Attributes:
        number: Number of the epoch, from 1.
        train_loss: Mean loss of the training rows, each batch measured before its update.
        validation_loss: Loss of the validation rows after the last update of the epoch; None
            without validation rows.
        learning_rate: Learning rate of the last update of the epoch.
        metrics: Further values that callbacks have measured, by name.
    """

    number: int
    train_loss: float
    validation_loss: float | None
    learning_rate: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Callback:
    """Base class of callbacks: methods that a run calls while it trains. They do nothing here.

    No callback has to test for NaN: a run whose loss or weights are not finite ends with a
    `TrainingDivergedError`.
    """

    def reset(self) -> None:
        """Drop all state of an earlier run, so that the object is like a new one."""

    def on_start(self, run: TrainingRun) -> None:
        """Handle the start of a run, before its first epoch.

        By default the callback is reset, unless the run has been restored from a checkpoint: then
        it has made steps before. If the checkpoint comes later in the list of callbacks, it
        restores the state of this one after this call.
        """
        if run.steps == 0:
            self.reset()

    def on_step(self, run: TrainingRun) -> None:
        """Handle the end of a step, to which `run.batch` and `run.batch_loss` belong."""

    def on_epoch(self, run: TrainingRun) -> None:
        """Handle the end of an epoch, whose results are `run.history[-1]`."""

    def on_end(self, run: TrainingRun) -> None:
        """Handle the end of a run, which is also called after an error."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the state of the callback as arrays by name, for a checkpoint."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `state` returned."""


class TrainingRun:
    """The training of a network, with all of its state.

    Args:
        network: Network, which is trained in place.
        loss: Loss that is minimised.
        update: Rule by which a batch changes the network.
        rows: Training rows, a source of batches, or a callable that returns the batches of an
            epoch.
        epochs: Number of epochs, at least 1.
        batch_size: Number of rows per batch, at least 1; ignored unless `rows` are `TrainingRows`.
        rng: Generator that decides the order of the rows.
        validation: Rows whose loss is measured after each epoch, and on which the network is not
            trained; None for none.
        callbacks: Callbacks, called in this order.
        shuffle: Whether each epoch has a new order of rows; ignored unless `rows` are
            `TrainingRows` [default: True].
        steps_per_epoch: Number of batches per epoch of a callable, needed if the schedule depends
            on the progress of the run.
        first_step: Number of steps that earlier runs have made, from which the schedule continues
            [default: 0].
        measure_error: Whether the squared error of the validation rows is measured after each
            epoch, as the metric `validation_squared_error`; see `Loss.squared_error`
            [default: False].

    Raises:
        ValueError: If the loss does not accept the rows or the activation of the last layer, or a
            number is too small.

    Attributes:
        source: Source of the batches.
        history: Results of each finished epoch.
        steps: Number of steps made so far.
        stop: Whether the run ends after the current epoch. Callbacks set it to True.
        batch: Batch of the last step; None before the first.
        batch_loss: Loss of that batch before the update.
        epoch_batches: Number of batches that the current epoch has used so far.
        epoch_rows: Number of rows in those batches.
        epoch_loss_sum: Sum over those batches of the loss, times the number of rows.
        order_rng_state: State of `rng` before it drew the order of the current epoch; None between
            epochs.
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        update: UpdateRule,
        rows: TrainingRows | BatchSource | BatchIterable,
        *,
        epochs: int,
        batch_size: int,
        rng: np.random.Generator,
        validation: TrainingRows | None = None,
        callbacks: Sequence[Callback] = (),
        shuffle: bool = True,
        steps_per_epoch: int | None = None,
        first_step: int = 0,
        measure_error: bool = False,
    ) -> None:
        numbers: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
        for name, value in numbers.items():
            if not isinstance(value, Integral):
                raise ValueError(f"expected {name}, a whole number; got {value!r}")
            if value < 1:
                raise ValueError(f"expected {name} of at least 1; got {value}")
        activation = network.layers[-1].output_activation
        if activation is not None:
            check_pairing(loss, activation.name)
        self.network, self.loss, self.update = network, loss, update
        self.epochs, self.rng, self.validation = epochs, rng, validation
        self.callbacks, self.measure_error = list(callbacks), measure_error
        for part in (rows, validation):
            if isinstance(part, TrainingRows):
                part.check(loss, network.n_inputs, network.n_outputs, network.dtype)
        self.source = (
            ShuffledBatches(rows, batch_size, shuffle=shuffle)
            if isinstance(rows, TrainingRows)
            else rows
        )
        self.steps_per_epoch = steps_per_epoch or 0
        if isinstance(self.source, BatchSource):
            self.steps_per_epoch = len(self.source)
        elif not self.steps_per_epoch:
            for schedule in (update.schedule, update.regularization_schedule):
                if not isinstance(schedule, Constant | ReduceOnPlateau):
                    raise ValueError(
                        f"expected steps_per_epoch, since {schedule!r} depends on the progress of "
                        f"the run; got a stream of unknown length; pass steps_per_epoch"
                    )
        self.history: list[Epoch] = []
        self.steps, self.first_step = 0, first_step
        self.stop = False
        self.batch: Batch | None = None
        self.batch_loss = np.nan
        self.epoch_batches, self.epoch_rows, self.epoch_loss_sum = 0, 0, 0.0
        self.order_rng_state: dict[str, Any] | None = None

    def run(self) -> list[Epoch]:
        """Train until the last epoch, or until a callback stops the run.

        A run that a callback has restored from a checkpoint continues from there.

        Returns:
            Results of each epoch.

        Raises:
            TrainingDivergedError: If the loss or a weight became infinite or NaN.
        """
        if self.steps == 0:
            self.update.start(self.network, keep_schedule=self.first_step > 0)
        self.update.choose_kernels(self.network, self.count_planned_steps())
        for callback in self.callbacks:
            callback.on_start(self)
        try:
            while len(self.history) < self.epochs and not self.stop:
                # An overflow needs no warning, since the loss is tested after each step.
                with np.errstate(over="ignore", invalid="ignore"):
                    self._run_epoch()
                for callback in self.callbacks:
                    callback.on_epoch(self)
        finally:
            average = self.update.averaged_parameters
            if average is not None:
                self.network.parameters[...] = average
            self.update.finish(self.network)
            for callback in self.callbacks:
                callback.on_end(self)
        return self.history

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Return a snapshot of the network as it would be if the run ended now.

        If the update rule averages the parameters, it contains their average.
        """
        with self.use_final_weights():
            return self.network.snapshot()

    @contextmanager
    def use_final_weights(self) -> Iterator[None]:
        """Give the network the weights that it would have if the run ended now.

        These are their moving average, if the update rule has one. After the block the network has
        its current weights again.
        """
        average = self.update.averaged_parameters
        if average is None:
            yield
            return
        current = self.network.parameters.copy()
        self.network.parameters[...] = average
        try:
            yield
        finally:
            self.network.parameters[...] = current

    @property
    def source_size(self) -> tuple[int, int] | None:
        """Number of rows and rows per batch; None if the batches come from a callable."""
        source = self.source
        return (source.n_rows, source.batch_size) if isinstance(source, BatchSource) else None

    def count_planned_steps(self) -> int:
        """Return the number of steps of all epochs; 0 for a stream of unknown length."""
        return self.steps_per_epoch * self.epochs

    def _run_epoch(self) -> None:
        for batch in self._iterate_batches():
            self._run_step(batch)
            for callback in self.callbacks:
                callback.on_step(self)
        if not self.epoch_rows:
            raise ValueError(
                "expected batches to train on; got a stream without any; pass a callable that "
                "returns a new iterable in each epoch"
            )
        train_loss = self.epoch_loss_sum / self.epoch_rows
        validation_loss, metrics = (
            (None, {}) if self.validation is None else self._validate(self.validation)
        )
        if validation_loss is not None and not math.isfinite(validation_loss):
            self._raise_diverged("validation loss", validation_loss)
        self._require_finite_weights()
        rate = self.update.optimizer.learning_rate
        self.update.observe(train_loss if validation_loss is None else validation_loss)
        number = len(self.history) + 1
        self.history.append(Epoch(number, train_loss, validation_loss, rate, metrics))
        self.epoch_batches, self.epoch_rows, self.epoch_loss_sum = 0, 0, 0.0
        self.order_rng_state = None

    def _run_step(self, batch: Batch) -> None:
        features, targets, weights = batch
        if not isinstance(self.source, BatchSource):
            TrainingRows(*batch).check(
                self.loss, self.network.n_inputs, self.network.n_outputs, self.network.dtype
            )
        self.batch_loss = self.update.step(
            self.network,
            self.loss,
            features,
            targets,
            weights,
            step_index=self.first_step + self.steps,
            n_steps=self.first_step + max(self.count_planned_steps(), self.steps + 1),
        )
        if not math.isfinite(self.batch_loss):
            self._raise_diverged("training loss", self.batch_loss)
        self.batch = batch
        self.steps += 1
        self.epoch_batches += 1
        self.epoch_rows += len(features)
        self.epoch_loss_sum += self.batch_loss * len(features)

    def _iterate_batches(self) -> Iterable[Batch]:
        if not isinstance(self.source, BatchSource):
            return itertools.islice(self.source(), self.epoch_batches, None)
        if self.order_rng_state is None:
            self.order_rng_state = dict(self.rng.bit_generator.state)
        else:  # the run was resumed within an epoch, whose order is drawn again
            self.rng.bit_generator.state = self.order_rng_state
        return self.source.iterate_epoch(self.rng, skip=self.epoch_batches)

    def _validate(self, rows: TrainingRows) -> tuple[float, dict[str, float]]:
        """Return the loss of the rows, and their squared error if it is to be measured."""
        with self.use_final_weights():
            logits = self.network.logits(rows.features)
        value = self.loss.value(logits, rows.targets, rows.weights)
        if not self.measure_error:
            return value, {}
        error = self.loss.squared_error(logits, rows.targets, rows.weights)
        return value, {VALIDATION_ERROR: error}

    def _require_finite_weights(self) -> None:
        if np.isfinite(self.network.parameters).all():
            return
        for position, layer in enumerate(self.network.layers, start=1):
            for parameter in layer.parameters():
                bad = parameter.value[~np.isfinite(parameter.value)]
                if bad.size:
                    self._raise_diverged(
                        f"{parameter.name} of layer {position}, {layer!r}", float(bad[0])
                    )

    def _raise_diverged(self, name: str, value: float) -> NoReturn:
        raise TrainingDivergedError(
            f"expected a finite {name}; got {value} in epoch {len(self.history) + 1}, after "
            f"{self.steps} steps with {self.update.optimizer!r}; lower the learning rate, or "
            f"clip gradients"
        )
