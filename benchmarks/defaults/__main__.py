"""Compare networks without options with gradient boosting, each with its defaults.

    python -m benchmarks.defaults --choice [--ours "balanced: dropout=0.1"] [--rivals lightgbm]

With `--choice`, the tables are those by which defaults are chosen, and nothing is written.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.defaults.choice import compare_on_choice_tables
from benchmarks.defaults.choice_tables import CHOICE_TABLES
from benchmarks.defaults.fit_processes import RIVALS, TIMEOUT_SECONDS, Contender, FitRunner
from benchmarks.machine import ROOT
from trainer.presets import PRESETS

CACHE = ROOT / ".bench" / "defaults-cache"


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
    default="",
    help=f"Rivals to compare with, separated by commas, or all: {', '.join(RIVALS)}  "
    "[default: none with --choice]",
)
@click.option(
    "--tables",
    default=",".join(CHOICE_TABLES),
    help="Names of the tables, separated by commas  [default: all]",
)
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
@click.option("--seed", default=0, show_default=True, help="Seed of split and fit.")
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
def main(
    choice: bool,
    ours: tuple[str, ...],
    rivals: str,
    tables: str,
    rivals_python: str,
    letters: Path,
    seed: int,
    threads: int,
    processes: int,
    timeout: float,
    cache: Path,
) -> None:
    """Compare on the tables of one kind."""
    if not choice:
        raise click.UsageError("expected --choice; got none; the judged tables are not there yet")
    names = RIVALS if rivals == "all" else tuple(filter(None, rivals.split(",")))
    contenders = [*map(Contender.parse, ours), *map(Contender, names)]
    compare_on_choice_tables(
        FitRunner(cache, rivals_python if names else None, threads=threads, timeout=timeout),
        contenders,
        tables.split(","),
        letters=letters,
        seed=seed,
        processes=processes,
    )


if __name__ == "__main__":
    main()
