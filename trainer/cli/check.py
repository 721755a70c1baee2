"""`trainer check`: what is wrong with a run, by name, before anyone trusts it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import click

from serving.bundle import pluralize
from trainer.check import GradientCase, check_library, check_run
from trainer.cli.data_summary import DataSummary
from trainer.cli.options import SOURCES, config_options, configure
from trainer.data.tables import DataError
from trainer.training.diagnostics import FAULTS, Measurement

LIMITS = {"central": 1e-6, "complex": 1e-11}


@click.command(epilog=SOURCES)
@config_options(without=("name", "models", "runs"))
@click.option("--json", "as_json", is_flag=True, help="print one JSON object instead of a table")
def check(config: Path | None, as_json: bool, **options: str | None) -> None:
    """Examine a run on DATA: its rows, first weights, gradients, and the training itself.

    Takes the options of fit and writes nothing; says of the data what fit says. Each fault has a
    name, a measure, a bound and a remedy; exit status 0 only if there is none. Without DATA, the
    gradient of every kind of layer, activation, loss and penalty is checked on this machine, by
    centred differences and by the complex step.
    """
    if config is None and all(value is None for value in options.values()):
        _check_library(as_json)
        return
    chosen = configure(config, options)
    announce = DataSummary(chosen.get_encoding())
    try:
        measurements = list(check_run(chosen, announce))
    except DataError as error:
        raise click.ClickException(str(error)) from error
    worst = _worst(measurements)
    findings = [m for m in worst if not m.healthy]
    if as_json:
        report = {
            "healthy": not findings,
            "measurements": list(map(_described, worst)),
            **announce.described(),
        }
        click.echo(json.dumps(report))
    else:
        for m in worst:
            verdict = "ok" if m.healthy else "FAULT"
            click.echo(
                f"{m.fault:<20}{m.value:>10.3g}   {m.kind.bounds:<32}{verdict:<7}"
                f"{m.where or ''}".rstrip()
            )
        for m in findings:
            click.echo(f"\n{m}")
        faults = pluralize(len(findings), "fault") if findings else "no fault"
        click.echo(f"\n{faults} in {pluralize(len(worst), 'measure')}")
    raise SystemExit(1 if findings else 0)


def _worst(measurements: Iterable[Measurement]) -> list[Measurement]:
    """The most strained of each fault, in the order of the faults."""
    found: dict[str, Measurement] = {}
    for m in measurements:
        if m.fault not in found or m.strain > found[m.fault].strain:
            found[m.fault] = m
    return [found[name] for name in FAULTS if name in found]


def _described(m: Measurement) -> dict[str, object]:
    return {
        "fault": m.fault,
        "healthy": m.healthy,
        "value": m.value if math.isfinite(m.value) else None,
        "where": m.where,
        "note": m.note,
        "measure": m.kind.measure,
        "expected": m.kind.bounds,
        "source": m.kind.source,
        "remedy": m.kind.remedy,
    }


def _check_library(as_json: bool) -> None:
    cases = list(check_library())
    wrong = [c for c in cases if c.central > LIMITS["central"] or c.complex > LIMITS["complex"]]
    worst = {method: max(getattr(c, method) for c in cases) for method in LIMITS}
    if as_json:
        report = {
            "healthy": not wrong,
            "cases": len(cases),
            "worst": worst,
            "wrong": [_case(c) for c in wrong],
        }
        click.echo(json.dumps(report))
    else:
        for method, limit in LIMITS.items():
            click.echo(f"{method:<10}worst relative error {worst[method]:.1e}, at most {limit:g}")
        click.echo(f"{len(cases)} gradients checked, {len(wrong)} wrong")
        for c in wrong:
            click.echo(f"wrong_gradient: {_case(c)}")
    raise SystemExit(1 if wrong else 0)


def _case(c: GradientCase) -> str:
    return (
        f"{c.layers}, {c.activation}, {c.loss}, penalty {c.penalty}: central {c.central:.1e}, "
        f"complex {c.complex:.1e}"
    )
