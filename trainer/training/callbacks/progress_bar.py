"""A progress bar in the terminal for a training run."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trainer.training.loop import VALIDATION_ERROR, Callback, TrainingRun


class ProgressBar(Callback):
    """Callback that shows the number of epochs, their losses and the remaining time.

    Nothing is shown if the output is not a terminal.

    Args:
        console: Console to write to; None for stderr [default: None].
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self.reset()

    def reset(self) -> None:
        """Drop the bar, which has locks, so that the callback can be copied between two runs."""
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def on_start(self, run: TrainingRun) -> None:
        """Show an empty bar."""
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
        """Advance the bar by one epoch and show its losses."""
        epoch = run.history[-1]
        text = f"train {epoch.train_loss:.4f}"
        if epoch.validation_loss is not None:
            text += f"  validation {epoch.validation_loss:.4f}"
        if VALIDATION_ERROR in epoch.metrics:
            text += f"  squared error {epoch.metrics[VALIDATION_ERROR]:.4f}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=len(run.history), description=text)

    def on_end(self, run: TrainingRun) -> None:
        """Stop the display; the bar of a run that was stopped early is shown as complete."""
        if self._progress is None or self._task is None:
            return
        if run.stop:
            self._progress.update(self._task, total=len(run.history))
        self._progress.stop()
        self.reset()
