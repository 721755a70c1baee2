"""TensorBoard event files with the curves of a run, written by tensorboardX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.training.callbacks.epoch_logs import make_epoch_record
from trainer.training.loop import Callback, TrainingRun


class TensorBoard(Callback):
    """Callback that writes the losses, the learning rate and the metrics of each epoch.

    Args:
        folder: Folder of the event file, for `tensorboard --logdir`.

    Raises:
        ImportError: If tensorboardX is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        try:
            from tensorboardX import SummaryWriter  # noqa: PLC0415 - an optional dependency
        except ImportError as error:
            raise ImportError(
                "expected tensorboardX, which writes event files; it is not installed; "
                "run: pip install 'forwardpass[tensorboard]'"
            ) from error
        self.folder = Path(folder)
        self._make_writer = SummaryWriter
        self.reset()

    def reset(self) -> None:
        """Drop the writer; the next run opens an event file of its own."""
        self._writer: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """Open an event file."""
        self._writer = self._make_writer(str(self.folder))

    def on_epoch(self, run: TrainingRun) -> None:
        """Add a point to each curve."""
        record = make_epoch_record(run, len(run.history))
        for name, value in record.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, record["epoch"])

    def on_end(self, run: TrainingRun) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self.reset()
