"""Model checkpoints: the weights of the best epoch in a file, whatever becomes of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.training.array_file import write_arrays
from trainer.training.loop import Callback, TrainingRun


class ModelCheckpoint(Callback):
    """Saves the network's weights after an epoch; `Network.restore(read_arrays(path))` loads them.

    To go on with a run that was killed, as if nothing had happened, see `checkpoint.Checkpoint`.

    Args:
        path: the .npz file; its folder must exist. `{epoch}` in its name becomes the number of the
            epoch.
        best_only: save when the validation loss, or without validation rows the training loss, is
            the lowest so far; else after each epoch.
    """

    def __init__(self, path: Path | str, *, best_only: bool = True) -> None:
        self.path, self.best_only = Path(path), best_only
        self.reset()

    def reset(self) -> None:
        """Know of no best loss: a new run writes the file anew."""
        self._best = np.inf

    def on_epoch(self, run: TrainingRun) -> None:
        """Save, if this is one to keep."""
        epoch = run.history[-1]
        loss = epoch.train_loss if epoch.validation_loss is None else epoch.validation_loss
        if self.best_only and not loss < self._best:
            return
        self._best = min(loss, self._best)
        name = self.path.name.replace("{epoch}", str(epoch.number))
        write_arrays(self.path.with_name(name), run.snapshot())

    def state(self) -> dict[str, NDArray[Any]]:
        return {"best": np.array(self._best)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._best = float(state["best"])
