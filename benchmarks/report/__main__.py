"""Write docs/benchmarks.md, its plots and the README's tables out of benchmarks/results.

    python -m benchmarks.report [--check]

With `--check` nothing is written: the exit status is 1 if a text differs from what the results say,
or a plot is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.report import (
    compression_tables,
    latency_tables,
    provenance,
    soak_tables,
    throughput_tables,
    training_tables,
    where_we_lose,
)
from benchmarks.report.comparison import Comparison
from benchmarks.report.markdown import anchor, filled

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TITLE = "# Benchmarks"
SECTIONS = {
    "train": training_tables,
    "compress": compression_tables,
    "serve": throughput_tables,
    "load": latency_tables,
    "soak": soak_tables,
}

Results = Mapping[str, Mapping[str, Any]]


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by the name of the benchmark."""
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in SECTIONS
        if (path := folder / f"{name}.json").exists()
    }


def compared(results: Results) -> list[Comparison]:
    """Everything that is compared in any of them."""
    return [c for name, result in results.items() for c in SECTIONS[name].comparisons(result)]


def page(results: Results) -> str:
    """The page, `docs/benchmarks.md`."""
    # The soak has no sides that take turns: its section says itself where it comes from.
    sided = {name: result for name, result in results.items() if name in provenance.TARGETS}
    parts = [TITLE, provenance.render(sided)]
    parts += [module.render(results.get(name)) for name, module in SECTIONS.items()]
    return "\n\n".join([*parts, where_we_lose.render(compared(results))]) + "\n"


def ratios(results: Results) -> str:
    """The README's sentences on what the tables come to."""
    said = [
        module.sentence(results[name])
        for name, module in (("serve", throughput_tables), ("load", latency_tables))
        if name in results
    ]
    lost = (
        f"[What it loses]({anchor(where_we_lose.TITLE)}): {where_we_lose.tally(compared(results))}"
    )
    return "\n\n".join([*filter(None, said), lost])


def readme(text: str, results: Results) -> str:
    """The README with what stands between its markers made anew."""
    contents = {
        "compress": compression_tables.short(results.get("compress")),
        "serve": throughput_tables.short(results.get("serve")),
        "load": latency_tables.short(results.get("load")),
        "ratios": ratios(results),
    }
    for name, content in contents.items():
        text = filled(text, name, content)
    return text


def draw(results: Results, folder: Path) -> None:
    """All plots."""
    for name, module in (
        ("train", training_tables),
        ("serve", throughput_tables),
        ("load", latency_tables),
        ("soak", soak_tables),
    ):
        if name in results:
            module.draw(results[name], folder)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="compare, and write nothing")
@click.option("--results", "folder", type=click.Path(path_type=Path), default=RESULTS)
@click.option(
    "--root", type=click.Path(path_type=Path), default=ROOT, help="where README.md and docs/ are"
)
def main(check: bool, folder: Path, root: Path) -> None:
    """Render, then compare or write."""
    results = read(folder)
    written, front = root / "docs" / "benchmarks.md", root / "README.md"
    text = page(results)
    made = {written: text, front: readme(front.read_text(encoding="utf-8"), results)}
    if check:
        stale = [
            str(path.relative_to(root))
            for path, wanted in made.items()
            if not path.exists() or path.read_text(encoding="utf-8") != wanted
        ]
        drawn = re.findall(r"\]\((benchmarks/[\w-]+\.svg)\)", text)
        stale += [f"docs/{name}" for name in drawn if not (written.parent / name).exists()]
        if stale:
            raise click.ClickException(
                f"expected what benchmarks/results say, got otherwise in {', '.join(stale)}; "
                "run: make bench-page"
            )
        return
    written.parent.mkdir(parents=True, exist_ok=True)
    for path, wanted in made.items():
        path.write_text(wanted, encoding="utf-8")
    draw(results, written.parent / "benchmarks")


if __name__ == "__main__":
    main()
