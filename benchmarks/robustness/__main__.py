"""Start-up, memory, the cost of watching, overload, and whose answers are whose.

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

from benchmarks.contenders import networks
from benchmarks.contenders.contender import ROOT
from benchmarks.contenders.encodings import ROWS
from benchmarks.contenders.processes import take_in_orphans
from benchmarks.robustness import answer_isolation, monitoring_cost, overload, startup
from benchmarks.training.steps_per_second import commit, machine

RESULTS = ROOT / "benchmarks" / "results" / "guarantees.json"
TAGGED = 200_000
# Network, rows of a request, seconds that it may have to wait; see `overload` on why these.
OVERLOADS = (("heavy", 32, 0.012), ("light", 32, 0.006), ("light", 1, 0.006))


def on_overload(folder: Path) -> dict[str, Any]:
    """Each of the loads."""
    return {
        f"{network}, {rows} rows": overload.measure(
            models(folder, network), ROWS.request(networks.rows(rows)), queue_seconds, folder
        )
        for network, rows, queue_seconds in OVERLOADS
    }


def models(folder: Path, network: str) -> Path:
    """A repository of that network alone."""
    place = folder / network / "models"
    if not place.exists():
        place.mkdir(parents=True)
        networks.write(network, place)
    return place


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "startup": lambda f: startup.measure(models(f, "light"), ROWS.request(networks.rows(1)), f),
    "cost": lambda f: monitoring_cost.measure(
        models(f, "light"), ROWS.request(networks.rows(1)), f
    ),
    "overload": on_overload,
    "tagged": lambda _: answer_isolation.measure(ROOT / "models", TAGGED),
}


@click.command(help=__doc__)
@click.option("--only", default=",".join(PARTS), show_default=True, help="parts")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(only: str, out: Path) -> None:
    """Measure, print, write."""
    take_in_orphans()
    names = only.split(",")
    if unknown := set(names) - set(PARTS):
        raise click.UsageError(f"expected some of {', '.join(PARTS)}; got {', '.join(unknown)}")
    report: dict[str, Any] = {
        "benchmark": "guarantees",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            report[name] = PARTS[name](Path(folder))
            click.echo(f"{name}: {json.dumps(report[name], indent=1)}")
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
