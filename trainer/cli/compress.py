"""`trainer compress`: smaller and faster variants of a model, to a stated budget."""

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
from trainer.cli.fit import describe_uptake, stage_option
from trainer.cli.model_summary import format_cautions
from trainer.cli.options import option
from trainer.cli.verify import version_folder
from trainer.compress.compression_config import CompressionConfig, CompressionConfigError
from trainer.compress.run import CompressionResult
from trainer.compress.run import compress as run_compression
from trainer.compress.trial import Trial
from trainer.config import Config
from trainer.data.checks.run import Finding
from trainer.data.tables import DataError
from trainer.evaluate.cautions import list_cautions
from trainer.evaluate.metric_names import format_metric_name
from trainer.export.parity import ParityError
from trainer.option_errors import list_option_errors
from trainer.runs import RunError, copy_run
from trainer.training.callbacks import ProgressBar
from trainer.training.loop import TrainingDivergedError

F = TypeVar("F", bound=Callable[..., Any])
REFUSALS = (
    BundleError,
    DataError,
    CompressionConfigError,
    GraphError,
    OSError,
    ParityError,
    TrainingDivergedError,
)


def _goals(command: F) -> F:
    for name, field in reversed(CompressionConfig.model_fields.items()):
        command = option(name, field)(command)
    return command


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@_goals
@stage_option
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    help="where fit kept the run, which is kept for the new version too  [default: runs]",
)
@click.option("--data", help="where the data are now  [default: where they were]")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a table")
def compress(
    bundle: Path, runs: Path | None, data: str | None, stage: bool, as_json: bool, **options: Any
) -> None:
    """Make a model smaller and faster, to a stated budget.

    BUNDLE is models/NAME or models/NAME/VERSION, and its data lie where they lay when it was
    trained. Writes a new version that holds, beside the graph there is, what lost no more than was
    allowed; a server then takes the fastest that proves itself there.
    """
    chosen = {name: value for name, value in options.items() if value is not None}
    try:
        goal = CompressionConfig.model_validate(chosen)
    except ValidationError as error:
        raise click.UsageError(list_option_errors(error, CompressionConfig)) from error
    try:
        dense = Bundle.open(version_folder(bundle))
        done = run_compression(
            dense,
            goal,
            data=data,
            callbacks=[ProgressBar()],
            on_trial=_tell,
            stage=stage,
        )
    except REFUSALS as error:
        raise click.ClickException(str(error)) from error
    if done.bundle is not None:
        _keep(runs, dense, done.bundle)
    if as_json:
        place = None if done.bundle is None else str(done.bundle.path)
        warnings = [asdict(caution) for caution in _cautions(done)]
        told = {"bundle": place, "compression": done.compression.model_dump(), "warnings": warnings}
        click.echo(json.dumps(told | {"positive": done.positive}))
    else:
        _summarise(done)


def _keep(runs: Path | None, dense: Bundle, made: Bundle) -> None:
    """Keep the run of the dense version for the new one too, lest its report depend on the old."""
    place: Path = Config.model_fields["runs"].default if runs is None else runs
    try:
        copy_run(place, dense, made)
    except RunError as error:
        if runs is not None:  # it was asked for
            click.echo(f"warning: {error}", err=True)


def _tell(trial: Trial) -> None:
    """A line on stderr while it goes on."""
    click.echo(
        f"tried {trial.name}: {len(trial.content):,} bytes, {trial.metric_value:.4f}, "
        f"drop {_decimals(trial.drop)}",
        err=True,
    )


def _summarise(done: CompressionResult) -> None:
    found = done.compression
    metric = format_metric_name(found.metric, done.positive)
    click.echo(f"{metric} on the validation rows; it may drop by up to {found.max_drop:g}\n")
    click.echo(_table(found, metric))
    for candidate in found.tried:
        if (tested := candidate.tested) is not None:
            click.echo(_tested(candidate, tested, found, metric))
    if any(candidate.bits == 7 for candidate in found.tried):
        click.echo(
            "int8 and pruned-int8 have weights of 7 bits: sums of products of 8 bits overflow on "
            "processors without VNNI"
        )
    for line in format_cautions(_cautions(done)):
        click.echo(line)
    if done.bundle is None:
        click.echo("no variant holds the budget and saves anything; no version was written")
    else:
        click.echo(f"bundle {done.bundle.path}; {describe_uptake(done.bundle)}")


def _cautions(done: CompressionResult) -> list[Finding]:
    """What should be known of the variants that the new version holds."""
    if done.bundle is None:
        return []
    manifest = done.bundle.manifest
    return [
        caution for variant in manifest.variants for caution in list_cautions(manifest, variant)
    ]


def _tested(
    candidate: CompressionCandidate, tested: MetricDrop, found: CompressionSummary, metric: str
) -> str:
    drop, low, high = map(_decimals, (tested.drop, *tested.interval))
    return (
        f"{candidate.name} of {candidate.size_bytes:,} bytes, on the test rows: {metric} "
        f"drop {drop}, 95 % {low} to {high}; {found.classify(candidate)}"
    )


def _decimals(drop: float) -> str:
    """A drop with four decimals: above 0 if something was lost, never -0.0000."""
    return f"{round(drop, 4) + 0.0:.4f}"


def _table(found: CompressionSummary, metric: str) -> str:
    dense = found.tried[0]
    sizes = list(dense.latency_us)
    rows = [
        [
            "variant",
            "layers",
            "weights",
            "bytes",
            "smaller",
            "zipped",
            *(f"µs at {size}" for size in sizes),
            metric,
            "drop",
            "",
        ]
    ]
    rows += [_row(candidate, dense, sizes, found.classify(candidate)) for candidate in found.tried]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = (0, 1, len(wide) - 1)
    lines = [
        "  ".join(
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, wide, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, ""])


def _row(
    candidate: CompressionCandidate, dense: CompressionCandidate, sizes: list[str], verdict: str
) -> list[str]:
    return [
        f"{candidate.name}{' (qat)' * candidate.qat}",
        "-".join(map(str, (candidate.inputs, *candidate.hidden))),
        f"{candidate.parameters:,}",
        f"{candidate.size_bytes:,}",
        f"{dense.size_bytes / candidate.size_bytes:.1f} x",
        f"{candidate.zipped_bytes:,}",
        *(f"{candidate.latency_us[size]:g}" for size in sizes),
        f"{candidate.validation:.4f}",
        f"{_decimals(candidate.drop)} ±{candidate.error:.4f}",
        verdict,
    ]
