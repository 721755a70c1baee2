"""`trainer score`: answer each row of a file with a bundle's model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from serving.bundle import Bundle, BundleError
from serving.runtime import GraphError
from trainer.cli.evaluation import evaluation_to_json, format_evaluation
from trainer.cli.fit import json_option
from trainer.cli.grouped_help import GroupedCommand, grouped_option
from trainer.cli.options import OUTPUT, NewFile, file_format_options, validate_options
from trainer.cli.verify import find_version_folder
from trainer.data.column_names import split_names
from trainer.data.tables import DataError
from trainer.evaluate.file_evaluation import FileEvaluator
from trainer.score import name_kept_columns
from trainer.score import score as score_file
from trainer.score_writers import WRITERS

INPUT, MODEL = "Input file", "Model"


@click.command(cls=GroupedCommand)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@grouped_option(
    "--variant",
    group=MODEL,
    metavar="NAME",
    help="Variant of the bundle that predicts [default: the first, fp32]",
)
@grouped_option(
    "--names",
    group=INPUT,
    multiple=True,
    metavar="NAMES",
    help="Column names of a CSV file without a header, separated by commas "
    "[default: those given in training, if the file lacks them]",
)
@grouped_option(
    "--missing",
    group=INPUT,
    default=None,
    metavar="TEXTS",
    help="Texts of a CSV file that mean a missing value, separated by commas, in upper or lower "
    "case. An empty cell always means one; with '' no text does [default: as in training]",
)
@file_format_options("delimiter", "decimal", "encoding", group=INPUT)
@grouped_option(
    "-o",
    "--output",
    group=OUTPUT,
    type=NewFile(*WRITERS),
    required=True,
    help="File to write: .csv, .parquet or .jsonl",
)
@grouped_option(
    "--keep",
    group=OUTPUT,
    multiple=True,
    metavar="COLUMNS",
    help="Columns of INPUT to copy to the output, separated by commas [default: none]",
)
@grouped_option(
    "--evaluate",
    group=OUTPUT,
    is_flag=True,
    help="Also print the metrics of the predictions; INPUT must have the target",
)
@json_option
def score(
    bundle: Path,
    source: Path,
    output: Path,
    variant: str | None,
    names: tuple[str, ...],
    missing: str | None,
    keep: tuple[str, ...],
    evaluate: bool,
    as_json: bool,
    **file_format: str | None,
) -> None:
    """Predict each row of the file INPUT with a bundle's model, as a server does.

    BUNDLE is models/NAME or models/NAME/VERSION. INPUT is a .csv, .csv.gz, .parquet, .arrow or
    .feather file with the columns of the model and any others. It is read in batches, in constant
    memory.

    With --evaluate, the metrics are those that fit prints. In a file of more than 200,000 rows they
    are computed on 200,000 rows drawn at random.
    """
    keep_columns = _split_all(keep)
    try:
        opened = Bundle.open(find_version_folder(bundle))
        manifest = opened.manifest
        evaluator = FileEvaluator(manifest) if evaluate else None
        with _show_progress() as progress:
            rows = score_file(
                opened,
                source,
                output,
                variant=variant,
                names=_split_all(names),
                keep=keep_columns,
                missing=None if missing is None else _split_all([missing]),
                warn=lambda warning: click.echo(f"warning: {warning}", err=True),
                on_batch=None if evaluator is None else evaluator.add,
                on_progress=lambda done: progress.update(progress.task_ids[0], completed=done),
                **validate_options(file_format),
            )
        evaluation = None if evaluator is None else evaluator.compute_result()
    except (BundleError, DataError, GraphError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for name, output_name in name_kept_columns(manifest, keep_columns).items():
        if output_name != name:
            click.echo(
                f"the column {name} of {source} is written as {output_name}, since an answer has "
                f"its name",
                err=True,
            )
    if as_json:
        report = {
            "rows": rows,
            "output": str(output),
            "variant": variant or next(iter(manifest.variants)),
        }
        if evaluation is not None:
            report |= evaluation_to_json(manifest, evaluation)
        click.echo(json.dumps(report))
        return
    click.echo(f"{rows:,} row{'s' * (rows != 1)} scored, written to {output}")
    if evaluation is not None:
        for line in format_evaluation(manifest, evaluation):
            click.echo(line)


@contextmanager
def _show_progress() -> Iterator[Progress]:
    """Show the number of scored rows on stderr, if that is a terminal."""
    console = Console(file=sys.stderr)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} rows"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    progress.add_task("", total=None)
    with progress:
        yield progress


def _split_all(values: Sequence[str]) -> list[str]:
    """Return the column names in all values of an option that was given several times."""
    return [name for names in values for name in split_names(names) if name]
