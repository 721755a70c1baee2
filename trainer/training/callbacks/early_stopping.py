"""Early stopping: end a run when it no longer improves on the validation rows; keep the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.training.loop import VALIDATION_ERROR, Callback, TrainingRun

Monitor = Literal["loss", "squared_error"]

# Smallest decrease of the squared error that counts for the patience. Once all answers are right,
# the error may fall for ever, by amounts that matter to nobody.
MIN_DECREASE = 1e-6


class EarlyStopping(Callback):
    """Callback that stops a run when it no longer improves on the validation rows.

    When the run ends, the network gets the weights of the best epoch.

    Args:
        patience: Number of epochs without a new best value after which the run ends, at least 1. A
            squared error has to fall by more than 1e-6 to count.
        monitor: Value that is compared: the validation `loss`, of equal epochs the first; or the
            `squared_error`, of equal epochs the last, for which the run has to measure it. For
            classes it is the Brier score, which a few confident mistakes move less than the loss
            [default: "loss"].

    Raises:
        ValueError: If the patience is below 1.

    Attributes:
        best_epoch: Number of the epoch with the lowest value, from 1; 0 before the first.
    """

    def __init__(self, patience: int, monitor: Monitor = "loss") -> None:
        if patience < 1:
            raise ValueError(f"expected a patience of at least 1 epoch; got {patience}")
        self.patience, self.monitor = patience, monitor
        self.reset()

    def reset(self) -> None:
        """Forget the best epoch and its weights."""
        self.best_epoch = 0
        self._last_decrease, self._decreased_value = 0, np.inf  # epoch and value, for the patience
        self._best_value = np.inf
        self._best_weights: dict[str, NDArray[Any]] | None = None

    def on_epoch(self, run: TrainingRun) -> None:
        """Keep the weights if the epoch is the best so far, or stop the run if it is time."""
        epoch = run.history[-1]
        if epoch.validation_loss is None:
            raise ValueError("expected validation rows to stop early by; got none; pass validation")
        if self.monitor == "loss":
            value, is_better = epoch.validation_loss, epoch.validation_loss < self._best_value
        else:
            value = epoch.metrics[VALIDATION_ERROR]
            is_better = value <= self._best_value
        min_decrease = 0.0 if self.monitor == "loss" else MIN_DECREASE
        if is_better:
            self._best_value = value
            self.best_epoch = epoch.number
            self._best_weights = run.snapshot()
        if value < self._decreased_value - min_decrease:
            self._last_decrease, self._decreased_value = epoch.number, value
        elif epoch.number - self._last_decrease >= self.patience:
            run.stop = True

    def on_end(self, run: TrainingRun) -> None:
        """Restore the weights of the best epoch."""
        if self._best_weights is not None:
            run.network.restore(self._best_weights)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the best epoch, its loss and its weights."""
        state = {
            "best_epoch": np.array(self.best_epoch),
            "best_loss": np.array(self._best_value),
            "last_decrease": np.array([self._last_decrease, self._decreased_value]),
        }
        return state | {f"best.{name}": a for name, a in (self._best_weights or {}).items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `state` returned."""
        self.best_epoch, self._best_value = int(state["best_epoch"]), float(state["best_loss"])
        # Checkpoints of earlier versions do not have it; there both were the same.
        decrease = state.get("last_decrease", np.array([self.best_epoch, self._best_value]))
        self._last_decrease, self._decreased_value = int(decrease[0]), float(decrease[1])
        weights = {k.removeprefix("best."): v for k, v in state.items() if k.startswith("best.")}
        self._best_weights = weights or None
