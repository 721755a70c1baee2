"""`trainer score`: a file's rows through a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from serving.bundle import Bundle, BundleError
from serving.runtime import GraphError
from trainer.cli.evaluation import evaluation_to_json, format_evaluation
from trainer.cli.options import NewFile, as_written, validate_options
from trainer.cli.verify import version_folder
from trainer.data.column_names import split_names
from trainer.data.tables import DataError
from trainer.evaluate.file_evaluation import FileEvaluator
from trainer.score import WRITERS, select_columns
from trainer.score import score as score_file


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument(
    "source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "-o",
    "--output",
    type=NewFile(*WRITERS),
    required=True,
    help="the file to write: .csv, .parquet or .jsonl",
)
@click.option("--variant", metavar="NAME", help="of the bundle  [default: the first, fp32]")
@click.option(
    "--names",
    multiple=True,
    metavar="COLUMNS",
    help="the columns' names, of a CSV file without a header: a,b",
)
@click.option(
    "--missing",
    default=None,
    metavar="WORDS",
    help="texts of a CSV file that mean a missing value, such as na,-; the empty cell "
    "always does; '' for no others  [default: as in training]",
)
@click.option(
    "--keep", multiple=True, metavar="COLUMNS", help="columns of INPUT to copy into it: a,b"
)
@click.option(
    "--evaluate", is_flag=True, help="compare the answers with the target, a column of INPUT"
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of text")
@as_written("delimiter", "decimal", "encoding")
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
    **written: str | None,
) -> None:
    """Answer every row of the file INPUT with a bundle, as a server would.

    BUNDLE is models/NAME or models/NAME/VERSION; INPUT a .csv, .csv.gz, .parquet, .arrow or
    .feather file with the model's columns, and any others. Files of any size pass in constant
    memory.

    With --evaluate INPUT has the target, too, and the metrics are those that fit prints; of a file
    of more than 200,000 rows they are of so many, drawn at random.
    """
    console = Console(file=sys.stderr)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} rows"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None)
    try:
        opened = Bundle.open(version_folder(bundle))
        truth = FileEvaluator(opened.manifest) if evaluate else None
        with bar:
            rows = score_file(
                opened,
                source,
                output,
                variant=variant,
                names=_listed(names),
                keep=_listed(keep),
                missing=None if missing is None else _listed([missing]),
                warn=lambda warning: click.echo(f"warning: {warning}", err=True),
                watch=None if truth is None else truth.add,
                **validate_options(written),
                progress=lambda done: bar.update(task, completed=done),
            )
        found = None if truth is None else truth.compute_result()
    except (BundleError, DataError, GraphError, OSError) as error:
        raise click.ClickException(str(error)) from error
    manifest = opened.manifest
    for name, own in select_columns(manifest, _listed(keep)).items():
        if own != name:
            click.echo(f"{name} of {source} is written as {own}, beside the answer", err=True)
    if as_json:
        told = {
            "rows": rows,
            "output": str(output),
            "variant": variant or next(iter(manifest.variants)),
        }
        click.echo(
            json.dumps(told | ({} if found is None else evaluation_to_json(manifest, found)))
        )
        return
    click.echo(f"{rows:,} row{'s' * (rows != 1)} scored into {output}")
    if found is not None:
        for line in format_evaluation(manifest, found):
            click.echo(line)


def _listed(given: Sequence[str]) -> list[str]:
    """Return the names of an option that may be given several times, each time with several."""
    return [name for names in given for name in split_names(names) if name]
