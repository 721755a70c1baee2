"""`trainer study`: run a classic experiment, and print its table and draw its plot."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trainer.cli.options import NewFile
from trainer.evaluate.metric_names import POSITIVE_LABEL_METRICS, format_metric_name
from trainer.study.experiments import ExperimentResult, run_exclusive_or, run_learning_rates

TITLES = {
    "xor": "Exclusive or, without and with a hidden layer",
    "moons": "Moons, [2, 16, 8, 1] at five learning rates",
    "circles": "Circles, [2, 16, 8, 1] at five learning rates",
}
DEFAULT_SEEDS = {"xor": 20, "moons": 5, "circles": 5}


@click.command()
@click.argument("toy", type=click.Choice(list(TITLES)))
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    help="Number of runs of each setting  [default: 20 for xor, else 5]",
)
@click.option(
    "-o",
    "--output",
    type=NewFile(".png", ".svg", ".pdf"),
    help="File for the plot: .png, .svg or .pdf  [default: study-TOY.png]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text")
def study(toy: str, seeds: int | None, output: Path | None, as_json: bool) -> None:
    """Repeat a classic experiment on a toy data set, and draw it.

    xor: the four rows of exclusive or, with and without a hidden layer, 2000 steps of gradient
    descent from 20 seeds; the accuracy is measured on these rows.

    moons, circles: 500 points, 80 % of them for training, 2000 steps at learning rates from 0.001
    to 1, from 5 seeds; the accuracy is measured on the other points.
    """
    seeds = seeds or DEFAULT_SEEDS[toy]
    from trainer.study.plot import draw_study  # noqa: PLC0415 - Matplotlib is slow to import

    results = list(run_exclusive_or(seeds) if toy == "xor" else run_learning_rates(toy, seeds))
    output = output or Path(f"study-{toy}.png")
    title = f"{TITLES[toy]}: medians of {seeds} seeds, the first of them drawn"
    try:
        draw_study(results, title, output)
    except OSError as error:
        raise click.ClickException(f"expected a file to draw to; {error}") from error
    if as_json:
        settings = [_result_to_json(result) for result in results]
        click.echo(json.dumps({"study": toy, "plot": str(output), "settings": settings}))
    else:
        _print_results(results, seeds)
        click.echo(f"\nmedians of {seeds} seeds; plot: {output}")


def _result_to_json(result: ExperimentResult) -> dict[str, object]:
    return {
        "setting": result.setting,
        "accuracies": result.accuracies,
        "median": result.median,
        "positive": 1,
        **result.median_positive_metrics,
        "loss": result.losses[-1],
    }


def _print_results(results: list[ExperimentResult], seeds: int) -> None:
    class_headings = [format_metric_name(name, 1) for name in POSITIVE_LABEL_METRICS]
    headings = ("accuracy", "lowest", "highest", "at 100 %", "training loss", *class_headings)
    widths = (9, 9, 9, 10, 15, *(len(heading) + 2 for heading in class_headings))
    heads = zip(headings, widths, strict=True)
    click.echo(f"{'':<22}" + "".join(f"{heading:>{width}}" for heading, width in heads))
    for result in results:
        n_perfect = f"{sum(accuracy == 1 for accuracy in result.accuracies)} of {seeds}"
        low, high = min(result.accuracies), max(result.accuracies)
        medians = zip(result.median_positive_metrics.values(), widths[5:], strict=True)
        click.echo(
            f"{result.setting:<22}{result.median:>9.1%}{low:>9.1%}{high:>9.1%}{n_perfect:>10}"
            f"{result.losses[-1]:>15.4f}"
            + "".join(f"{value:>{width}.1%}" for value, width in medians)
        )
