"""`trainer study`: a classic experiment, with its table and its plot."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trainer.cli.options import NewFile
from trainer.evaluate.metric_names import POSITIVE_LABEL_METRICS, format_metric_name
from trainer.study.experiments import run_exclusive_or, run_learning_rates

TITLES = {
    "xor": "Exclusive or, without and with a hidden layer",
    "moons": "Moons, [2, 16, 8, 1] at five learning rates",
    "circles": "Circles, [2, 16, 8, 1] at five learning rates",
}
SEEDS = {"xor": 20, "moons": 5, "circles": 5}


@click.command()
@click.argument("toy", type=click.Choice(list(TITLES)))
@click.option("--seeds", type=click.IntRange(1, 1000), help="runs of each setting  [20 or 5]")
@click.option(
    "-o",
    "--output",
    type=NewFile(".png", ".svg", ".pdf"),
    help="the plot: .png, .svg or .pdf  [study-TOY.png]",
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a table")
def study(toy: str, seeds: int | None, output: Path | None, as_json: bool) -> None:
    """Repeat an experiment everyone should have seen, and draw it.

    xor: the four rows of exclusive or, with and without a hidden layer, 2000 steps of gradient
    descent from 20 seeds. moons, circles: 500 points, 80 % to learn from, 2000 steps at learning
    rates from 0.001 to 1, from 5 seeds. Accuracies are on points never seen, but of xor.
    """
    seeds = seeds or SEEDS[toy]
    from trainer.study.plot import draw_study  # noqa: PLC0415 - plotting loads slowly

    outcomes = list(run_exclusive_or(seeds) if toy == "xor" else run_learning_rates(toy, seeds))
    output = output or Path(f"study-{toy}.png")
    try:
        draw_study(
            outcomes, f"{TITLES[toy]}: medians of {seeds} seeds, the first of them drawn", output
        )
    except OSError as error:
        raise click.ClickException(f"expected a file to draw to; {error}") from error
    if as_json:
        settings = [
            {
                "setting": o.setting,
                "accuracies": o.accuracies,
                "median": o.median,
                "positive": 1,
                **o.median_positive_metrics,
                "loss": o.losses[-1],
            }
            for o in outcomes
        ]
        click.echo(json.dumps({"study": toy, "plot": str(output), "settings": settings}))
        return
    of_one = [format_metric_name(name, 1) for name in POSITIVE_LABEL_METRICS]
    heads = ("accuracy", "lowest", "highest", "at 100 %", "training loss", *of_one)
    widths = (9, 9, 9, 10, 15, *(len(head) + 2 for head in of_one))
    click.echo(f"{'':<22}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)))
    for o in outcomes:
        solved = f"{sum(a == 1 for a in o.accuracies)} of {seeds}"
        low, high = min(o.accuracies), max(o.accuracies)
        click.echo(
            f"{o.setting:<22}{o.median:>9.1%}{low:>9.1%}{high:>9.1%}{solved:>10}"
            f"{o.losses[-1]:>15.4f}"
            + "".join(
                f"{v:>{w}.1%}"
                for v, w in zip(o.median_positive_metrics.values(), widths[5:], strict=True)
            )
        )
    click.echo(f"\nmedians of {seeds} seeds; plot: {output}")
