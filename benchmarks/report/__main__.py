"""Write the pages of benchmarks, their plots, and the figures on other pages, from the results.

    python -m benchmarks.report [--check]

The pages are docs/benchmarks.md and docs/benchmarks/*.md; figures between markers are in README.md,
docs/results.md and docs/compression.md. With `--check` nothing is written. The exit status is then
1 if a text differs from the results, a plot is missing, or a page or plot is there that is no
longer made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from benchmarks.machine import RESULTS, ROOT
from benchmarks.report.pages import (
    MARKERS,
    PLOTS_FOLDER,
    draw_plots,
    fill_texts,
    list_plots,
    read_results,
    render_pages,
)


def list_obsolete_files(root: Path, pages: Mapping[str, str]) -> list[str]:
    """Return the pages and plots of the generated folder that are no longer made.

    Args:
        root: Folder of README.md and docs/.
        pages: Text of each generated page, by path below the root.
    """
    made = {*pages, *list_plots(pages)}
    present = (
        str(path.relative_to(root))
        for path in (root / PLOTS_FOLDER).glob("*")
        if path.suffix in (".md", ".svg")
    )
    return sorted(path for path in present if path not in made)


def check_texts(root: Path, pages: Mapping[str, str], filled: Mapping[str, str]) -> None:
    """Refuse texts that differ from the results, missing plots, and files no longer made.

    Args:
        root: Folder of README.md and docs/.
        pages: Expected text of each generated page, by path below the root.
        filled: Expected text of each page with markers, by path below the root.

    Raises:
        click.ClickException: If a file differs, is missing, or is no longer made.
    """
    stale = [
        path
        for path, text in {**filled, **pages}.items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    ]
    stale += sorted(plot for plot in list_plots(pages) if not (root / plot).exists())
    stale += list_obsolete_files(root, pages)
    if stale:
        raise click.ClickException(
            f"expected the pages and plots of benchmarks/results; got others in {', '.join(stale)};"
            " run: make bench-page"
        )


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Compare the texts with the results; write nothing.")
@click.option(
    "--results",
    "folder",
    type=click.Path(path_type=Path),
    default=RESULTS,
    help="Folder of the results  [default: benchmarks/results]",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=ROOT,
    help="Folder of README.md and docs/  [default: that of this checkout]",
)
def main(check: bool, folder: Path, root: Path) -> None:
    """Render the texts, then compare or write them."""
    results = read_results(folder)
    pages = render_pages(results)
    filled = fill_texts(
        {path: (root / path).read_text(encoding="utf-8") for path in MARKERS}, results
    )
    if check:
        check_texts(root, pages, filled)
        return
    (root / PLOTS_FOLDER).mkdir(parents=True, exist_ok=True)
    for path, text in {**filled, **pages}.items():
        (root / path).write_text(text, encoding="utf-8")
    draw_plots(results, root / PLOTS_FOLDER)
    for path in list_obsolete_files(root, pages):
        (root / path).unlink()


if __name__ == "__main__":
    main()
