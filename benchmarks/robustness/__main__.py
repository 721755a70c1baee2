"""Measure start-up, memory, the cost of monitoring, overload, and whether answers get mixed up.

python -m benchmarks.robustness [--only startup,cost,overload,tagged]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.contenders.encodings import JSON_INSTANCES, PostRequest
from benchmarks.contenders.networks import draw_rows, write_network
from benchmarks.contenders.processes import adopt_orphans
from benchmarks.contenders.selection import parse_names
from benchmarks.machine import RESULTS, ROOT, describe_commit, describe_machine, write_report
from benchmarks.robustness.answer_isolation import measure_isolation
from benchmarks.robustness.monitoring_cost import measure_monitoring_cost
from benchmarks.robustness.overload import measure_overload
from benchmarks.robustness.startup import measure_startup

ISOLATION_REQUESTS = 200_000
# Network, rows of a request, and seconds it may be queued; `overload.py` says why these loads.
OVERLOADS = (("heavy", 32, 0.012), ("light", 32, 0.006), ("light", 1, 0.006))


def measure_overloads(folder: Path) -> dict[str, Any]:
    """Measure each of the loads."""
    return {
        f"{network}, {rows} rows": measure_overload(
            prepare_models(folder, network), _encode_rows(rows), queue_seconds, folder
        )
        for network, rows, queue_seconds in OVERLOADS
    }


def prepare_models(folder: Path, network: str) -> Path:
    """Return a model repository that contains only that network; write it if it is missing."""
    models = folder / network / "models"
    if not models.exists():
        models.mkdir(parents=True)
        write_network(network, models)
    return models


def _encode_rows(count: int) -> PostRequest:
    return JSON_INSTANCES.encode(draw_rows(count))


Measurement = Callable[[Path], dict[str, Any]]
MEASUREMENTS: dict[str, Measurement] = {
    "startup": lambda f: measure_startup(prepare_models(f, "light"), _encode_rows(1), f),
    "cost": lambda f: measure_monitoring_cost(prepare_models(f, "light"), _encode_rows(1), f),
    "overload": measure_overloads,
    "tagged": lambda _: measure_isolation(ROOT / "models", ISOLATION_REQUESTS),
}


@click.command(help=__doc__)
@click.option(
    "--only",
    "names",
    callback=parse_names({name: name for name in MEASUREMENTS}),
    metavar="A,B",
    help=f"Measurements to run, out of {', '.join(MEASUREMENTS)}  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "guarantees.json",
    help="File to write the results to  [default: benchmarks/results/guarantees.json]",
)
def main(names: list[str], out: Path) -> None:
    """Run the measurements, print and write the results."""
    adopt_orphans()
    report: dict[str, Any] = {
        "benchmark": "guarantees",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": describe_commit(),
        "machine": describe_machine(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            report[name] = MEASUREMENTS[name](Path(folder))
            click.echo(f"{name}: {json.dumps(report[name], indent=1)}")
    write_report(report, out)


if __name__ == "__main__":
    main()
