"""The command line of the trainer: fit and verify.

Results go to stdout, progress and errors to stderr. Exit status 1 means the command could not do
what was asked or the answer is no; 2 means it was asked wrongly.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.bundle import MANIFEST, Bundle, BundleError, versions
from serving.runtime import GraphError, Proof, prove
from trainer.choices import Config
from trainer.data.sources import BUILT_IN, SUFFIXES
from trainer.data.tables import DataError
from trainer.export.parity import ParityError
from trainer.fit.callbacks import CSVLog, JSONLog, ProgressBar, TensorBoard
from trainer.fit.checkpoint import CheckpointError
from trainer.fit.loop import Callback, TrainingDivergedError
from trainer.recipe import Trained, describe
from trainer.recipe import fit as fit_recipe

# What a run can rightly end in; anything else is a fault of ours and shows its traceback.
_REFUSALS = (
    BundleError,
    CheckpointError,
    DataError,
    GraphError,
    OSError,
    ParityError,
    TrainingDivergedError,
)

F = TypeVar("F", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="forwardpass")
def main() -> None:
    """Train a network in NumPy and ship it as a proved ONNX bundle."""


def _choices(command: F) -> F:
    """An option for every choice of a run, declared once, in `Config`."""
    for name, field in reversed(Config.model_fields.items()):
        if name == "data":
            continue
        default = "" if field.default is None else f"  [default: {_shown(field.default)}]"
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        described = f"{field.description}{': ' if choices else ''}{', '.join(choices)}"
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            option = click.option(flag, is_flag=True, default=None, help=field.description)
        else:
            option = click.option(flag, metavar=name.upper(), help=f"{described}{default}")
        command = option(command)
    return command


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@main.command(epilog=f"Built in: {', '.join(BUILT_IN)}. Files: {', '.join(SUFFIXES)}.")
@click.argument("data", required=False)
@_choices
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="a TOML file of these options; those on the command line win")  # fmt: skip
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path),
              help="a file for the state of the run; one that was killed goes on")  # fmt: skip
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path),
              help="a .csv or .jsonl file of what each epoch led to")  # fmt: skip
@click.option("--tensorboard", type=click.Path(file_okay=False, path_type=Path),
              help="a folder for TensorBoard's event files (extra: tensorboard)")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a summary")
def fit(
    config: Path | None,
    checkpoint: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Train on DATA and write a bundle.

    DATA is a built-in name or a file. Text, truth values and up to 20 different integers are
    classes, other numbers are quantities; --task says otherwise.
    """
    chosen = _config(config, options)
    callbacks = [ProgressBar(), *_logs(log, tensorboard)]
    try:
        bundle, trained = fit_recipe(chosen, callbacks=callbacks, checkpoint=checkpoint)
    except _REFUSALS as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(describe(bundle)))
    else:
        _summarise(bundle, trained)


def _logs(file: Path | None, folder: Path | None) -> list[Callback]:
    logs: list[Callback] = []
    if file is not None:
        kinds = {".csv": CSVLog, ".jsonl": JSONLog}
        if file.suffix.lower() not in kinds:
            raise click.UsageError(f"log: expected a file ending in .csv or .jsonl; got {file}")
        logs.append(kinds[file.suffix.lower()](file))
    if folder is not None:
        try:
            logs.append(TensorBoard(folder))
        except ImportError as error:
            raise click.UsageError(f"tensorboard: {error}") from error
    return logs


def _config(file: Path | None, options: dict[str, str | None]) -> Config:
    chosen: dict[str, Any] = {}
    if file is not None:
        try:
            chosen = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{file}: expected a TOML file; {error}") from error
    chosen = {name.replace("-", "_"): value for name, value in chosen.items()}
    chosen |= {name: value for name, value in options.items() if value is not None}
    if "data" not in chosen:
        raise click.UsageError("expected DATA, a built-in name or a file; got none")
    try:
        return Config.model_validate(chosen)
    except ValidationError as error:
        raise click.UsageError("; ".join(map(_fault, error.errors()))) from error


def _fault(error: ErrorDetails) -> str:
    if not error["loc"]:  # of several options together
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"expected a key out of {', '.join(Config.model_fields)}; got {name!r}"
    return f"{name.replace('_', '-')}: {error['msg']}, got {error['input']!r}"


def _summarise(bundle: Bundle, trained: Trained) -> None:
    manifest = bundle.manifest
    parity = manifest.variants["fp32"].parity
    rows = manifest.data.rows
    same = "" if parity.label_agreement is None else f", labels equal {parity.label_agreement:.0%}"
    facts: dict[str, str] = {
        "task": f"{manifest.task} of {', '.join(manifest.data.target)}",
        "rows": ", ".join(f"{count} {part}" for part, count in rows.items()),
        "training": f"{manifest.training.epochs_run} epochs, best {manifest.training.best_epoch}, "
        f"{manifest.training.seconds:.1f} s",
        **{
            part: ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            for part, metrics in manifest.metrics.items()
        },
        "parity": f"max |Δ| {parity.max_abs:.1e} from NumPy over {parity.rows} rows{same}",
        "bundle": str(bundle.path),
    }
    click.echo(f"{trained.model.network.summary()}\n")
    for name, fact in facts.items():
        click.echo(f"{name:<12}{fact}")


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a summary")
def verify(bundle: Path, as_json: bool) -> None:
    """Replay a bundle's self-test on this machine.

    BUNDLE is models/NAME or models/NAME/VERSION. Exit status 0 only if every file is the one
    exported and every variant reproduces its answers.
    """
    try:
        opened = Bundle.open(_version_folder(bundle))
        for file in opened.sums:
            opened.content(file)
    except (BundleError, OSError) as error:
        if as_json:
            report = {"bundle": str(bundle), "passed": False, "reason": str(error)}
            click.echo(json.dumps(report))
        raise click.ClickException(str(error)) from error
    proofs = [prove(opened, variant) for variant in opened.manifest.variants]
    passed = all(proof.passed for proof in proofs)
    if as_json:
        report = {"bundle": str(opened.path), "passed": passed,
                  "variants": {proof.variant: _verdict(proof) for proof in proofs}}  # fmt: skip
        click.echo(json.dumps(report))
    else:
        for proof in proofs:
            click.echo(f"{opened.path} {proof.variant}: {_sentence(proof)}")
    raise SystemExit(0 if passed else 1)


def _version_folder(path: Path) -> Path:
    """The version meant by models/NAME/VERSION, or the highest of models/NAME."""
    # So that it has a name, even as `.`; links stay links.
    path = Path(os.path.abspath(path))  # noqa: PTH100
    found = versions(path)
    if not found and not (path / MANIFEST).is_file():
        raise BundleError(
            f"expected a bundle, models/NAME or models/NAME/VERSION; got {path}, which holds none"
        )
    return path / str(found[-1]) if found else path


def _verdict(proof: Proof) -> dict[str, Any]:
    verdict: dict[str, Any] = {"passed": proof.passed, "reason": proof.reason}
    if proof.difference is not None:
        verdict |= {
            "rows": proof.difference.rows,
            "max_abs": _finite(proof.difference.max_abs),
            "max_rel": _finite(proof.difference.max_rel),
            "label_agreement": proof.difference.label_agreement,
        }
    return verdict


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no word for infinity


def _sentence(proof: Proof) -> str:
    if proof.difference is None or not proof.passed:
        return f"FAILED: {proof.reason}"
    return f"reproduces, max |Δ| {proof.difference.max_abs:.1e} over {proof.difference.rows} rows"
