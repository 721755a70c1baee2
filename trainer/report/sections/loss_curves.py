"""The section on training: loss and learning rate by epoch."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from serving.bundle import Manifest
from trainer.evaluate.metric_names import format_monitor
from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_count, format_number
from trainer.report.inputs import ReportInputs
from trainer.report.plots import (
    ACCENT,
    DASHES,
    MUTED,
    SECONDARY,
    THIN_DASHES,
    WIDE_WIDTH,
    add_legend,
    open_canvas,
    set_log_scale,
    show_grid,
)
from trainer.runs import RunFolder
from trainer.training.loop import VALIDATION_ERROR


def build_training_section(inputs: ReportInputs) -> Section:
    """Return the number of epochs, the best epoch and the loss curves."""
    training = inputs.manifest.training
    monitor = format_monitor(training.config, inputs.manifest.task)
    preset = training.config.get("preset")
    text = (
        f"Trained for {format_count(training.epochs_run, 'epoch')} in "
        f"{format_number(training.seconds, 3)} s"
        f"{'' if preset is None else f', with the preset {preset}'}. The weights are those of "
        f"epoch {training.best_epoch}, which had the lowest {monitor} of the validation rows."
    )
    is_last_best = training.best_epoch == training.epochs_run
    # A schedule ends with a low learning rate, so that its last epoch is often the best.
    is_constant = training.config.get("schedule") == "constant"
    if is_last_best and is_constant and training.epochs_run == training.config.get("epochs"):
        text += " The last epoch was the best, so that training for more epochs may help."
    blocks: list[Block] = [Paragraph(text)]
    if inputs.run is None or not inputs.run.history:
        text = "The losses of the epochs are in the run folder, which was not found."
        blocks.append(Paragraph(text, "muted"))
    else:
        blocks.append(FigureRow([_plot_losses(inputs.run, training.best_epoch, inputs.manifest)]))
    return Section("training", blocks)


def _plot_losses(run: RunFolder, best_epoch: int, manifest: Manifest) -> Figure:
    """Plot the losses by epoch and, if it was measured, the error; if it changes, the rate."""
    epochs = [e.number for e in run.history]
    error_name = "squared error" if manifest.task == "regression" else "Brier score"
    rates = [e.learning_rate for e in run.history]
    has_schedule = len({rate for rate in rates if rate is not None}) > 1
    errors = [e.metrics[VALIDATION_ERROR] for e in run.history if VALIDATION_ERROR in e.metrics]
    has_errors = len(errors) == len(epochs)
    n_axes = 1 + has_errors + has_schedule
    height = 2.2 + n_axes
    with open_canvas(width=WIDE_WIDTH, height=height, rows=n_axes) as canvas:
        axes = canvas.main_axes
        show_grid(axes)
        marker = "o" if len(epochs) == 1 else ""  # a line of one point would not be visible
        train_losses = [e.train_loss for e in run.history]
        axes.plot(epochs, train_losses, marker=marker, color=ACCENT, label="training rows")
        validation = [
            (e.number, e.validation_loss) for e in run.history if e.validation_loss is not None
        ]
        if validation:
            x, y = zip(*validation, strict=True)
            axes.plot(
                x, y, marker=marker, color=SECONDARY, linestyle=DASHES[1], label="validation rows"
            )
        marked_axes = canvas.axes[: 1 + has_errors]
        for part in marked_axes:
            part.axvline(
                best_epoch, color=MUTED, linewidth=1, linestyle=THIN_DASHES, label="best epoch"
            )
        if min([*train_losses, *(loss for _, loss in validation)]) > 0:
            set_log_scale(axes)
        axes.set_ylabel("loss")
        add_legend(axes, ncols=3)
        if has_errors:
            canvas.axes[1].plot(epochs, errors, marker=marker, color=SECONDARY, linestyle=DASHES[1])
            show_grid(canvas.axes[1])
            canvas.axes[1].set_ylabel(error_name)
        if has_schedule:
            canvas.axes[-1].plot(epochs, [rate or 0 for rate in rates], color=MUTED)
            show_grid(canvas.axes[-1])
            canvas.axes[-1].set_ylabel("learning rate")
        canvas.axes[-1].set_xlabel("epoch")
        canvas.axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return Figure(
        "Loss by epoch",
        canvas.svg,
        _describe_losses(manifest, error_name if has_errors else None),
    )


def _describe_losses(manifest: Manifest, error_name: str | None) -> str:
    """Return the caption of the plot.

    Args:
        manifest: Manifest of the bundle.
        error_name: Name of the error that is shown below the losses; None for none.
    """
    config, text = manifest.training.config, "Lower is better."
    if error_name is not None:
        unit = " of the scaled target" if manifest.task == "regression" else ""
        text = (
            f"Below the losses is the {error_name} of the validation rows{unit}; lower is better."
        )
    text += " Only the training loss includes penalties and dropout."
    if smoothing := config.get("label_smoothing"):
        text += (
            f" Both losses are those of labels smoothed by {smoothing:g}: even a perfect network "
            f"has one above 0, and they cannot be compared with the log loss of the metrics."
        )
    if config.get("average"):
        text += " The validation rows are predicted with the averaged weights."
    return (
        f"{text} A validation loss that rises while the training loss falls is a sign of "
        f"overfitting."
    )
