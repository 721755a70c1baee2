"""The history of a training run: the loss and the metrics of each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.sequential.compile_metrics import Metric
from trainer.training.loop import Callback, TrainingRun


@dataclass
class History:
    """The loss and the metrics of each epoch of a run.

    Attributes:
        epochs: Numbers of the epochs, from 1.
        curves: Values of each epoch by name: `loss` and, with validation rows, `val_loss` and each
            metric of the validation rows, such as `val_accuracy`.
    """

    epochs: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)


class HistoryRecorder(Callback):
    """Callback that records the history, and measures the metrics on the validation rows.

    Args:
        metrics: Metric functions by name.

    Attributes:
        history: History of the current or last run.
    """

    def __init__(self, metrics: dict[str, Metric]) -> None:
        self.metrics = metrics
        self.reset()

    def reset(self) -> None:
        """Start an empty history."""
        self.history = History()

    def on_epoch(self, run: TrainingRun) -> None:
        """Add the loss and the metrics of the epoch."""
        epoch = run.history[-1]
        values = {"loss": epoch.train_loss}
        if run.validation is not None and epoch.validation_loss is not None:
            with run.use_final_weights():
                predictions = run.loss.answers(run.network.logits(run.validation.features))
            values["val_loss"] = epoch.validation_loss
            for name, metric in self.metrics.items():
                value = metric(run.validation.targets, predictions)
                values[f"val_{name}"] = epoch.metrics[f"validation_{name}"] = value
        self.history.epochs.append(epoch.number)
        for name, value in values.items():
            self.history.curves.setdefault(name, []).append(value)
