"""`trainer compress`: add smaller and faster variants of a model, within a budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from serving.bundle import Bundle, BundleError, CompressionCandidate, CompressionSummary, MetricDrop
from serving.runtime import GraphError
from trainer.cli.fit import describe_rollout, json_option, stage_option
from trainer.cli.grouped_help import GroupedCommand, grouped_option
from trainer.cli.model_summary import format_cautions
from trainer.cli.options import OUTPUT, TRAINING, field_option
from trainer.cli.verify import find_version_folder
from trainer.compress.compression_config import CompressionConfig, CompressionConfigError
from trainer.compress.run import CompressionResult
from trainer.compress.run import compress as run_compression
from trainer.compress.trial import Trial
from trainer.config import Config
from trainer.data.checks import Finding
from trainer.data.tables import DataError
from trainer.evaluate.cautions import list_cautions
from trainer.evaluate.metric_names import format_metric_name
from trainer.export.parity import ParityError
from trainer.option_errors import list_option_errors
from trainer.runs import RunError, copy_run
from trainer.training.callbacks import ProgressBar
from trainer.training.loop import TrainingDivergedError

F = TypeVar("F", bound=Callable[..., Any])
USER_ERRORS = (
    BundleError,
    DataError,
    CompressionConfigError,
    GraphError,
    OSError,
    ParityError,
    TrainingDivergedError,
)
DATA = "Data"
BUDGET, METHODS = "Budget", "Methods"
GROUPS = {
    "max_drop": BUDGET,
    "metric": BUDGET,
    "prune": METHODS,
    "int8": METHODS,
    "qat": METHODS,
    "reduce_range": METHODS,
    "sparse": METHODS,
    "epochs": TRAINING,
    "learning_rate": TRAINING,
    "batch_size": TRAINING,
    "seed": TRAINING,
}


def _compression_options(command: F) -> F:
    for name, field in reversed(CompressionConfig.model_fields.items()):
        command = field_option(name, field, GROUPS[name])(command)
    return command


@click.command(cls=GroupedCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@_compression_options
@grouped_option(
    "--data",
    group=DATA,
    metavar="DATA",
    help="File or built-in data set with the training data [default: the one that the model was "
    "trained on]",
)
@stage_option
@grouped_option(
    "--runs",
    group=OUTPUT,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder in which `trainer fit` recorded the run; the record is copied for the new version "
    "[default: runs]",
)
@json_option
def compress(
    bundle: Path, runs: Path | None, data: str | None, stage: bool, as_json: bool, **options: Any
) -> None:
    """Make a model smaller and faster, at a limited cost in one metric.

    BUNDLE is models/NAME or models/NAME/VERSION. Its training data must still be available. Writes
    a new version with the original graph and the compressed variants that are within the budget; a
    server selects the fastest variant that passes its self-test there.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    try:
        goal = CompressionConfig.model_validate(chosen)
    except ValidationError as error:
        raise click.UsageError(list_option_errors(error, CompressionConfig)) from error
    try:
        dense = Bundle.open(find_version_folder(bundle))
        result = run_compression(
            dense,
            goal,
            data=data,
            callbacks=[ProgressBar()],
            on_trial=_print_trial,
            stage=stage,
        )
    except USER_ERRORS as error:
        raise click.ClickException(str(error)) from error
    if result.bundle is not None:
        _copy_run(runs, dense, result.bundle)
    if as_json:
        report = {
            "bundle": None if result.bundle is None else str(result.bundle.path),
            "compression": result.compression.model_dump(),
            "warnings": [asdict(caution) for caution in _list_cautions(result)],
            "positive": result.positive,
        }
        click.echo(json.dumps(report))
    else:
        print_result(result)


def _copy_run(runs: Path | None, dense: Bundle, compressed: Bundle) -> None:
    """Copy the run for the new version, so that its report does not need the old version."""
    folder: Path = Config.model_fields["runs"].default if runs is None else runs
    try:
        copy_run(folder, dense, compressed)
    except RunError as error:
        if runs is not None:  # without --runs there may rightly be no run
            click.echo(f"warning: {error}", err=True)


def _print_trial(trial: Trial) -> None:
    """Print a line on stderr about a variant that was just tried."""
    click.echo(
        f"tried {trial.name}: {len(trial.content):,} bytes, {trial.metric_value:.4f}, "
        f"drop {_format_drop(trial.drop)}",
        err=True,
    )


def print_result(result: CompressionResult) -> None:
    """Print a table of the variants that were tried, and the new version."""
    compression = result.compression
    metric = format_metric_name(compression.metric, result.positive)
    click.echo(f"{metric} on the validation rows; it may drop by up to {compression.max_drop:g}\n")
    click.echo(_format_table(compression, metric))
    for candidate in compression.tried:
        if (drop := candidate.tested) is not None:
            click.echo(_describe_test(candidate, drop, compression, metric))
    if any(candidate.bits == 7 for candidate in compression.tried):
        click.echo(
            "int8 and pruned-int8 have weights of 7 bits: with 8 bits, sums of products overflow "
            "on processors without VNNI"
        )
    for line in format_cautions(_list_cautions(result)):
        click.echo(line)
    if result.bundle is None:
        click.echo(
            "no variant is within the budget and smaller than the model; no version was written; "
            "raise --max-drop, or lower --prune"
        )
    else:
        click.echo(f"bundle {result.bundle.path}; {describe_rollout(result.bundle)}")


def _list_cautions(result: CompressionResult) -> list[Finding]:
    """Return the cautions about the variants of the new version."""
    if result.bundle is None:
        return []
    manifest = result.bundle.manifest
    return [
        caution for variant in manifest.variants for caution in list_cautions(manifest, variant)
    ]


def _describe_test(
    candidate: CompressionCandidate,
    tested: MetricDrop,
    compression: CompressionSummary,
    metric: str,
) -> str:
    drop, low, high = map(_format_drop, (tested.drop, *tested.interval))
    return (
        f"{candidate.name} of {candidate.size_bytes:,} bytes, on the test rows: {metric} "
        f"drop {drop}, 95 % {low} to {high}; {compression.classify(candidate)}"
    )


def _format_drop(drop: float) -> str:
    """Return a drop with four decimals; one that rounds to 0 as 0.0000, never as -0.0000."""
    return f"{round(drop, 4) + 0.0:.4f}"


def _format_table(compression: CompressionSummary, metric: str) -> str:
    dense = compression.tried[0]
    batch_sizes = list(dense.latency_us)
    header = [
        *("variant", "layers", "weights", "bytes", "smaller", "zipped"),
        *(f"µs at {size}" for size in batch_sizes),
        *(metric, "drop", ""),
    ]
    rows = [header]
    for candidate in compression.tried:
        verdict = compression.classify(candidate)
        rows.append(_format_row(candidate, dense, batch_sizes, verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left_aligned = (0, 1, len(widths) - 1)  # variant, layers and verdict
    lines = [
        "  ".join(
            cell.ljust(width) if index in left_aligned else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, ""])


def _format_row(
    candidate: CompressionCandidate,
    dense: CompressionCandidate,
    batch_sizes: list[str],
    verdict: str,
) -> list[str]:
    return [
        f"{candidate.name}{' (qat)' * candidate.qat}",
        "-".join(map(str, (candidate.inputs, *candidate.hidden))),
        f"{candidate.parameters:,}",
        f"{candidate.size_bytes:,}",
        f"{dense.size_bytes / candidate.size_bytes:.1f} x",
        f"{candidate.zipped_bytes:,}",
        *(f"{candidate.latency_us[size]:g}" for size in batch_sizes),
        f"{candidate.validation:.4f}",
        f"{_format_drop(candidate.drop)} ±{candidate.error:.4f}",
        verdict,
    ]
