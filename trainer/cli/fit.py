"""`trainer fit`: from data to a proved bundle."""

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
from trainer.cli.model_summary import (
    format_cautions,
    format_positive_class,
    summarize_baselines,
    summarize_classes,
    summarize_constant_answer,
    summarize_interval,
    summarize_metrics,
)
from trainer.cli.options import SOURCES, NewFile, config_options, configure
from trainer.config import Config
from trainer.data.tables import DataError
from trainer.evaluate.cautions import list_cautions
from trainer.evaluate.metric_names import list_biased_logits
from trainer.export.parity import ParityError
from trainer.pipeline import OnDataLoaded, TrainingResult, summarize_bundle
from trainer.pipeline import fit as fit_recipe
from trainer.runs import RunError, write_run
from trainer.training.callbacks import CSVLog, JSONLog, ProgressBar, TensorBoard
from trainer.training.checkpoint import CheckpointError
from trainer.training.diagnostics import Diagnostics
from trainer.training.loop import Callback, TrainingDivergedError

LOGS: dict[str, type[CSVLog] | type[JSONLog]] = {".csv": CSVLog, ".jsonl": JSONLog}
MOST_BIASES = 10  # that are printed
# What a run can rightly end in; anything else is a fault of ours and shows its traceback.
REFUSALS = (
    BundleError,
    CheckpointError,
    DataError,
    GraphError,
    OSError,
    ParityError,
    TrainingDivergedError,
)


F = TypeVar("F", bound=Callable[..., Any])

stage_option = click.option(
    "--stage",
    is_flag=True,
    help="write the version as staged-VERSION, which no server takes up until `serving promote`",
)


def following_options(command: F) -> F:
    """The options by which a run is kept and watched."""
    for option in (
        click.option(
            "--tensorboard",
            type=click.Path(file_okay=False, path_type=Path),
            help="a folder for TensorBoard's event files (extra: tensorboard)",
        ),
        click.option(
            "--log",
            type=NewFile(*LOGS),
            help="a .csv or .jsonl file of what each epoch led to, written anew",
        ),
        click.option(
            "--checkpoint",
            type=NewFile(),
            help="a file for the state of the run; one that was killed goes on",
        ),
        stage_option,
    ):
        command = option(command)
    return command


@click.command(epilog=SOURCES)
@config_options()
@following_options
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a summary")
def fit(
    config: Path | None,
    checkpoint: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    stage: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Train on DATA and write a bundle.

    DATA is a built-in name or a file. Text, truth values and up to 20 different integers are
    classes, other numbers are quantities; --task says otherwise.
    """
    chosen = configure(config, options)
    announce = DataSummary(chosen.get_encoding())
    try:
        bundle, trained = fit_and_follow(
            chosen, checkpoint, log, tensorboard, announce, stage=stage
        )
    except REFUSALS as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(summarize_bundle(bundle) | announce.described()))
    else:
        print_summary(bundle, trained)


def fit_and_follow(
    config: Config,
    checkpoint: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    announce: OnDataLoaded | None = None,
    *,
    stage: bool = False,
) -> tuple[Bundle, TrainingResult]:
    """Run the recipe with a progress bar, warnings, and the files of `following`; keep the run."""
    callbacks = [ProgressBar(), Diagnostics(_warn), *_logs(log, tensorboard)]
    bundle, trained = fit_recipe(
        config, callbacks=callbacks, checkpoint=checkpoint, announce=announce, stage=stage
    )
    _keep(config, bundle, trained)
    if trained.aim_unmet is not None:
        kept = "" if checkpoint is None else f" from {checkpoint}, which is kept"
        _warn(
            f"the aim {config.aim} is not met: {trained.aim_unmet}; the model was written with the "
            f"threshold {bundle.manifest.threshold:g}; run again with another --aim{kept}"
        )
    return bundle, trained


def _warn(finding: object) -> None:
    click.echo(f"warning: {finding}", err=True)


def _keep(config: Config, bundle: Bundle, trained: TrainingResult) -> None:
    """Leave the run beside its bundle, which a full disk must not take back."""
    try:
        write_run(
            config.runs,
            bundle,
            config=config,
            model=trained.model,
            table=trained.table,
            parts=trained.parts,
            history=trained.history,
        )
    except RunError as error:
        _warn(error)


def _logs(file: Path | None, folder: Path | None) -> list[Callback]:
    logs: list[Callback] = []
    if file is not None:
        logs.append(LOGS[file.suffix.lower()](file))
    if folder is not None:
        try:
            logs.append(TensorBoard(folder))
        except ImportError as error:
            raise click.UsageError(f"tensorboard: {error}") from error
    return logs


def _settled(manifest: Manifest) -> dict[str, str]:
    """What was chosen on the validation rows after training."""
    facts = {}
    if manifest.positive_class is not None:
        facts["positive"] = format_positive_class(manifest)
    if manifest.aim_unmet is not None:
        facts["threshold"] = (
            f"{manifest.positive_class} from a probability of {manifest.threshold:.4f} up; the aim "
            f"{manifest.aim} is not met: {manifest.aim_unmet}"
        )
    elif manifest.aim is not None:
        facts["threshold"] = (
            f"{manifest.positive_class} from a probability of {manifest.threshold:.4f} up, chosen "
            f"for {manifest.aim}"
        )
    elif manifest.threshold not in (None, 0.5):
        facts["threshold"] = (
            f"{manifest.positive_class} from a probability of {manifest.threshold:.4f} up, its "
            f"share of the training rows: where classes of equal weight are level"
        )
    if manifest.temperature != 1:
        facts["temperature"] = f"{manifest.temperature:.4f}"
    if manifest.logit_bias is not None and manifest.classes is not None:
        biases = list_biased_logits(manifest.classes, manifest.logit_bias)
        shown = ", ".join(f"{bias:+.4f} for {name}" for name, bias in biases[:MOST_BIASES])
        facts["bias"] = shown + " …" * (len(biases) > MOST_BIASES)
    config = manifest.training.config
    if config.get("class_weight") and not config.get("calibrate"):
        facts["probability"] = (
            "is of weighted classes and not to be taken at its word; --calibrate corrects it"
        )
    elif config.get("class_weight") and manifest.task == "multiclass":
        facts["labels"] = (
            "are the likeliest classes by the calibrated probabilities, among which rare ones are "
            "seldom; without --calibrate the weighted classes decide"
        )
    return facts


def describe_uptake(bundle: Bundle) -> str:
    """Return when servers take a new version up: by themselves, or once it is promoted."""
    if not bundle.path.name.startswith(STAGED_PREFIX):
        return f"a running server of {bundle.path.parent.parent} takes it up by itself"
    manifest, models = bundle.manifest, bundle.path.parent.parent
    return (
        f"no server takes it up until you run:\n"
        f"serving promote --models {models} {manifest.name} {manifest.version}"
    )


def print_summary(bundle: Bundle, trained: TrainingResult) -> None:
    """Print the summary of a finished run."""
    manifest = bundle.manifest
    parity = manifest.variants["fp32"].parity
    rows, epochs = manifest.data.rows, manifest.training.epochs_run
    same = "" if parity.label_agreement is None else f", labels equal {parity.label_agreement:.0%}"
    facts: dict[str, str] = {
        "task": f"{manifest.task} of {', '.join(manifest.data.target)}",
        "rows": ", ".join(f"{count} {part}" for part, count in rows.items()),
        "training": f"{pluralize(epochs, 'epoch')}, best {manifest.training.best_epoch}, "
        f"{manifest.training.seconds:.1f} s",
        **summarize_classes(manifest),
        **summarize_metrics(manifest),
        **summarize_interval(manifest),
        **summarize_constant_answer(manifest),
        **summarize_baselines(manifest),
        **_settled(manifest),
        "parity": f"max |Δ| {parity.max_abs:.1e} from NumPy over {parity.rows} rows{same}",
        "bundle": str(bundle.path),
    }
    click.echo(f"{trained.model.network.summary()}\n")
    for name, fact in facts.items():
        click.echo(textwrap.fill(f"{name:<11} {fact}", 100, subsequent_indent=12 * " "))
    for line in format_cautions(list_cautions(manifest)):
        click.echo(textwrap.fill(line, 100, subsequent_indent=12 * " "))
    click.echo(f"\n{describe_uptake(bundle)}")
