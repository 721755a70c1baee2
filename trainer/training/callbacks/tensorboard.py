"""TensorBoard: the curves of a run as event files, through tensorboardX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.training.callbacks.epoch_logs import figures
from trainer.training.loop import Callback, TrainingRun


class TensorBoard(Callback):
    """Writes losses, learning rate and metrics of each epoch to an event file.

    Args:
        folder: of the run; `tensorboard --logdir` reads it.

    Raises:
        ImportError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from tensorboardX import SummaryWriter  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError(
                "expected tensorboardX, which writes event files; got none installed; install "
                "forwardpass[tensorboard]"
            ) from error
        self.folder = Path(folder)
        self._open = SummaryWriter
        self.reset()

    def reset(self) -> None:
        """Have no event file open; a new run opens one of its own."""
        self._writer: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """Open an event file."""
        self._writer = self._open(str(self.folder))

    def on_epoch(self, run: TrainingRun) -> None:
        """Add a point to each curve."""
        found = figures(run, len(run.history))
        for name, value in found.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, found["epoch"])

    def on_end(self, run: TrainingRun) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()
            self.reset()
