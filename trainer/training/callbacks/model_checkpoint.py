"""Model checkpoints: save the network's weights to a file while it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.training.array_file import write_arrays
from trainer.training.loop import Callback, TrainingRun


class ModelCheckpoint(Callback):
    """Callback that saves the network's weights after an epoch.

    `Network.restore(read_arrays(path))` loads them. To resume a run that was killed, use
    `trainer.training.checkpoint.Checkpoint`, which saves the whole state of the run.

    Args:
        path: Path of the .npz file, whose folder must exist. `{epoch}` in the file name is replaced
            by the number of the epoch.
        best_only: Whether only epochs with the lowest loss so far are saved: the validation loss,
            or the training loss without validation rows. If False, each epoch is saved
            [default: True].
    """

    def __init__(self, path: Path | str, *, best_only: bool = True) -> None:
        self.path, self.best_only = Path(path), best_only
        self.reset()

    def reset(self) -> None:
        """Forget the lowest loss, so that the first epoch of the next run is saved."""
        self._best_loss = np.inf

    def on_epoch(self, run: TrainingRun) -> None:
        """Save the weights if the epoch is to be saved."""
        epoch = run.history[-1]
        loss = epoch.train_loss if epoch.validation_loss is None else epoch.validation_loss
        if self.best_only and not loss < self._best_loss:
            return
        self._best_loss = min(loss, self._best_loss)
        name = self.path.name.replace("{epoch}", str(epoch.number))
        write_arrays(self.path.with_name(name), run.snapshot())

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the lowest loss."""
        return {"best": np.array(self._best_loss)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the state that `state` returned."""
        self._best_loss = float(state["best"])
