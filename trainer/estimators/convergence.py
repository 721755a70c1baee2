"""The stopping rule of the estimators, which is scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.training.callbacks.early_stopping import MIN_DECREASE
from trainer.training.loop import VALIDATION_ERROR, Callback, TrainingRun

# A function that returns the score of a network on the validation rows.
ScoreFunction = Callable[[TrainingRun], float]


class StoppingParameters(Protocol):
    """The parameters of an estimator that the stopping rule needs.

    Attributes:
        tol: Improvement below which an epoch counts as no better.
        n_iter_no_change: Number of such epochs in a row after which the run ends.
        verbose: Whether the loss of each epoch is printed.
        monitor: Value of the validation rows that decides: `score`, `loss` or `squared_error`.
    """

    tol: float
    n_iter_no_change: int
    verbose: bool
    monitor: Literal["score", "loss", "squared_error"]


class ConvergenceMonitor(Callback):
    """Callback that ends a run that no longer improves.

    Without validation rows the training loss decides. With them their score, loss or squared error
    decides, and the run ends with the weights of the best epoch: of equal epochs the first, or for
    the squared error the last, as in `EarlyStopping`.

    Args:
        parameters: Estimator, whose parameters are read after each epoch.
        score: Function that returns the score of the validation rows, higher is better; None
            without validation rows.

    Attributes:
        scores: Score of each epoch; empty without validation rows.
    """

    def __init__(self, parameters: StoppingParameters, score: ScoreFunction | None) -> None:
        self.parameters, self.score = parameters, score
        self.reset()

    def reset(self) -> None:
        """Forget all epochs."""
        self.scores: list[float] = []
        self._best_value, self._n_epochs_without_improvement = -np.inf, 0
        self._improved_value = -np.inf  # at the last improvement
        self._best_weights: dict[str, NDArray[Any]] | None = None

    def on_epoch(self, run: TrainingRun) -> None:
        """Compare the epoch with the best one, and stop the run if it is time."""
        loss = run.history[-1].train_loss
        value = -loss if self.score is None else self._measure_validation(run, self.score)
        if self.parameters.verbose:
            print(f"Iteration {run.history[-1].number}, loss = {loss:.8f}")  # noqa: T201
        margin = self.parameters.tol if np.isfinite(self._best_value) else 0
        is_best = value > self._best_value
        has_improved = value > self._best_value + margin if margin else is_best
        if self.score is not None and self.parameters.monitor == "squared_error":
            # As in `EarlyStopping`: tiny steps count together, once they exceed the margin.
            is_best = value >= self._best_value
            has_improved = value > self._improved_value + max(margin, MIN_DECREASE)
        if has_improved:
            self._improved_value = value
        if is_best:
            self._best_value = value
            if self.score is not None:
                self._best_weights = run.snapshot()
        self._n_epochs_without_improvement = (
            0 if has_improved else self._n_epochs_without_improvement + 1
        )
        if self._n_epochs_without_improvement > self.parameters.n_iter_no_change:
            run.stop = True

    def _measure_validation(self, run: TrainingRun, score: ScoreFunction) -> float:
        """Add the score of the epoch, and return the value that decides, higher is better."""
        with run.use_final_weights():
            self.scores.append(score(run))
        epoch = run.history[-1]
        if self.parameters.monitor == "score" or epoch.validation_loss is None:
            return self.scores[-1]
        if self.parameters.monitor == "loss":
            return -epoch.validation_loss
        return -epoch.metrics[VALIDATION_ERROR]

    def on_end(self, run: TrainingRun) -> None:
        """Restore the weights of the best epoch, if there are validation rows."""
        if self._best_weights is not None:
            run.network.restore(self._best_weights)
