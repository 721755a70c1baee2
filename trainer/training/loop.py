"""The training loop: epochs of shuffled mini-batches, one update each."""

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


class TrainingDivergedError(ArithmeticError):
    """The loss or a weight is no longer a finite number; nothing of the run may be kept."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training rows led to.

    Attributes:
        number: from 1.
        train_loss: mean over the epoch's batches, each before its step.
        validation_loss: after the epoch's last step; None without validation rows.
        learning_rate: of the epoch's last step.
        metrics: what callbacks have measured besides, by name.
    """

    number: int
    train_loss: float
    validation_loss: float | None
    learning_rate: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class Callback:
    """Called at the turns of a run; the defaults do nothing.

    None is needed against NaN: a run whose loss or weights are not finite ends by itself.
    """

    def reset(self) -> None:
        """Forget what an earlier run left, as if just made."""

    def on_start(self, run: TrainingRun) -> None:
        """Before the first epoch: begin anew, unless the run goes on from a checkpoint.

        One that comes after this brings back what it must; one that came before has made the steps
        of the run more than none.
        """
        if run.steps == 0:
            self.reset()

    def on_step(self, run: TrainingRun) -> None:
        """After each step; `run.batch` and `run.batch_loss` are of it."""

    def on_epoch(self, run: TrainingRun) -> None:
        """After each epoch; `run.history[-1]` is its result."""

    def on_end(self, run: TrainingRun) -> None:
        """After the last epoch, however the run ended, an error included."""

    def state(self) -> dict[str, NDArray[Any]]:
        """All it remembers, by name, for a checkpoint."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `state` gave."""


class TrainingRun:
    """A training run: where it stands, and what it needs to go on.

    Args:
        network: trained in place.
        loss: what is minimised.
        update: how a step is made of a batch.
        rows: what is learned from: rows, a source of batches in an order of its own, or a callable
            that gives the batches of each epoch.
        epochs: passes over the rows, at least 1.
        batch_size: rows per step, at least 1; of a callable it is not asked.
        rng: decides the order of the rows.
        validation: rows whose loss is measured after each epoch and never learned from.
        callbacks: called in this order.
        shuffle: draw a new order for each epoch.
        steps_per_epoch: of a callable, if the schedule of the update follows the progress.
        first_step: steps that earlier runs have made, from which the schedule goes on.

    Raises:
        ValueError: the rows, or the last activation, do not fit the loss; or a number is too small.

    Attributes:
        history: one entry per finished epoch.
        steps: made so far.
        stop: set it to end the run after the current epoch.
        batch: the last one learned from.
        batch_loss: its loss before the step.
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
    ) -> None:
        sizes: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
        for name, value in sizes.items():
            if not isinstance(value, Integral):
                raise ValueError(f"expected {name}, a whole number; got {value!r}")
            if value < 1:
                raise ValueError(f"expected {name} of at least 1; got {value}")
        activation = getattr(network.layers[-1], "activation", None)
        if activation is not None:
            check_pairing(loss, activation.name)
        self.network, self.loss, self.update = network, loss, update
        self.epochs, self.rng, self.validation = epochs, rng, validation
        self.callbacks = list(callbacks)
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
        elif not self.steps_per_epoch and not isinstance(
            update.schedule, Constant | ReduceOnPlateau
        ):
            raise ValueError(
                f"expected steps_per_epoch, for {update.schedule!r} to follow the progress by; got "
                f"a stream of unknown length"
            )
        self.history: list[Epoch] = []
        self.steps, self.first_step = 0, first_step
        self.stop = False
        self.batch: Batch | None = None
        self.batch_loss = np.nan
        # Of the epoch under way: batches done, rows seen, Σ of loss × rows, and the state of `rng`
        # before its order was drawn.
        self.batches_done, self.rows_seen, self.total = 0, 0, 0.0
        self.order_state: dict[str, Any] | None = None

    def run(self) -> list[Epoch]:
        """Train from where the run stands to its end.

        Returns:
            One entry per epoch run.

        Raises:
            TrainingDivergedError: the loss or a weight became infinite or NaN.
        """
        if self.steps == 0:
            self.update.start(self.network, goes_on=self.first_step > 0)
        for callback in self.callbacks:
            callback.on_start(self)
        try:
            while len(self.history) < self.epochs and not self.stop:
                with np.errstate(over="ignore", invalid="ignore"):  # the loss tells
                    self._epoch()
                for callback in self.callbacks:
                    callback.on_epoch(self)
        finally:
            average = self.update.averaged
            if average is not None:
                self.network.parameters[...] = average
            self.update.finish()
            for callback in self.callbacks:
                callback.on_end(self)
        return self.history

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The network as it would be if the run ended here: of its average, if it has one."""
        with self.as_ended():
            return self.network.snapshot()

    @contextmanager
    def as_ended(self) -> Iterator[None]:
        """For as long as the block lasts, the network is as if the run ended here."""
        average = self.update.averaged
        if average is None:
            yield
            return
        now = self.network.parameters.copy()
        self.network.parameters[...] = average
        try:
            yield
        finally:
            self.network.parameters[...] = now

    @property
    def source_size(self) -> tuple[int, int] | None:
        """Rows and rows per step; None of a stream."""
        source = self.source
        return (source.n_rows, source.size) if isinstance(source, BatchSource) else None

    def steps_planned(self) -> int:
        """Steps of the whole run; 0 of a stream whose length no one has said."""
        return self.steps_per_epoch * self.epochs

    def _epoch(self) -> None:
        number, planned = len(self.history) + 1, self.steps_planned()
        for batch in self._batches():
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
                number=self.first_step + self.steps,
                of=self.first_step + max(planned, self.steps + 1),
            )
            if not math.isfinite(self.batch_loss):
                self._diverged("training loss", self.batch_loss)
            self.batch = batch
            self.steps += 1
            self.batches_done += 1
            self.rows_seen += len(features)
            self.total += self.batch_loss * len(features)
            for callback in self.callbacks:
                callback.on_step(self)
        if not self.rows_seen:
            raise ValueError("expected batches to learn from; got a stream without any")
        train_loss = self.total / self.rows_seen
        validation_loss = None if self.validation is None else self._validate(self.validation)
        if validation_loss is not None and not math.isfinite(validation_loss):
            self._diverged("validation loss", validation_loss)
        self._require_finite_weights()
        rate = self.update.optimizer.learning_rate
        self.update.observe(train_loss if validation_loss is None else validation_loss)
        self.history.append(Epoch(number, train_loss, validation_loss, rate))
        self.batches_done, self.rows_seen, self.total = 0, 0, 0.0
        self.order_state = None

    def _batches(self) -> Iterable[Batch]:
        if not isinstance(self.source, BatchSource):
            return itertools.islice(self.source(), self.batches_done, None)
        if self.order_state is None:
            self.order_state = dict(self.rng.bit_generator.state)
        else:  # resumed within an epoch, whose order is drawn again
            self.rng.bit_generator.state = self.order_state
        return self.source.epoch(self.rng, skip=self.batches_done)

    def _validate(self, rows: TrainingRows) -> float:
        with self.as_ended():
            return self.loss.value(self.network.logits(rows.features), rows.targets, rows.weights)

    def _require_finite_weights(self) -> None:
        if np.isfinite(self.network.parameters).all():
            return
        for position, layer in enumerate(self.network.layers, start=1):
            for parameter in layer.parameters():
                bad = parameter.value[~np.isfinite(parameter.value)]
                if bad.size:
                    self._diverged(
                        f"{parameter.name} of layer {position}, {layer!r}", float(bad[0])
                    )

    def _diverged(self, what: str, value: float) -> NoReturn:
        raise TrainingDivergedError(
            f"expected a finite {what}; got {value} in epoch {len(self.history) + 1}, after "
            f"{self.steps} steps with {self.update.optimizer!r}; lower the learning rate, or "
            f"clip gradients"
        )
