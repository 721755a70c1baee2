"""Logs: what each epoch led to, as lines of a file."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from pathlib import Path

from serving.bundle import add_path_to_errors
from trainer.training.loop import Callback, TrainingRun

Figures = dict[str, float | int | None]


def figures(run: TrainingRun, number: int) -> Figures:
    """What epoch `number`, from 1, led to: losses, metrics, the learning rate it ended with."""
    epoch = run.history[number - 1]
    return {
        "epoch": epoch.number,
        "train_loss": epoch.train_loss,
        "validation_loss": epoch.validation_loss,
        "learning_rate": epoch.learning_rate,
        **epoch.metrics,
    }


class _Log(Callback, ABC):
    """A file with a line for each epoch; a run that goes on from a checkpoint writes it anew.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.reset()

    def reset(self) -> None:
        """Write the file anew."""
        self._written = 0

    def on_start(self, run: TrainingRun) -> None:
        self.reset()

    def on_epoch(self, run: TrainingRun) -> None:
        """Add the epochs since the last line."""
        self._write(run)

    def on_end(self, run: TrainingRun) -> None:
        """Of a run that was over when it was resumed, write them all."""
        if self._written < len(run.history):
            self._write(run)

    def _write(self, run: TrainingRun) -> None:
        mode = "a" if self._written else "w"
        lines = [
            self._line(figures(run, number), first=number == 1)
            for number in range(self._written + 1, len(run.history) + 1)
        ]
        with (
            add_path_to_errors(self.path),
            self.path.open(mode, encoding="utf-8", newline="") as file,
        ):
            file.writelines(lines)
        self._written = len(run.history)

    @abstractmethod
    def _line(self, found: Figures, *, first: bool) -> str:
        """An epoch as text, with what has to stand before the first one."""


class CSVLog(_Log):
    """A CSV file of epoch, losses, learning rate and metrics; what is not measured stays empty."""

    def _line(self, found: Figures, *, first: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(found), lineterminator="\n")
        if first:
            writer.writeheader()
        writer.writerow(found)
        return text.getvalue()


class JSONLog(_Log):
    """A JSON object a line, of epoch, losses, learning rate and metrics."""

    def _line(self, found: Figures, *, first: bool) -> str:
        return json.dumps(found, default=float) + "\n"
