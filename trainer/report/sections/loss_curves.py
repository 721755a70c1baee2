"""Learning: how the losses fell, epoch by epoch."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from trainer.report.blocks import Block, Figure, FigureRow, Paragraph, Section
from trainer.report.formatting import format_count, format_number
from trainer.report.inputs import ReportInputs
from trainer.report.plots import ACCENT, MUTED, SECONDARY, WIDE_WIDTH, open_canvas, show_grid, set_log_scale
from trainer.runs import RunFolder


def build_training_section(evidence: ReportInputs) -> Section:
    """The curves, and what they say of the run's end."""
    training = evidence.manifest.training
    said = (
        f"It trained for {format_count(training.epochs_run, 'epoch')} in {format_number(training.seconds, 3)} s; "
        f"the weights are those of epoch {training.best_epoch}, the best on the validation rows."
    )
    blocks: list[Block] = [Paragraph(f"{said} {_ending(evidence)}".strip())]
    if evidence.run is None or not evidence.run.history:
        blocks.append(
            Paragraph(
                "The losses of each epoch lie in the run's folder, which is not there.", "quiet"
            )
        )
    else:
        blocks.append(FigureRow([_curves(evidence.run, training.best_epoch)]))
    return Section("learning", blocks)


def _ending(evidence: ReportInputs) -> str:
    training = evidence.manifest.training
    allowed = training.config.get("epochs")
    if training.epochs_run == allowed and training.best_epoch == training.epochs_run:
        return "It was still getting better when its epochs were over: more may help."
    return ""


def _curves(run: RunFolder, best: int) -> Figure:
    epochs = [e.number for e in run.history]
    rates = [e.learning_rate for e in run.history]
    vary = len({rate for rate in rates if rate is not None}) > 1
    with open_canvas(width=WIDE_WIDTH, height=4.2 if vary else 3.2, rows=2 if vary else 1) as drawing:
        axes = drawing.axes[0]
        show_grid(axes)
        style = "o-" if len(epochs) == 1 else "-"
        axes.plot(
            epochs, [e.train_loss for e in run.history], style, color=ACCENT, label="training rows"
        )
        checked = [
            (e.number, e.validation_loss) for e in run.history if e.validation_loss is not None
        ]
        if checked:
            axes.plot(*zip(*checked, strict=True), style, color=SECONDARY, label="validation rows")
        axes.axvline(best, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), label="kept")
        losses = [e.train_loss for e in run.history] + [loss for _, loss in checked]
        if min(losses) > 0:
            set_log_scale(axes)
        axes.set_ylabel("loss")
        axes.legend(loc="best")
        if vary:
            drawing.axes[1].plot(epochs, [rate or 0 for rate in rates], color=MUTED)
            show_grid(drawing.axes[1])
            drawing.axes[1].set_ylabel("learning rate")
        drawing.axes[-1].set_xlabel("epoch")
        drawing.axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return Figure(
        drawing.svg,
        "Losses by epoch; penalties and dropout count in training only. A validation loss that "
        "rises while the training loss falls says that rows are learned by heart.",
    )
