"""The generated pages of docs/, and the generated figures on pages that are written by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.report import (
    comparisons,
    compression_tables,
    defaults_tables,
    latency_tables,
    provenance,
    readme_tables,
    real_tables,
    robustness_tables,
    soak_tables,
    throughput_tables,
    training_tables,
)
from benchmarks.report.comparisons import Comparison
from benchmarks.report.formatting import fill_marker

# Names of the files of results. `train-intel` holds the only ratio that is known of that machine.
BENCHMARKS = (*provenance.TARGETS, "train-intel")
PLOTS_FOLDER = "docs/benchmarks"
# Template of each generated page.
PAGES = {
    "docs/benchmarks.md": "overview.md.j2",
    "docs/benchmarks/training.md": "training.md.j2",
    "docs/benchmarks/default-networks.md": "default-networks.md.j2",
    "docs/benchmarks/compression.md": "compression.md.j2",
    "docs/benchmarks/throughput.md": "throughput.md.j2",
    "docs/benchmarks/latency.md": "latency.md.j2",
    "docs/benchmarks/robustness.md": "robustness.md.j2",
    "docs/benchmarks/soak.md": "soak.md.j2",
    "docs/benchmarks/where-we-lose.md": "where-we-lose.md.j2",
}

Result = Mapping[str, Any]
Results = Mapping[str, Result]

# Pages written by hand: for each marker, the benchmark and the function that makes its content.
MARKERS: dict[str, dict[str, tuple[str, Callable[[Result], str]]]] = {
    "README.md": {
        "speed": ("serve", readme_tables.make_speed_table),
        "accuracy": ("tables", real_tables.make_accuracy_table),
    },
    "docs/results.md": {
        "tables": ("tables", real_tables.make_summary_table),
        "presets": ("defaults", defaults_tables.make_answer_table),
    },
    "docs/compression.md": {"compress": ("compress", compression_tables.make_summary_table)},
}


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results that exist in a folder, by name of the benchmark."""
    return {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in BENCHMARKS
        if (path := folder / f"{name}.json").exists()
    }


def list_comparisons(results: Results) -> list[Comparison]:
    """Return all comparisons of all benchmarks."""
    sources = {
        "train": training_tables.list_comparisons,
        "train-intel": training_tables.list_intel_comparisons,
        "defaults": defaults_tables.list_comparisons,
        "compress": compression_tables.list_comparisons,
        "serve": throughput_tables.list_comparisons,
        "load": latency_tables.list_comparisons,
    }
    return [
        comparison
        for name, list_of_benchmark in sources.items()
        if name in results
        for comparison in list_of_benchmark(results[name])
    ]


def render_pages(results: Results) -> dict[str, str]:
    """Return the text of each generated page, by its path below the root."""
    environment = Environment(  # noqa: S701 - the pages are Markdown, not HTML
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "provenance": provenance,
        "training": training_tables,
        "tables": real_tables,
        "defaults": defaults_tables,
        "compression": compression_tables,
        "throughput": throughput_tables,
        "latency": latency_tables,
        "robustness": robustness_tables,
        "soak": soak_tables,
        "comparisons": comparisons,
    }
    context = {
        "results": {name: results.get(name) for name in BENCHMARKS},
        "compared": list_comparisons(results),
    }
    return {
        path: re.sub(r"\n{3,}", "\n\n", environment.get_template(name).render(context))
        for path, name in PAGES.items()
    }


def fill_texts(texts: Mapping[str, str], results: Results) -> dict[str, str]:
    """Return pages written by hand with new content between their markers.

    Args:
        texts: Text of some or all of the pages in `MARKERS`, by path below the root.
        results: Results by name of the benchmark.
    """
    filled = {}
    for path, text in texts.items():
        for marker, (name, make_content) in MARKERS[path].items():
            if name in results:
                content = make_content(results[name])
            else:
                content = provenance.describe_missing(provenance.TARGETS[name])
            text = fill_marker(text, marker, content)  # noqa: PLW2901
        filled[path] = text
    return filled


def list_plots(pages: Mapping[str, str]) -> set[str]:
    """Return the paths of the plots that generated pages show."""
    return {
        f"{PLOTS_FOLDER}/{name}"
        for text in pages.values()
        for name in re.findall(r"\]\(([\w-]+\.svg)\)", text)
    }


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
