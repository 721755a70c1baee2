"""`trainer fit`: train a model on a data set and write its bundle."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from serving.bundle import STAGED_PREFIX, Bundle, BundleError, Manifest, pluralize
from serving.runtime import GraphError
from trainer.cli.data_summary import DataSummary
from trainer.cli.grouped_help import GroupedCommand, grouped_option
from trainer.cli.model_summary import (
    TASK_NAMES,
    bundle_to_json,
    format_cautions,
    summarize_baselines,
    summarize_classes,
    summarize_constant_answer,
    summarize_interval,
    summarize_metrics,
    summarize_output_scaling,
)
from trainer.cli.options import OUTPUT, SOURCES, TRAINING, NewFile, config_options, configure
from trainer.config import Config
from trainer.data.tables import DataError
from trainer.evaluate.cautions import list_cautions
from trainer.evaluate.metric_names import format_monitor
from trainer.export.parity import ParityError
from trainer.pipeline import OnDataLoaded, TrainingResult
from trainer.pipeline import fit as run_pipeline
from trainer.runs import RunError, write_run
from trainer.training.callbacks import CSVLog, JSONLog, ProgressBar, TensorBoard
from trainer.training.checkpoint import CheckpointError
from trainer.training.diagnostics import Diagnostics
from trainer.training.loop import Callback, TrainingDivergedError

LOGS: dict[str, type[CSVLog] | type[JSONLog]] = {".csv": CSVLog, ".jsonl": JSONLog}
# Errors that the user can correct, which end a command in one line. Any other error is a bug, and
# shows its traceback.
USER_ERRORS = (
    BundleError,
    CheckpointError,
    DataError,
    GraphError,
    OSError,
    ParityError,
    TrainingDivergedError,
)

F = TypeVar("F", bound=Callable[..., Any])

stage_option = grouped_option(
    "--stage",
    group=OUTPUT,
    is_flag=True,
    help="Write the version as staged-VERSION, which no server loads until `serving promote`",
)
json_option = grouped_option(
    "--json",
    "as_json",
    group=OUTPUT,
    is_flag=True,
    help="Print one JSON object instead of text",
)


def monitoring_options(command: F) -> F:
    """Add the options for a checkpoint, a staged version and logs to a command."""
    for option in (
        grouped_option(
            "--tensorboard",
            group=OUTPUT,
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Folder for TensorBoard's event files; needs the extra tensorboard",
        ),
        grouped_option(
            "--log",
            group=OUTPUT,
            type=NewFile(*LOGS),
            help="File for the losses and learning rate of each epoch, .csv or .jsonl; it is "
            "overwritten",
        ),
        grouped_option(
            "--checkpoint",
            group=TRAINING,
            type=NewFile(),
            help="File that stores the state of the training; an interrupted run resumes from it",
        ),
        stage_option,
    ):
        command = option(command)
    return command


@click.command(cls=GroupedCommand, epilog=SOURCES)
@config_options()
@monitoring_options
@json_option
def fit(
    config: Path | None,
    checkpoint: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    stage: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Train a model on DATA, export it to ONNX and write a bundle.

    DATA is a built-in data set or a file. The task is classification if the target has texts,
    booleans or up to 20 different integers, else regression; --task overrides this.
    """
    chosen = configure(config, options)
    announce = DataSummary(chosen.get_encoding())
    try:
        bundle, trained = fit_and_record(
            chosen, checkpoint, log, tensorboard, announce, stage=stage
        )
    except USER_ERRORS as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(bundle_to_json(bundle) | announce.to_json()))
    else:
        print_summary(bundle, trained)


def fit_and_record(
    config: Config,
    checkpoint: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    announce: OnDataLoaded | None = None,
    *,
    stage: bool = False,
) -> tuple[Bundle, TrainingResult]:
    """Train and export a model with a progress bar, warnings and logs, and record the run.

    Args:
        config: Options of the run.
        checkpoint: File for the state of the training.
        log: File for the history, `.csv` or `.jsonl`.
        tensorboard: Folder for TensorBoard's event files.
        announce: Function that is called with the data before training starts.
        stage: Whether the version is staged.
    """
    callbacks = [ProgressBar(), Diagnostics(_warn), *_create_logs(log, tensorboard)]
    bundle, trained = run_pipeline(
        config, callbacks=callbacks, checkpoint=checkpoint, announce=announce, stage=stage
    )
    _record_run(config.runs, bundle, trained)
    if trained.aim_unmet is not None:
        source = (
            ""
            if checkpoint is None
            else f"; with --checkpoint {checkpoint}, which is kept, it is not trained again"
        )
        _warn(
            f"the aim {config.aim} is not met: {trained.aim_unmet}; the model was written with the "
            f"threshold {bundle.manifest.threshold:g}; run again with another --aim{source}"
        )
    return bundle, trained


def _warn(finding: object) -> None:
    click.echo(f"warning: {finding}", err=True)


def _record_run(runs: Path, bundle: Bundle, trained: TrainingResult) -> None:
    """Record the run; if that fails, for example on a full disk, the bundle remains."""
    try:
        write_run(
            runs,
            bundle,
            config=trained.config,
            model=trained.model,
            table=trained.table,
            split=trained.split,
            history=trained.history,
        )
    except RunError as error:
        _warn(error)


def _create_logs(file: Path | None, folder: Path | None) -> list[Callback]:
    logs: list[Callback] = []
    if file is not None:
        logs.append(LOGS[file.suffix.lower()](file))
    if folder is not None:
        try:
            logs.append(TensorBoard(folder))
        except ImportError as error:
            raise click.ClickException(f"--tensorboard: {error}") from error
    return logs


def describe_rollout(bundle: Bundle) -> str:
    """Return when servers serve a new version: at once, or after it is promoted."""
    manifest, models = bundle.manifest, bundle.path.parent.parent
    if not bundle.path.name.startswith(STAGED_PREFIX):
        return (
            f"a running server of {models} serves it, unless a version is pinned or clients could "
            "not use it"
        )
    return (
        f"no server loads it until you run:\n"
        f"serving promote --models {models} {manifest.name} {manifest.version}"
    )


def print_summary(bundle: Bundle, trained: TrainingResult) -> None:
    """Print the network, the metrics and the bundle of a finished run."""
    manifest = bundle.manifest
    lines = {
        "task": f"{TASK_NAMES[manifest.task]} of {', '.join(manifest.data.target)}",
        "rows": ", ".join(f"{count:,} {part}" for part, count in manifest.data.rows.items()),
        "training": _describe_training(manifest),
        **summarize_classes(manifest),
        **summarize_metrics(manifest),
        **summarize_interval(manifest),
        **summarize_constant_answer(manifest),
        **summarize_baselines(manifest),
        **summarize_output_scaling(manifest),
        "parity": _describe_parity(bundle),
        "bundle": str(bundle.path),
    }
    click.echo(f"{trained.model.network.summary()}\n")
    for label, text in lines.items():
        click.echo(textwrap.fill(f"{label:<11} {text}", 100, subsequent_indent=12 * " "))
    for line in format_cautions(list_cautions(manifest)):
        click.echo(textwrap.fill(line, 100, subsequent_indent=12 * " "))
    click.echo(f"\n{describe_rollout(bundle)}")


def _describe_training(manifest: Manifest) -> str:
    """Return the preset, how training ended, and which epoch's weights were kept."""
    training = manifest.training
    n_epochs = training.config.get("epochs")
    end = f"all {pluralize(training.epochs_run, 'epoch')}"
    if training.epochs_run == 1:
        end = "1 epoch"
    elif training.epochs_run != n_epochs:
        end = f"stopped early, after epoch {training.epochs_run} of at most {n_epochs}"
    monitor = format_monitor(training.config, manifest.task)
    return (
        f"preset {training.config['preset']}, {end}; the weights are those of epoch "
        f"{training.best_epoch}, with the lowest {monitor} of the validation rows; "
        f"{training.seconds:.1f} s"
    )


def _describe_parity(bundle: Bundle) -> str:
    parity = bundle.manifest.variants["fp32"].parity
    text = (
        f"ONNX Runtime and NumPy differ by at most {parity.max_abs:.1e} on {parity.rows:,} test "
        f"rows"
    )
    if parity.label_agreement is not None:
        text += f", equal labels {parity.label_agreement:.0%}"
    return text
