"""The highest Poisson rate that each server holds, for a bound on its latency's 99th percentile.

The server scenario of MLPerf Inference (arXiv 1911.02549): requests come when they come, whatever
has been answered, and their latency counts from then. A rate is held if 99 of 100 requests are
answered within the bound, rightly, and no more than one in a thousand is not. Servers, settings and
networks are those of `benchmarks.throughput`; the client is `serving loadtest`, on the same two cores,
ahead of the servers in priority so that it is in time. One server runs at a time, round after
round, beginning with another one each time.

    python -m benchmarks.latency [--rounds N] [--only SIDES] [--scenarios NAMES]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.contenders import SIDES, environments, networks, onnxruntime_alone
from benchmarks.contenders.contender import ROOT, Side, StartError
from benchmarks.contenders.contender_server import Server
from benchmarks.contenders.processes import memory_mb, take_in_orphans
from benchmarks.latency.capacity_search import (
    CONNECTIONS,
    LOWEST,
    SECONDS,
    TIMEOUT,
    Held,
    at,
    generator_of,
    priority,
    search,
)
from benchmarks.latency.checked_requests import call, rows
from benchmarks.latency.client_agreement import agreement
from benchmarks.latency.rate_summary import document, show
from benchmarks.latency.scenarios import BOUNDS_MS, NETWORK, SCENARIOS, Scenario
from benchmarks.throughput.__main__ import OURS, chosen
from benchmarks.training.steps_per_second import commit, machine
from serving.loadtest.engine import LoadEngineError
from serving.loadtest.generator import LoadGenerator

RESULTS = ROOT / "benchmarks" / "results" / "load.json"
CLIENT = ("hdrhistogram", "httptools", "uvloop")
FIRST = next(iter(BOUNDS_MS))
GOOD_PART = 0.2
QUOTED = (500, 1000)  # requests a second at which others publish their latency

Found = dict[tuple[str, str], list[Held]]  # by scenario and side, one a round


def write_variants(models: Path) -> None:
    """A second version, with compressed variants, in a repository of its own beside `models`."""
    compressed = models.parent / "compressed"
    networks.write(NETWORK, compressed)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "trainer",
            "compress",
            str(compressed / NETWORK),
            "--max-drop",
            "0.99",
            "--prune",
            "0.5",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def graph_of(side: Side, models: Path) -> tuple[Path, Path]:
    """The repository a side serves, and the graph in it that answers."""
    if side.variant == "fp32":
        return models, models / NETWORK / "1" / "model.onnx"
    compressed = models.parent / "compressed"
    return compressed, compressed / NETWORK / "2" / f"model.{side.variant}.onnx"


class Turn:
    """One server, from its start to its end.

    Attributes:
        held: by scenario.
        quoted: at the quoted rates, p50 and p99 in ms, and the share that was answered rightly.
        memory_mb: of the server, under load.
    """

    def __init__(
        self, side: Side, scenarios: Sequence[Scenario], models: Path, before: Found
    ) -> None:
        repository, graph = graph_of(side, models)
        self.held: dict[str, Held] = {}
        self.quoted: dict[int, tuple[float, ...]] = {}
        with (
            tempfile.TemporaryDirectory(prefix="fp", ignore_cleanup_errors=True) as name,
            Server(side, NETWORK, repository, Path(name)) as server,
        ):
            server.settle(side.encoding.request(rows(1)[0]))
            for scenario in scenarios:
                asked = rows(scenario.rows)
                right = [onnxruntime_alone.probabilities(graph, features) for features in asked]
                calls = [call(server, *both) for both in zip(asked, right, strict=True)]
                rounds = before.get((scenario.name, side.name), [])
                generator = generator_of(
                    server.ports[0], calls, len(rounds), sendable(before, scenario)
                )
                precisions = {b: max(p, scenario.coarse) for b, p in BOUNDS_MS.items()}
                if rounds:  # others took their time in the first
                    precisions = {FIRST: precisions[FIRST]}
                near = rounds[-1].rates[FIRST] if rounds else None
                self.held[scenario.name] = search(generator, precisions, near)
                if side.name == "ours" and scenario.rows == 1:
                    self.quoted = {rate: quoted(generator, rate) for rate in QUOTED}
            self.memory_mb = memory_mb()


def contends(side: Side, scenario: Scenario, before: Found) -> bool:
    """Whether a side came near enough to the best one to be measured again."""
    if (scenario.name, side.name) not in before:
        return True
    rates = {
        name: held[0].rates[FIRST] for (of, name), held in before.items() if of == scenario.name
    }
    return rates[side.name] >= GOOD_PART * max(rates.values())


def sendable(before: Found, scenario: Scenario) -> float | None:
    """What the generator could send of these when that was measured, if it was."""
    return next((held[0].most for (name, _), held in before.items() if name == scenario.name), None)


def quoted(generator: LoadGenerator, rate: float) -> tuple[float, ...]:
    """What others publish of a rate: p50 and p99 in ms, the share that was answered rightly."""
    figures = at(generator, rate)
    times = figures.latency.percentiles
    return times["p50"] * 1e3, times["p99"] * 1e3, 1 - figures.error_share


@click.command(help=__doc__)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=max(s.rounds for s in SCENARIOS),
    show_default=True,
    help="of the first scenario; others have fewer",
)
@click.option("--only", "sides", callback=chosen(SIDES), metavar="A,B", help="sides  [all]")
@click.option(
    "--scenarios",
    callback=chosen({s.name.replace(", ", "-"): s for s in SCENARIOS}),
    metavar="A,B",
    help="of 1 row-JSON, 32 rows-JSON, …  [all]",
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(sides: list[Side], scenarios: list[Scenario], rounds: int, out: Path) -> None:
    """Install, check, search, print, write."""
    if shutil.which("wrk") is None:
        raise click.ClickException("expected wrk on PATH, found none; run: apt-get install wrk")
    asked = {name for scenario in scenarios for name in scenario.sides}
    if not (sides := [side for side in sides if side.name in asked]):
        raise click.UsageError(f"expected some of {', '.join(sorted(asked))} in --only; got none")
    take_in_orphans()
    environments.install(sides)
    busy, started, sources = os.getloadavg()[0], datetime.now(UTC), commit()
    found: Found = defaultdict(list)
    memory: dict[str, float] = defaultdict(float)
    published: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    failed: dict[str, list[str]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        networks.write(NETWORK, models)
        write_variants(models)
        agreed = [agreement(models, count) for count in (1, 32)]
        for number in range(rounds):
            first = number % len(sides)
            for side in (*sides[first:], *sides[:first]):
                taken = [
                    s
                    for s in scenarios
                    if side.name in s.sides and number < s.rounds and contends(side, s, found)
                ]
                if not taken:
                    continue
                click.echo(f"round {number + 1} of {rounds}: {side.name}", err=True)
                try:
                    turn = Turn(side, taken, models, found)
                except (StartError, LoadEngineError) as error:  # others are not to suffer for it
                    click.echo(str(error), err=True)
                    failed[side.name].append(str(error).splitlines()[0])
                    continue
                for name, held in turn.held.items():
                    found[name, side.name].append(held)
                    click.echo(f"  {name}: {held.rates}", err=True)
                for rate, said in turn.quoted.items():
                    published[rate].append(said)
                memory[side.name] = max(memory[side.name], turn.memory_mb)
    report: dict[str, Any] = {
        "benchmark": "load",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": sources,
        "machine": machine() | {"load_before": round(busy, 2)},
        "libraries": {name: version(name) for name in (*OURS, *CLIENT)},
        "client": {
            "name": "serving loadtest",
            "most_per_second": round(sendable(found, scenarios[0]) or 0),
            "priority": priority(),
        },
        "peers": {side.name: pins for side in sides if (pins := environments.versions(side))},
        "bounds_ms": sorted(BOUNDS_MS),
        "rounds": rounds,
        "seconds_a_probe": SECONDS,
        "connections": CONNECTIONS,
        "timeout_seconds": TIMEOUT,
        "lowest_rate": LOWEST,
        "agreement": agreed,
        "results": [document(scenario, found, memory) for scenario in scenarios],
        "failed": failed,
        "at": {
            str(rate): dict(
                zip(
                    ("p50_ms", "p99_ms", "success"),
                    np.median(said, axis=0).round(4).tolist(),
                    strict=True,
                )
            )
            for rate, said in published.items()
        },
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report["results"])


if __name__ == "__main__":
    main()
