"""Compare configurations of ours on the choice tables, and print errors and mean ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.defaults.choice_tables import load_choice_table
from benchmarks.defaults.fit_processes import FitRunner, TrainingContender, compute_files_digest
from benchmarks.defaults.ratios import (
    SMALLEST_LOG_LOSS,
    compare_contenders,
    compute_geometric_mean,
)
from benchmarks.defaults.shared_tables import SharedTable
from benchmarks.machine import ROOT

SEED = 0  # of split and fit
MEASURES = ("error", "log_loss", "seconds")

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def compare_on_choice_tables(
    runner: FitRunner,
    contenders: Sequence[TrainingContender],
    tables: Sequence[str],
    *,
    letters: Path,
    processes: int,
) -> None:
    """Fit all contenders on some choice tables, and print the results.

    Args:
        runner: Runner of the fits.
        contenders: Contenders; the others are compared with the first.
        tables: Names of the tables.
        letters: Path of the file of letters.
        processes: Number of fits that run at a time.
    """
    console = Console(width=max(100, 22 + 12 * len(contenders)))
    results: dict[str, dict[str, dict[str, Any]]] = {}
    with ThreadPoolExecutor(processes) as pool:
        for name in tables:
            shared = read_kept_table(runner.folder, name, letters=letters, seed=SEED)
            fits = {c.name: pool.submit(runner.run, c, shared, SEED) for c in contenders}
            results[name] = {contender: fit.result() for contender, fit in fits.items()}
            for contender, result in results[name].items():
                console.print(f"{name}: {contender}: {_describe(result)}", highlight=False)
    names = [contender.name for contender in contenders]
    for measure in MEASURES:
        console.print(make_table(measure, names, results))
    for name in names[1:]:
        console.print(f"{name} / {names[0]}: {describe_ratios(name, names[0], results)}")


def read_kept_table(folder: Path, name: str, *, letters: Path, seed: int) -> SharedTable:
    """Return a choice table from the folder of results, where it is written at the first use.

    Args:
        folder: Folder of the results.
        name: Name of the table.
        letters: Path of the file of letters.
        seed: Seed of the split.
    """
    sources = [
        *(ROOT / "trainer" / "data").rglob("*.py"),
        *Path(__file__).parent.glob("*table*.py"),
    ]
    sources.append(Path(__file__).parent / "row_split.py")
    path = folder / "tables" / f"{name}-{seed}-{compute_files_digest(sources)[:16]}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        building = path.with_suffix(".building.npz")
        load_choice_table(name, letters=letters, seed=seed).write(building)
        building.replace(path)
    return SharedTable.read(path)


def make_table(measure: str, names: Sequence[str], results: Results) -> Table:
    """Return a table of one measure with a row for each table.

    Args:
        measure: Name of the measure in the results.
        names: Names of the contenders.
        results: Results by table and contender.
    """
    table = Table(title=measure.replace("_", " "))
    for heading in ("table", *names):
        table.add_column(heading, justify="left" if heading == "table" else "right")
    for name, by_contender in results.items():
        values = [by_contender[contender].get(measure) for contender in names]
        if any(value is not None for value in values):
            table.add_row(name, *("–" if value is None else f"{value:.4g}" for value in values))
    return table


def describe_ratios(name: str, base: str, results: Results) -> str:
    """Return the geometric mean of each measure's ratio of two contenders, in one line.

    Args:
        name: Name of a contender.
        base: Name of the contender that it is compared with.
        results: Results by table and contender.
    """
    texts = []
    for measure in MEASURES:
        pairs = {
            table: tuple(_limit(by_contender[each][measure], measure) for each in (name, base))
            for table, by_contender in results.items()
            if measure in by_contender[name] and measure in by_contender[base]
        }
        if not pairs:
            continue
        ratios = {table: [ours / other] for table, (ours, other) in pairs.items()}
        if measure == "seconds":
            texts.append(f"seconds {compute_geometric_mean([r for (r,) in ratios.values()]):.3f}")
            continue
        compared = compare_contenders(ratios, {table: [1.0] for table in ratios})
        texts.append(
            f"{measure.replace('_', ' ')} {compared['ratio']:.4f} (better on {compared['better']}, "
            f"worse on {compared['worse']}, more than 5 % worse on {compared['clearly_worse']})"
        )
    return "; ".join(texts)


def _limit(value: float, measure: str) -> float:
    """Return the value, or for a very small log loss the smallest one that counts."""
    return max(value, SMALLEST_LOG_LOSS) if measure == "log_loss" else value


def _describe(result: Mapping[str, Any]) -> str:
    if "failed" in result:
        return f"failed: {result['failed']}"
    return ", ".join(f"{m.replace('_', ' ')} {result[m]:.4g}" for m in MEASURES if m in result)
