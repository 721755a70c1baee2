"""Write docs/benchmarks.md, its plots and the README's tables from benchmarks/results.

    python -m benchmarks.report [--check]

With `--check` nothing is written. The exit status is then 1 if a text differs from the results, or
a plot is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.machine import RESULTS, ROOT
from benchmarks.report import (
    comparisons,
    compression_tables,
    defaults_tables,
    latency_tables,
    provenance,
    real_tables,
    soak_tables,
    throughput_tables,
    training_tables,
)
from benchmarks.report.comparisons import Comparison
from benchmarks.report.formatting import fill_marker

TEMPLATE = "page.md.j2"
# In the order of the page.
BENCHMARKS = ("train", "tables", "defaults", "compress", "serve", "load", "soak")
LOSSES_LINK = "docs/benchmarks.md#what-we-lose"

Results = Mapping[str, Mapping[str, Any]]


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results that exist in a folder, by name of the benchmark."""
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in BENCHMARKS
        if (path := folder / f"{name}.json").exists()
    }


def list_comparisons(results: Results) -> list[Comparison]:
    """Return all comparisons of all benchmarks."""
    tables = {
        "train": training_tables,
        "defaults": defaults_tables,
        "compress": compression_tables,
        "serve": throughput_tables,
        "load": latency_tables,
    }
    return [
        comparison
        for name, module in tables.items()
        if name in results
        for comparison in module.list_comparisons(results[name])
    ]


def render_page(results: Results) -> str:
    """Return the text of docs/benchmarks.md."""
    environment = Environment(  # noqa: S701 - the page is Markdown, not HTML
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template(TEMPLATE).render(
        results={name: results.get(name) for name in BENCHMARKS},
        compared=list_comparisons(results),
        provenance=provenance,
        training=training_tables,
        defaults=defaults_tables,
        compression=compression_tables,
        throughput=throughput_tables,
        latency=latency_tables,
        soak=soak_tables,
        comparisons=comparisons,
    )
    return re.sub(r"\n{3,}", "\n\n", page)


def fill_readme(text: str, results: Results) -> str:
    """Return the README with new content between its markers."""
    summaries = {
        "tables": (real_tables.make_summary_table, "bench-tables"),
        "compress": (compression_tables.make_summary_table, "bench-compress"),
        "serve": (throughput_tables.make_summary_table, "bench-serve"),
        "load": (latency_tables.make_summary_table, "bench-load"),
    }
    for name, (make_table, target) in summaries.items():
        missing = provenance.describe_missing(target)
        content = make_table(results[name]) if name in results else missing
        text = fill_marker(text, name, content)
    return fill_marker(text, "ratios", _describe_ratios(results))


def _describe_ratios(results: Results) -> str:
    paragraphs = [
        describe(results[name])
        for name, describe in (
            ("serve", throughput_tables.describe_ratios),
            ("load", latency_tables.describe_ratios),
        )
        if name in results
    ]
    losses = comparisons.summarize_losses(list_comparisons(results))
    paragraphs.append(f"[What we lose]({LOSSES_LINK}): {losses}")
    return "\n\n".join(filter(None, paragraphs))


def draw_plots(results: Results, folder: Path) -> None:
    """Draw all plots into a folder."""
    drawings = {
        "train": training_tables.draw,
        "defaults": defaults_tables.draw,
        "serve": throughput_tables.draw,
        "load": latency_tables.draw,
        "soak": soak_tables.draw,
    }
    for name, draw in drawings.items():
        if name in results:
            draw(results[name], folder)


def check_texts(texts: Mapping[Path, str], page: Path, root: Path) -> None:
    """Refuse texts that differ from the results, and missing plots.

    Args:
        texts: Expected text by path.
        page: Path of the page.
        root: Folder of README.md and docs/.

    Raises:
        click.ClickException: If a text differs or a plot is missing.
    """
    stale = [
        str(path.relative_to(root))
        for path, text in texts.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    plots = re.findall(r"\]\((benchmarks/[\w-]+\.svg)\)", texts[page])
    stale += [f"docs/{plot}" for plot in plots if not (page.parent / plot).exists()]
    if stale:
        raise click.ClickException(
            f"expected the figures of benchmarks/results; got others in {', '.join(stale)}; run: "
            "make bench-page"
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
    page, readme = root / "docs" / "benchmarks.md", root / "README.md"
    texts = {
        page: render_page(results),
        readme: fill_readme(readme.read_text(encoding="utf-8"), results),
    }
    if check:
        check_texts(texts, page, root)
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    draw_plots(results, page.parent / "benchmarks")


if __name__ == "__main__":
    main()
