"""Diagnostics of a run while it trains: a callback that measures at little cost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.training.batches import Batch, ShuffledBatches, TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.initial_checks import (
    check_initial_state,
    compute_excess_loss,
    compute_zero_logits_loss,
)
from trainer.training.diagnostics.layer_health import (
    SAMPLE_ROWS,
    iterate_layers,
    measure_layer_health,
    sample_rows,
)
from trainer.training.loop import Callback, TrainingRun

UPDATES_PER_EPOCH = 5  # updates whose size is measured in an examined epoch
STREAM_UPDATE_INTERVAL = 50  # steps between two measured updates of a stream of unknown length
LAST_UPDATE_EPOCH = 8  # later updates are not measured, since they are small in a healthy run
PROGRESS_STEPS = 1000  # steps after which the loss must have fallen
# A shorter run is not checked for progress.
MIN_PROGRESS_EPOCHS = 5
MIN_PROGRESS_STEPS = 200
MIN_STREAM_ROWS = 32  # with fewer rows of a stream, its layers are not examined
# If the loss is below this share of the loss of all-zero logits, the task counts as learned;
# updates are then not checked, since small ones are healthy.
LEARNED_SHARE = 0.01


class Diagnostics(Callback):
    """Callback that looks for faults before the first step, and in epochs 1, 2, 4, 8 and so on.

    Up to `SAMPLE_ROWS` rows are examined, always the same: evenly spaced ones, or the first ones of
    a stream.

    Args:
        report: Function that is called with each new finding at once; None for none.

    Attributes:
        measurements: All measurements.
        findings: Measurements that are out of bounds: for each fault and layer, only the first.
    """

    def __init__(self, report: Callable[[Measurement], None] | None = None) -> None:
        self.report = report
        self.reset()

    def reset(self) -> None:
        """Forget all measurements."""
        self.measurements: list[Measurement] = []
        self.findings: list[Measurement] = []
        self._is_new_run = False
        self._rows: TrainingRows | None = None
        self._stream_batches: list[Batch] = []  # collected until they have `SAMPLE_ROWS` rows
        # The first two are differences from the third, which is the lowest possible loss.
        self._zero_logits_loss, self._initial_loss, self._lowest_loss = 0.0, 0.0, 0.0
        self._previous_parameters: NDArray[Any] | None = None
        self._update_ratios: dict[str, list[float]] = {}

    def on_start(self, run: TrainingRun) -> None:
        """Check the rows and the initial weights."""
        self.reset()
        self._is_new_run = run.steps == 0
        if isinstance(run.source, ShuffledBatches):
            if self._is_new_run:
                self._record(check_initial_state(run.network, run.source.rows, run.loss))
            self._set_rows(run, sample_rows(run.source.rows))

    def on_step(self, run: TrainingRun) -> None:
        """Measure the size of an update, if it is one to measure."""
        if self._rows is None:
            self._collect_batch(run)
        if self._previous_parameters is not None:
            self._measure_update(run, self._previous_parameters)
            self._previous_parameters = None
        elif self._should_measure_next_update(run):
            self._previous_parameters = run.network.parameters.copy()

    def on_epoch(self, run: TrainingRun) -> None:
        """Check the loss of the epoch, and the layers in the epochs that are examined."""
        if self._rows is None and self._stream_batches:  # the stream has fewer rows than a sample
            self._set_rows(run, _concatenate(self._stream_batches))
        if self._rows is None or self._zero_logits_loss <= 0:
            return
        epoch = run.history[-1]
        is_examined = _is_power_of_two(epoch.number)
        excess = epoch.train_loss - self._lowest_loss
        growth = Measurement(
            "exploding_loss", excess / max(self._initial_loss, self._zero_logits_loss)
        )
        if is_examined or not growth.is_healthy:
            self._record([growth])
        if not is_examined:
            return
        if run.steps >= PROGRESS_STEPS:
            self._check_progress(run)
        if isinstance(run.source, ShuffledBatches) or len(self._rows) >= MIN_STREAM_ROWS:
            loss = copy.deepcopy(run.loss)
            self._record(measure_layer_health(run.network, self._rows, loss, run.update.penalty))
        is_learning = excess >= LEARNED_SHARE * self._zero_logits_loss
        if epoch.number <= LAST_UPDATE_EPOCH and is_learning:
            for where, ratios in self._update_ratios.items():
                median = float(np.median(ratios))
                self._record(
                    [Measurement(f, median, where) for f in ("large_updates", "small_updates")]
                )
        self._update_ratios = {}

    def on_end(self, run: TrainingRun) -> None:
        """Record whether the run has diverged, or its loss has not fallen."""
        if run.steps and not (
            np.isfinite(run.batch_loss) and np.isfinite(run.network.parameters).all()
        ):
            self._record([Measurement("exploding_loss", float("nan"))])
        elif run.steps >= MIN_PROGRESS_STEPS:
            self._check_progress(run)

    def _set_rows(self, run: TrainingRun, rows: TrainingRows) -> None:
        """Set the rows to examine, and compute the losses that later ones are compared with."""
        loss = copy.deepcopy(run.loss)  # the run keeps using the buffers of its own
        self._rows = rows
        self._lowest_loss = loss.compute_minimum(rows.targets, run.network.n_outputs, rows.weights)
        penalty = _compute_penalty(run)
        self._zero_logits_loss = compute_zero_logits_loss(run.network, rows, loss) + penalty
        self._initial_loss = compute_excess_loss(run.network, rows, loss) + penalty

    def _collect_batch(self, run: TrainingRun) -> None:
        if run.batch is None:
            return
        features, targets, weights = run.batch
        weights = None if weights is None else weights.copy()
        # The next batch may overwrite these arrays.
        self._stream_batches.append((features.copy(), targets.copy(), weights))
        if sum(len(batch[0]) for batch in self._stream_batches) >= SAMPLE_ROWS:
            self._set_rows(run, _concatenate(self._stream_batches))

    def _check_progress(self, run: TrainingRun) -> None:
        """Measure by how much the loss has fallen, if it was large and the run is long enough."""
        has_loss_to_reduce = (
            self._is_new_run and self._initial_loss >= self._zero_logits_loss / 2 > 0
        )
        if (
            has_loss_to_reduce
            and self._rows is not None
            and len(run.history) >= MIN_PROGRESS_EPOCHS
        ):
            loss = compute_excess_loss(run.network, self._rows, copy.deepcopy(run.loss))
            loss += _compute_penalty(run)
            self._record([Measurement("flat_loss", 1 - loss / self._initial_loss)])

    def _should_measure_next_update(self, run: TrainingRun) -> bool:
        epoch, rate = len(run.history) + 1, run.update.optimizer.learning_rate
        is_examined = epoch <= LAST_UPDATE_EPOCH and _is_power_of_two(epoch)
        if not is_examined or rate < run.update.full_rate / 100:
            return False
        interval = (
            max(2, run.steps_per_epoch // UPDATES_PER_EPOCH)
            if run.steps_per_epoch
            else STREAM_UPDATE_INTERVAL
        )
        return run.steps % interval == 0

    def _measure_update(self, run: TrainingRun, previous_parameters: NDArray[Any]) -> None:
        previous = run.network.astype(run.network.dtype)
        previous.parameters[...] = previous_parameters
        for (name, layer), (_, previous_layer) in zip(
            iterate_layers(run.network), iterate_layers(previous), strict=True
        ):
            for p, q in zip(layer.parameters(), previous_layer.parameters(), strict=True):
                norm = float(np.linalg.norm(q.value))
                if p.is_weight and norm > 0:
                    ratio = float(np.linalg.norm(p.value - q.value)) / norm
                    self._update_ratios.setdefault(name, []).append(ratio)

    def _record(self, measurements: Iterable[Measurement]) -> None:
        """Keep measurements, and report those that are new findings."""
        reported = {(m.fault, m.where) for m in self.findings}
        for m in measurements:
            self.measurements.append(m)
            if not m.is_healthy and (m.fault, m.where) not in reported:
                reported.add((m.fault, m.where))
                self.findings.append(m)
                if self.report is not None:
                    self.report(m)


def _compute_penalty(run: TrainingRun) -> float:
    """Return the penalty of the current weights, which is part of the loss of an epoch."""
    penalty = run.update.penalty
    if penalty is None:
        return 0.0
    return penalty.value(run.network.weights()) / run.network.n_members


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _concatenate(batches: list[Batch]) -> TrainingRows:
    features, targets, weights = zip(*batches, strict=True)
    joined = None if weights[0] is None else np.concatenate(weights)
    return TrainingRows(np.concatenate(features), np.concatenate(targets), joined)
