"""A progress bar: where a run stands, for who waits for it."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trainer.training.loop import Callback, TrainingRun


class ProgressBar(Callback):
    """Epochs, losses and the time left, on stderr; silent when that is not a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self.reset()

    def reset(self) -> None:
        """Know of no bar; between two runs there is none, so that the callback can be copied."""
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def on_start(self, run: TrainingRun) -> None:
        """Draw the empty bar."""
        console = self._console or Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("epoch {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=run.epochs)
        self._progress.start()

    def on_epoch(self, run: TrainingRun) -> None:
        """Move on by one epoch."""
        epoch = run.history[-1]
        text = f"train {epoch.train_loss:.4f}"
        if epoch.validation_loss is not None:
            text += f"  validation {epoch.validation_loss:.4f}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=len(run.history), description=text)

    def on_end(self, run: TrainingRun) -> None:
        """Give the terminal back; a run that stopped early is complete all the same."""
        if self._progress is None or self._task is None:
            return
        if run.stop:
            self._progress.update(self._task, total=len(run.history))
        self._progress.stop()
        self.reset()
