"""`trainer search`: the best choices by cross-validation, and the bundle they make."""

from __future__ import annotations

import json
import math
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from serving.bundle import pluralize
from trainer.cli.data_summary import DataSummary
from trainer.cli.fit import REFUSALS, fit_and_follow, following_options, print_summary
from trainer.cli.options import SOURCES, NewFile, config_options, configure
from trainer.data.sources import default_name
from trainer.evaluate.metric_names import LABELS_OF_POSITIVE, format_metric_name
from trainer.export.bundle_files import require_writable
from trainer.pipeline import summarize_bundle
from trainer.search import (
    ENGINES,
    Candidate,
    Engine,
    Entry,
    Grid,
    Journal,
    JournalError,
    RefusedError,
    read_grid,
)
from trainer.search.candidates import format_choice
from trainer.search.grid import SearchPlan

if TYPE_CHECKING:
    from trainer.search.run import SearchResult


PLAN = "; ".join(
    f"{name} ({' '.join(str(field.description).split())})"
    for name, field in SearchPlan.model_fields.items()
)


@click.command(epilog=f"{SOURCES}\n\nKeys of [search]: {PLAN}.")
@config_options()
@following_options
@click.option(
    "--grid",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="a TOML file of options with lists of values, and a table [search]",
)
@click.option("--folds", type=click.IntRange(2, 100), default=5, help="of the cross-validation")
@click.option("--engine", type=click.Choice(ENGINES), default="local", help="what runs the fits")
@click.option(
    "--journal",
    type=NewFile(".jsonl"),
    help="a file of finished fits; a search that was killed goes on  "
    "[default: RUNS/NAME/search.jsonl]",
)
@click.option(
    "--nested", is_flag=True, help="also score the search itself, on rows it has not seen"
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of tables")
def search(
    config: Path | None,
    grid: Path,
    folds: int,
    engine: Engine,
    journal: Path | None,
    nested: bool,
    as_json: bool,
    checkpoint: Path | None,
    log: Path | None,
    tensorboard: Path | None,
    stage: bool,
    **options: str | None,
) -> None:
    """Try choices on DATA, and write a bundle of the best.

    Takes the options of fit. The grid lists values, `hidden = [[64], [128, 64]]`; its table
    [search] may say method = "grid", "random" with trials = 20 and ranges such as
    `learning_rate = {low = 1e-4, high = 0.1, log = true}`, or "halving" with factor = 3; and
    metric. Candidates are scored by cross-validation on the training and validation rows. The best
    is trained anew on them, and judged on the test rows, which no candidate has seen.
    """
    from trainer.search.run import search as run_search  # noqa: PLC0415 - slow to import: scikit-learn

    chosen = configure(config, options)
    announce = DataSummary(chosen.get_encoding())
    name = chosen.name or default_name(chosen.data)
    try:
        asked = read_grid(grid)
        require_writable(chosen.models / name)
        kept = journal or chosen.runs / name / "search.jsonl"
        require_writable(kept.parent)
        finished = Journal(kept, watch=_say)
        outcome = run_search(
            chosen,
            asked,
            folds=folds,
            journal=finished,
            nested=nested,
            announce=announce,
        )
        if not as_json:
            _show(outcome, asked, finished)
        bundle, trained = fit_and_follow(outcome.config, checkpoint, log, tensorboard, stage=stage)
    except RefusedError as error:
        raise click.UsageError(str(error)) from error
    except (JournalError, *REFUSALS) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        report = {
            "engine": engine,
            **_described(outcome, asked, finished),
            **announce.described(),
            "fit": summarize_bundle(bundle),
        }
        click.echo(json.dumps(report))
    else:
        print_summary(bundle, trained)


def _say(fit: Entry) -> None:
    """A line for who waits; silent when stderr is not a terminal, as the progress bar is."""
    if sys.stderr.isatty():
        ended = f"diverged, {fit.failure}" if fit.failure else "done"
        click.echo(f"{fit.seconds:>8.1f} s   {format_choice(fit.parameters)}   {ended}", err=True)


def _show(outcome: SearchResult, grid: Grid, journal: Journal) -> None:
    epochs = "epochs" if grid.plan.method == "halving" else ""
    metric = format_metric_name(outcome.metric, outcome.positive)
    beside = [m for m in LABELS_OF_POSITIVE if m != outcome.metric]
    if outcome.positive is None:
        beside = []
    heads = [format_metric_name(name, outcome.positive) for name in beside]
    widths = [len(head) + 3 for head in heads]
    width = max(18, len(metric) + 1)
    more = "".join(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True))
    click.echo(f"{metric:>{width}}{'sd':>10}{epochs:>{10 if epochs else 0}}{more}".rstrip())
    for candidate in outcome.candidates:
        lasted = f"{candidate.epochs:>10}" if epochs else ""
        figures = f"{candidate.mean:>{width}.4f}{candidate.deviation:>10.4f}{lasted}"
        for name, w in zip(beside, widths, strict=True):
            figures += f"{candidate.metrics.get(name, math.nan):>{w}.4f}"
        click.echo(f"{figures}   {format_choice(candidate.parameters)}")
    winner = outcome.winner
    facts = {
        "winner": f"{format_choice(winner.parameters)}: {metric} {winner.mean:.4f} ± "
        f"{winner.deviation:.4f} over {len(winner.scores)} folds",
        "journal": f"{journal.path}, {pluralize(journal.added, 'fit')} run, {journal.reused} found "
        "there",
    }
    if outcome.nested is not None:
        facts["nested"] = (
            f"{metric} {np.mean(outcome.nested):.4f} ± {np.std(outcome.nested):.4f} of the "
            f"search as a whole, on rows it has not seen: the honest estimate"
        )
    click.echo()
    for name, fact in facts.items():
        click.echo(textwrap.fill(f"{name:<12}{fact}", 100, subsequent_indent=12 * " "))
    click.echo()


def _described(outcome: SearchResult, grid: Grid, journal: Journal) -> dict[str, Any]:
    nested = None
    if outcome.nested is not None:
        nested = {
            "scores": [_finite(score) for score in outcome.nested],
            "mean": _finite(float(np.mean(outcome.nested))),
            "sd": _finite(float(np.std(outcome.nested))),
        }
    return {
        "method": grid.plan.method,
        "metric": outcome.metric,
        "positive": outcome.positive,
        "folds": len(outcome.winner.scores),
        "candidates": [_row(candidate) for candidate in outcome.candidates],
        "winner": _row(outcome.winner),
        "nested": nested,
        "journal": {"path": str(journal.path), "run": journal.added, "found": journal.reused},
    }


def _row(candidate: Candidate) -> dict[str, Any]:
    row = {
        "parameters": candidate.parameters,
        "mean": _finite(candidate.mean),
        "sd": _finite(candidate.deviation),
        "scores": [_finite(score) for score in candidate.scores],
        "metrics": dict(candidate.metrics),
    }
    return row if candidate.epochs is None else row | {"epochs": candidate.epochs}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no word for NaN
