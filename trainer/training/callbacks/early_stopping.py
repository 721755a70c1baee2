"""Early stopping: a run ends when it has stopped getting better, with the best weights it had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.training.loop import Callback, TrainingRun


class EarlyStopping(Callback):
    """Ends a run whose validation loss no longer falls, and keeps the best weights.

    Args:
        patience: epochs without a new lowest validation loss before the run ends, at least 1.

    Attributes:
        best_epoch: the epoch of the lowest validation loss, whose weights the network ends with.
    """

    def __init__(self, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"expected a patience of at least 1 epoch; got {patience}")
        self.patience = patience
        self.reset()

    def reset(self) -> None:
        """Know of no best weights."""
        self.best_epoch = 0
        self._best_loss = np.inf
        self._best: dict[str, NDArray[Any]] | None = None

    def on_epoch(self, run: TrainingRun) -> None:
        """Keep the weights if they are the best so far; give up after `patience` worse epochs."""
        epoch = run.history[-1]
        if epoch.validation_loss is None:
            raise ValueError("expected validation rows to stop early by; got none; pass validation")
        if epoch.validation_loss < self._best_loss:
            self._best_loss = epoch.validation_loss
            self.best_epoch = epoch.number
            self._best = run.snapshot()
        elif epoch.number - self.best_epoch >= self.patience:
            run.stop = True

    def on_end(self, run: TrainingRun) -> None:
        """Put the best weights back."""
        if self._best is not None:
            run.network.restore(self._best)

    def state(self) -> dict[str, NDArray[Any]]:
        found = {"best_epoch": np.array(self.best_epoch), "best_loss": np.array(self._best_loss)}
        return found | {f"best.{name}": array for name, array in (self._best or {}).items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.best_epoch, self._best_loss = int(state["best_epoch"]), float(state["best_loss"])
        best = {k.removeprefix("best."): v for k, v in state.items() if k.startswith("best.")}
        self._best = best or None
