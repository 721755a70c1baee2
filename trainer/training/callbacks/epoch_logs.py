"""Logs of a run as CSV or JSON lines: losses, learning rate and metrics of each epoch."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from pathlib import Path

from serving.bundle import add_path_to_errors
from trainer.training.loop import Callback, TrainingRun

# The results of one epoch by the name of their column.
EpochRecord = dict[str, float | int | None]


def make_epoch_record(run: TrainingRun, number: int) -> EpochRecord:
    """Return the losses, the last learning rate and the metrics of an epoch.

    Args:
        run: The run.
        number: Number of the epoch, from 1.
    """
    epoch = run.history[number - 1]
    return {
        "epoch": epoch.number,
        "train_loss": epoch.train_loss,
        "validation_loss": epoch.validation_loss,
        "learning_rate": epoch.learning_rate,
        **epoch.metrics,
    }


class _EpochLog(Callback, ABC):
    """A file with one line per epoch.

    A run that is resumed from a checkpoint writes the file from its first epoch.

    Args:
        path: Path of the file, whose folder must exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.reset()

    def reset(self) -> None:
        """Overwrite the file with the next line."""
        self._n_written = 0

    def on_start(self, run: TrainingRun) -> None:
        """Start the file from the first epoch, also when the run is resumed."""
        self.reset()

    def on_epoch(self, run: TrainingRun) -> None:
        """Write the epochs that are not in the file yet."""
        self._write(run)

    def on_end(self, run: TrainingRun) -> None:
        """Write the epochs of a run that was already finished when it was resumed."""
        if self._n_written < len(run.history):
            self._write(run)

    def _write(self, run: TrainingRun) -> None:
        mode = "a" if self._n_written else "w"
        lines = [
            self._format(make_epoch_record(run, number), is_first=number == 1)
            for number in range(self._n_written + 1, len(run.history) + 1)
        ]
        with (
            add_path_to_errors(self.path),
            self.path.open(mode, encoding="utf-8", newline="") as file,
        ):
            file.writelines(lines)
        self._n_written = len(run.history)

    @abstractmethod
    def _format(self, record: EpochRecord, *, is_first: bool) -> str:
        """Return the text of an epoch, including a header before the first epoch."""


class CSVLog(_EpochLog):
    """Callback that writes a CSV file with the results of each epoch.

    The columns are `epoch`, `train_loss`, `validation_loss`, `learning_rate` and the metrics. The
    field of a value that was not measured is empty.
    """

    def _format(self, record: EpochRecord, *, is_first: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(record), lineterminator="\n")
        if is_first:
            writer.writeheader()
        writer.writerow(record)
        return text.getvalue()


class JSONLog(_EpochLog):
    """Callback that writes a file with one JSON object per epoch and line.

    The keys are `epoch`, `train_loss`, `validation_loss`, `learning_rate` and the metrics.
    """

    def _format(self, record: EpochRecord, *, is_first: bool) -> str:
        return json.dumps(record, default=float) + "\n"
