"""`trainer report`: write an HTML page about a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from serving.bundle import Bundle, BundleError, write_atomically
from serving.runtime import GraphError
from trainer.cli.options import NewFile
from trainer.cli.verify import find_version_folder
from trainer.config import Config


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=NewFile(".html"),
    default="report.html",
    help="HTML file to write; it is overwritten",
)
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    default=Config.model_fields["runs"].default,
    help="Folder in which `trainer fit` recorded the run",
)
def report(bundle: Path, output: Path, runs: Path) -> None:
    """Write a page about a bundle: its metrics, its errors and its training.

    BUNDLE is models/NAME or models/NAME/VERSION. The page is one HTML file without scripts that
    needs no network and can be printed. If the run was recorded, the page shows some of its test
    rows; otherwise it contains only what is in the bundle.
    """
    from trainer.report import ReportInputs, render  # noqa: PLC0415 - Matplotlib is slow to import

    try:
        inputs = ReportInputs.gather(Bundle.open(find_version_folder(bundle)), runs)
        page = render(inputs)
        with write_atomically(output) as building:
            building.write_text(page, encoding="utf-8")
    except (BundleError, GraphError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if inputs.run_error:
        click.echo(f"warning: the report is incomplete: {inputs.run_error}", err=True)
    click.echo(f"{output}: {len(page.encode()) / 1000:,.0f} kB")
