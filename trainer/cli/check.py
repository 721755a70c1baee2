"""`trainer check`: diagnose the data, the network and the training of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import click

from serving.bundle import pluralize
from trainer.check import GradientCase, check_library, check_run
from trainer.cli.data_summary import DataSummary
from trainer.cli.fit import json_option
from trainer.cli.grouped_help import GroupedCommand
from trainer.cli.options import SOURCES, config_options, configure
from trainer.data.tables import DataError
from trainer.training.diagnostics import FAULTS, Measurement

# Largest relative errors of a correct gradient, by the method of finite differences.
MAX_GRADIENT_ERRORS = {"central": 1e-6, "complex": 1e-11}


@click.command(cls=GroupedCommand, epilog=SOURCES)
@config_options(without=("name", "models", "runs"))
@json_option
def check(config: Path | None, as_json: bool, **options: str | None) -> None:
    """Check the data, the initial weights, the gradients and the training of a run on DATA.

    Takes the options of fit and writes nothing. Prints each measurement with its limits, and for
    each fault what to do. The exit status is 0 only if there is no fault.

    Without DATA, checks the gradient of every combination of layer, activation, loss and penalty on
    this machine, by central differences and by the complex step.
    """
    if config is None and all(value is None for value in options.values()):
        _check_library(as_json)
        return
    chosen = configure(config, options)
    announce = DataSummary(chosen.get_encoding())
    try:
        measurements = _keep_worst(check_run(chosen, announce))
    except DataError as error:
        raise click.ClickException(str(error)) from error
    faults = [m for m in measurements if not m.is_healthy]
    if as_json:
        report = {
            "healthy": not faults,
            "measurements": [_measurement_to_json(m) for m in measurements],
            **announce.to_json(),
        }
        click.echo(json.dumps(report))
    else:
        _print_measurements(measurements, faults)
    raise SystemExit(1 if faults else 0)


def _keep_worst(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the worst measurement of each kind, in the order of `FAULTS`."""
    worst: dict[str, Measurement] = {}
    for m in measurements:
        if m.fault not in worst or m.severity > worst[m.fault].severity:
            worst[m.fault] = m
    return [worst[name] for name in FAULTS if name in worst]


def _print_measurements(measurements: list[Measurement], faults: list[Measurement]) -> None:
    for m in measurements:
        verdict = "ok" if m.is_healthy else "FAULT"
        click.echo(
            f"{m.fault:<20}{m.value:>10.3g}   {m.kind.bounds:<32}{verdict:<7}"
            f"{m.where or ''}".rstrip()
        )
    for m in faults:
        click.echo(f"\n{m}")
    count = pluralize(len(faults), "fault") if faults else "no fault"
    click.echo(f"\n{count} in {pluralize(len(measurements), 'measurement')}")


def _measurement_to_json(m: Measurement) -> dict[str, object]:
    return {
        "fault": m.fault,
        "healthy": m.is_healthy,
        "value": m.value if math.isfinite(m.value) else None,  # JSON has no NaN and no infinity
        "where": m.where,
        "note": m.note,
        "measure": m.kind.measure,
        "expected": m.kind.bounds,
        "source": m.kind.source,
        "remedy": m.kind.remedy,
    }


def _check_library(as_json: bool) -> None:
    cases = list(check_library())
    limits = MAX_GRADIENT_ERRORS
    wrong = [c for c in cases if c.central > limits["central"] or c.complex > limits["complex"]]
    worst = {method: max(getattr(c, method) for c in cases) for method in limits}
    if as_json:
        report = {
            "healthy": not wrong,
            "cases": len(cases),
            "worst": worst,
            "wrong": [_describe_case(c) for c in wrong],
        }
        click.echo(json.dumps(report))
    else:
        for method, limit in limits.items():
            click.echo(f"{method:<10}largest relative error {worst[method]:.1e}, allowed {limit:g}")
        click.echo(f"{len(cases)} gradients checked, {len(wrong)} wrong")
        for c in wrong:
            click.echo(f"wrong_gradient: {_describe_case(c)}")
    raise SystemExit(1 if wrong else 0)


def _describe_case(c: GradientCase) -> str:
    return (
        f"{c.layers}, {c.activation}, {c.loss}, penalty {c.penalty}: central {c.central:.1e}, "
        f"complex {c.complex:.1e}"
    )
