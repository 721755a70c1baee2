"""The watch: a callback that examines a run while it goes on, at next to no cost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.training.batches import Batch, ShuffledBatches, TrainingRows
from trainer.training.diagnostics.faults import Measurement
from trainer.training.diagnostics.initial_checks import check_initial_state, even_odds, excess
from trainer.training.diagnostics.layer_health import SAMPLE, layer_health, named_layers, sample
from trainer.training.loop import Callback, TrainingRun

SAMPLES = 5  # steps of an examined epoch whose size is measured
BETWEEN = 50  # steps between two of them in a stream of unknown length
UPDATES_UNTIL = 8  # the last epoch in which they are: later steps are rightly small
FLAT_AFTER = 1000  # steps, or at the end of a run
FEWEST = (5, 200)  # epochs and steps of a run that is judged at all
FEWEST_ROWS = 32  # of a stream, to judge layers by
LEARNED = 0.01  # of the loss of even odds: with less than that left, nothing is flat or small


class Diagnostics(Callback):
    """Measures what can go wrong: before the first step, and in epochs 1, 2, 4, 8 and so on.

    It looks at up to `SAMPLE` rows, always the same; of a stream, at the first ones.

    Args:
        report: called with each new finding, as soon as it is made.

    Attributes:
        measurements: all that were taken.
        findings: the first of each fault in each layer.
    """

    def __init__(self, report: Callable[[Measurement], None] | None = None) -> None:
        self.report = report
        self.reset()

    def reset(self) -> None:
        """Know of no measurement."""
        self.measurements: list[Measurement] = []
        self.findings: list[Measurement] = []
        self._fresh = False
        self._rows: TrainingRows | None = None
        self._collected: list[Batch] = []  # of a stream, until they are enough
        # Of the loss: of even odds and at the start, both above the lowest, which is there too.
        self._even, self._first, self._lowest = 0.0, 0.0, 0.0
        self._before: NDArray[Any] | None = None  # the parameters, one step ago
        self._ratios: dict[str, list[float]] = {}

    def on_start(self, run: TrainingRun) -> None:
        """Examine the rows and the first weights."""
        self.reset()
        self._fresh = run.steps == 0
        if isinstance(run.source, ShuffledBatches):
            if self._fresh:
                self._take(check_initial_state(run.network, run.source.rows, run.loss))
            self._begin(run, sample(run.source.rows))

    def on_step(self, run: TrainingRun) -> None:
        """Measure the size of a step, if it is one to measure."""
        if self._rows is None:
            self._collect(run)
        if self._before is not None:
            self._measure_step(run, self._before)
            self._before = None
        elif self._due(run):
            self._before = run.network.parameters.copy()

    def on_epoch(self, run: TrainingRun) -> None:
        """Look at the loss; examine the layers if it is time."""
        if self._rows is None and self._collected:  # a short stream
            self._begin(run, _joined(self._collected))
        if self._rows is None or self._even <= 0:
            return
        epoch = run.history[-1]
        examined = _power_of_two(epoch.number)
        left = epoch.train_loss - self._lowest
        growth = Measurement("exploding_loss", left / max(self._first, self._even))
        if examined or not growth.healthy:
            self._take([growth])
        if not examined:
            return
        if run.steps >= FLAT_AFTER:
            self._look_for_progress(run)
        if isinstance(run.source, ShuffledBatches) or len(self._rows) >= FEWEST_ROWS:
            loss = copy.deepcopy(run.loss)
            self._take(layer_health(run.network, self._rows, loss, run.update.penalty))
        if epoch.number <= UPDATES_UNTIL and left >= LEARNED * self._even:
            for where, ratios in self._ratios.items():
                middle = float(np.median(ratios))
                self._take(
                    [Measurement(f, middle, where) for f in ("large_updates", "small_updates")]
                )
        self._ratios = {}

    def on_end(self, run: TrainingRun) -> None:
        """Of a run that diverged or learned nothing, say so by name."""
        if run.steps and not (
            np.isfinite(run.batch_loss) and np.isfinite(run.network.parameters).all()
        ):
            self._take([Measurement("exploding_loss", float("nan"))])
        elif run.steps >= FEWEST[1]:
            self._look_for_progress(run)

    def _begin(self, run: TrainingRun, rows: TrainingRows) -> None:
        loss = copy.deepcopy(run.loss)  # whose buffers the run goes on with
        self._rows = rows
        self._lowest = loss.compute_minimum(rows.targets, run.network.n_outputs, rows.weights)
        self._even = even_odds(run.network, rows, loss) + _penalty(run)
        self._first = excess(run.network, rows, loss) + _penalty(run)

    def _collect(self, run: TrainingRun) -> None:
        if run.batch is None:
            return
        features, targets, weights = run.batch  # whose arrays the next one may overwrite
        kept = None if weights is None else weights.copy()
        self._collected.append((features.copy(), targets.copy(), kept))
        if sum(len(batch[0]) for batch in self._collected) >= SAMPLE:
            self._begin(run, _joined(self._collected))

    def _look_for_progress(self, run: TrainingRun) -> None:
        """Of a fresh network that had something to learn."""
        worth = self._fresh and self._first >= self._even / 2 > 0
        if worth and self._rows is not None and len(run.history) >= FEWEST[0]:
            now = excess(run.network, self._rows, copy.deepcopy(run.loss)) + _penalty(run)
            self._take([Measurement("flat_loss", 1 - now / self._first)])

    def _due(self, run: TrainingRun) -> bool:
        number, rate = len(run.history) + 1, run.update.optimizer.learning_rate
        early = number <= UPDATES_UNTIL and _power_of_two(number)
        if not early or rate < run.update.full_rate / 100:
            return False
        between = max(2, run.steps_per_epoch // SAMPLES) if run.steps_per_epoch else BETWEEN
        return run.steps % between == 0

    def _measure_step(self, run: TrainingRun, before: NDArray[Any]) -> None:
        previous = run.network.astype(run.network.dtype)
        previous.parameters[...] = before
        for (name, now), (_, then) in zip(
            named_layers(run.network), named_layers(previous), strict=True
        ):
            for p, q in zip(now.parameters(), then.parameters(), strict=True):
                size = float(np.linalg.norm(q.value))
                if p.is_weight and size > 0:
                    ratio = float(np.linalg.norm(p.value - q.value)) / size
                    self._ratios.setdefault(name, []).append(ratio)

    def _take(self, measurements: Iterable[Measurement]) -> None:
        known = {(m.fault, m.where) for m in self.findings}
        for m in measurements:
            self.measurements.append(m)
            if not m.healthy and (m.fault, m.where) not in known:
                known.add((m.fault, m.where))
                self.findings.append(m)
                if self.report is not None:
                    self.report(m)


def _penalty(run: TrainingRun) -> float:
    """What it adds now: the loss of an epoch has it in it."""
    penalty = run.update.penalty
    return 0.0 if penalty is None else penalty.value(run.network.weights())


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _joined(batches: list[Batch]) -> TrainingRows:
    features, targets, weights = zip(*batches, strict=True)
    shares = None if weights[0] is None else np.concatenate(weights)
    return TrainingRows(np.concatenate(features), np.concatenate(targets), shares)
