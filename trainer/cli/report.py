"""`trainer report`: a page about a bundle, for people."""

from __future__ import annotations

from pathlib import Path

import click

from serving.bundle import Bundle, BundleError, write_atomically
from serving.runtime import GraphError
from trainer.cli.options import NewFile
from trainer.cli.verify import version_folder
from trainer.config import Config


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=NewFile(".html"), default="report.html", help="the page, written anew"
)
@click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    help="where fit kept the run  [default: runs]",
)
def report(bundle: Path, output: Path, runs: Path | None) -> None:
    """Write a page on how good a bundle is, where it errs, and how it came about.

    BUNDLE is models/NAME or models/NAME/VERSION. The page is one HTML file that needs no network
    and no script, and prints well. It shows some rows of the test data, if the run was kept;
    without the run it holds what the bundle alone tells.
    """
    place: Path = Config.model_fields["runs"].default if runs is None else runs
    from trainer.report import ReportInputs, render  # noqa: PLC0415 - plotting loads slowly

    try:
        evidence = ReportInputs.gather(Bundle.open(version_folder(bundle)), place)
        page = render(evidence)
        with write_atomically(output) as building:
            building.write_text(page, encoding="utf-8")
    except (BundleError, GraphError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if evidence.run_error:
        click.echo(f"warning: the page says less than it could: {evidence.run_error}", err=True)
    click.echo(f"{output}: {len(page.encode()) / 1000:,.0f} kB")
