"""The section on training: loss and learning rate by epoch."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_count, format_number
from trainer.report.inputs import ReportInputs
from trainer.report.plots import (
    ACCENT,
    MUTED,
    SECONDARY,
    WIDE_WIDTH,
    open_canvas,
    set_log_scale,
    show_grid,
)
from trainer.runs import RunFolder


def build_training_section(inputs: ReportInputs) -> Section:
    """Return the number of epochs, the best epoch and the loss curves."""
    training = inputs.manifest.training
    text = (
        f"Trained for {format_count(training.epochs_run, 'epoch')} in "
        f"{format_number(training.seconds, 3)} s. The weights are those of epoch "
        f"{training.best_epoch}, which was the best on the validation rows."
    )
    is_last_best = training.best_epoch == training.epochs_run
    if is_last_best and training.epochs_run == training.config.get("epochs"):
        text += " The last epoch was the best, so that training for more epochs may help."
    blocks: list[Block] = [Paragraph(text)]
    if inputs.run is None or not inputs.run.history:
        text = "The losses of the epochs are in the run folder, which was not found."
        blocks.append(Paragraph(text, "muted"))
    else:
        blocks.append(FigureRow([_plot_losses(inputs.run, training.best_epoch)]))
    return Section("training", blocks)


def _plot_losses(run: RunFolder, best_epoch: int) -> Figure:
    """Plot the losses by epoch and, if it changes, the learning rate."""
    epochs = [e.number for e in run.history]
    rates = [e.learning_rate for e in run.history]
    has_schedule = len({rate for rate in rates if rate is not None}) > 1
    height, n_axes = (4.2, 2) if has_schedule else (3.2, 1)
    with open_canvas(width=WIDE_WIDTH, height=height, rows=n_axes) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        style = "o-" if len(epochs) == 1 else "-"
        train_losses = [e.train_loss for e in run.history]
        axes.plot(epochs, train_losses, style, color=ACCENT, label="training rows")
        validation = [
            (e.number, e.validation_loss) for e in run.history if e.validation_loss is not None
        ]
        if validation:
            x, y = zip(*validation, strict=True)
            axes.plot(x, y, style, color=SECONDARY, label="validation rows")
        axes.axvline(
            best_epoch, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="best epoch"
        )
        if min([*train_losses, *(loss for _, loss in validation)]) > 0:
            set_log_scale(axes)
        axes.set_ylabel("loss")
        axes.legend(loc="best")
        if has_schedule:
            canvas.axes[1].plot(epochs, [rate or 0 for rate in rates], color=MUTED)
            show_grid(canvas.axes[1])
            canvas.axes[1].set_ylabel("learning rate")
        canvas.axes[-1].set_xlabel("epoch")
        canvas.axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return Figure(
        canvas.svg,
        "Loss by epoch. Only the training loss includes penalties and dropout. A validation loss "
        "that rises while the training loss falls is a sign of overfitting.",
    )
