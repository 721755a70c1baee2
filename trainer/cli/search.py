"""`trainer search`: find the best options by cross-validation, and write a bundle with them."""

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
from trainer.cli.fit import (
    USER_ERRORS,
    fit_and_record,
    json_option,
    monitoring_options,
    print_summary,
)
from trainer.cli.grouped_help import GroupedCommand, grouped_option
from trainer.cli.model_summary import bundle_to_json
from trainer.cli.options import SOURCES, NewFile, config_options, configure, split_default
from trainer.data.sources import default_name
from trainer.evaluate.metric_names import POSITIVE_LABEL_METRICS, format_metric_name
from trainer.export.bundle_files import require_writable
from trainer.search import (
    ENGINES,
    Candidate,
    Engine,
    Grid,
    InvalidSearchError,
    Journal,
    JournalEntry,
    JournalError,
    read_grid,
)
from trainer.search.candidates import format_parameters
from trainer.search.grid_file import SearchPlan

if TYPE_CHECKING:
    from trainer.search.run import SearchResult

SEARCH = "Search"
PLAN_KEYS = "; ".join(
    f"{name} ({text} [default: {default}])"
    for name, field in SearchPlan.model_fields.items()
    for text, default in (split_default(field),)
)


@click.command(cls=GroupedCommand, epilog=f"{SOURCES}\n\nKeys of [search]: {PLAN_KEYS}.")
@grouped_option(
    "--grid",
    group=SEARCH,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with lists of values for options, and a table [search]",
)
@grouped_option(
    "--folds",
    group=SEARCH,
    type=click.IntRange(2, 100),
    default=5,
    help="Number of folds of the cross-validation",
)
@grouped_option(
    "--engine",
    group=SEARCH,
    type=click.Choice(ENGINES),
    default="local",
    help="Where the fits run",
)
@grouped_option(
    "--journal",
    group=SEARCH,
    type=NewFile(".jsonl"),
    help="File that stores the finished fits, .jsonl; an interrupted search resumes from it "
    "[default: RUNS/NAME/search.jsonl]",
)
@grouped_option(
    "--nested",
    group=SEARCH,
    is_flag=True,
    help="Also estimate the performance of the whole search by nested cross-validation",
)
@config_options()
@monitoring_options
@json_option
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
    """Try combinations of options on DATA, and write a bundle with the best of them.

    Takes the options of fit. The file of --grid lists the values to try, such as
    `hidden = [[64], [128, 64]]`. Its table [search] can set a metric, `method = "random"` with
    `trials = 20` and ranges such as `learning_rate = {low = 1e-4, high = 0.1, log = true}`, or
    `method = "halving"` with `factor = 3`.

    Each combination is scored by cross-validation on the training and validation rows. The best is
    trained again on these rows and evaluated on the test rows, which the search does not use.
    """
    from trainer.search.run import search as run_search  # noqa: PLC0415 - slow to import: scikit-learn

    chosen = configure(config, options)
    announce = DataSummary(chosen.get_encoding())
    name = chosen.name or default_name(chosen.data)
    try:
        search_grid = read_grid(grid)
        require_writable(chosen.models / name)
        journal_path = journal or chosen.runs / name / "search.jsonl"
        require_writable(journal_path.parent)
        finished = Journal(journal_path, on_entry=_print_fit)
        result = run_search(
            chosen,
            search_grid,
            folds=folds,
            journal=finished,
            nested=nested,
            announce=announce,
        )
        if not as_json:
            _print_result(result, search_grid, finished)
        bundle, trained = fit_and_record(result.config, checkpoint, log, tensorboard, stage=stage)
    except InvalidSearchError as error:
        raise click.UsageError(str(error)) from error
    except (JournalError, *USER_ERRORS) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        report = {
            "engine": engine,
            **_result_to_json(result, search_grid, finished),
            **announce.to_json(),
            "fit": bundle_to_json(bundle),
        }
        click.echo(json.dumps(report))
    else:
        print_summary(bundle, trained)


def _print_fit(fit: JournalEntry) -> None:
    """Print a line about a finished fit on stderr, if that is a terminal."""
    if sys.stderr.isatty():
        outcome = f"diverged, {fit.failure}" if fit.failure else "done"
        click.echo(
            f"{fit.seconds:>8.1f} s   {format_parameters(fit.parameters)}   {outcome}", err=True
        )


def _print_result(result: SearchResult, grid: Grid, journal: Journal) -> None:
    metric = format_metric_name(result.metric, result.positive)
    _print_candidates(result, grid, metric)
    winner = result.winner
    lines = {
        "winner": f"{format_parameters(winner.parameters)}: {metric} {winner.mean:.4f} ± "
        f"{winner.deviation:.4f} over {len(winner.scores)} folds",
        "journal": f"{journal.path}, {pluralize(journal.n_added, 'fit')} run, {journal.n_reused} "
        f"reused",
    }
    if result.nested is not None:
        lines["nested"] = (
            f"{metric} {np.mean(result.nested):.4f} ± {np.std(result.nested):.4f}, the unbiased "
            f"estimate for the whole search, from nested cross-validation"
        )
    click.echo()
    for label, text in lines.items():
        click.echo(textwrap.fill(f"{label:<12}{text}", 100, subsequent_indent=12 * " "))
    click.echo()


def _print_candidates(result: SearchResult, grid: Grid, metric: str) -> None:
    """Print a table of the candidates: the metric, its deviation, the positive class's metrics."""
    other_metrics = [
        name
        for name in POSITIVE_LABEL_METRICS
        if name != result.metric and result.positive is not None
    ]
    headings = [format_metric_name(name, result.positive) for name in other_metrics]
    widths = [len(heading) + 3 for heading in headings]
    first_width = max(18, len(metric) + 1)
    has_epochs = grid.plan.method == "halving"
    header = f"{metric:>{first_width}}{'sd':>10}"
    if has_epochs:
        header += f"{'epochs':>10}"
    for heading, width in zip(headings, widths, strict=True):
        header += f"{heading:>{width}}"
    click.echo(header)
    for candidate in result.candidates:
        row = f"{candidate.mean:>{first_width}.4f}{candidate.deviation:>10.4f}"
        if has_epochs:
            row += f"{candidate.epochs:>10}"
        for name, width in zip(other_metrics, widths, strict=True):
            row += f"{candidate.metrics.get(name, math.nan):>{width}.4f}"
        click.echo(f"{row}   {format_parameters(candidate.parameters)}")


def _result_to_json(result: SearchResult, grid: Grid, journal: Journal) -> dict[str, Any]:
    nested = None
    if result.nested is not None:
        nested = {
            "scores": [_replace_nan(score) for score in result.nested],
            "mean": _replace_nan(float(np.mean(result.nested))),
            "sd": _replace_nan(float(np.std(result.nested))),
        }
    return {
        "method": grid.plan.method,
        "metric": result.metric,
        "positive": result.positive,
        "folds": len(result.winner.scores),
        "candidates": [_candidate_to_json(candidate) for candidate in result.candidates],
        "winner": _candidate_to_json(result.winner),
        "nested": nested,
        "journal": {"path": str(journal.path), "run": journal.n_added, "found": journal.n_reused},
    }


def _candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    row = {
        "parameters": candidate.parameters,
        "mean": _replace_nan(candidate.mean),
        "sd": _replace_nan(candidate.deviation),
        "scores": [_replace_nan(score) for score in candidate.scores],
        "metrics": dict(candidate.metrics),
    }
    return row if candidate.epochs is None else row | {"epochs": candidate.epochs}


def _replace_nan(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN and no infinity
