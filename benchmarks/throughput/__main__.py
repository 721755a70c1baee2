"""Requests a second, latency and memory of this server and of its peers.

All serve the same ONNX files with ONNX Runtime on the same cores, one after the other, round after
round, beginning with another one each time, so that what slows the machine down for a while slows
all of them. Before it is timed, each has to answer as ONNX Runtime does, to 1e-5. The client, wrk,
runs on the same cores as well. Reported are medians of the rounds and of the rounds' ratios with
their quartiles; an absolute number means little, and on a busy machine nothing.

    python -m benchmarks.throughput [--rounds N] [--seconds S] [--only SIDES] [--loads LOADS]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmarks.contenders import SIDES, environments, networks, onnxruntime_alone
from benchmarks.contenders.contender import ROOT, Side, StartError
from benchmarks.contenders.contender_server import Server
from benchmarks.contenders.processes import take_in_orphans
from benchmarks.contenders.workloads import LOADS, Load
from benchmarks.throughput.round_summary import Turns, of_load, show
from benchmarks.throughput.wrk_client import Client, Heard
from benchmarks.training.steps_per_second import commit, machine

OURS = ("gevent", "gunicorn", "gunicorn_h1c", "numpy", "onnxruntime", "orjson", "pysimdjson")
RESULTS = ROOT / "benchmarks" / "results" / "serve.json"

T = TypeVar("T")


def chosen(of: Mapping[str, T]) -> Callable[..., list[T]]:
    """What reads an option of names with commas between them; left out, it means all."""

    def read(_: click.Context, parameter: click.Parameter, value: str | None) -> list[T]:
        names = value.split(",") if value else list(of)
        if unknown := [name for name in names if name not in of]:
            raise click.BadParameter(
                f"expected some of {', '.join(of)}; got {', '.join(unknown)}", param=parameter
            )
        return [of[name] for name in names]

    return read


def repositories(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """A repository of its own for each network."""
    found = {name: folder / name / "models" for name in names}
    for name, models in found.items():
        models.mkdir(parents=True)
        networks.write(name, models)
    return found


def measure(side: Side, loads: Sequence[Load], models: Path, seconds: int) -> dict[str, Heard]:
    """One server, from its start to its end, under loads on one network."""
    network = loads[0].network
    graph = models / network / "1" / "model.onnx"
    rows = {load.rows: networks.rows(load.rows) for load in loads}
    requests = {count: side.encoding.request(features) for count, features in rows.items()}
    # Short names: a socket's path has room for 107 characters, and Ray puts some in there.
    with tempfile.TemporaryDirectory(prefix="fp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with Server(side, network, models, folder) as server:
            server.settle(next(iter(requests.values())))
            if side.answers:
                for count, features in rows.items():
                    server.check(requests[count], onnxruntime_alone.probabilities(graph, features))
            clients = {
                count: Client(request, folder / f"client-{count}")
                for count, request in requests.items()
            }
            clients[loads[0].rows].warm(server.url)
            return {
                load.name: clients[load.rows].ask(
                    server.url, connections=load.connections, seconds=seconds
                )
                for load in loads
            }


def take_turns(
    sides: Sequence[Side],
    loads: Sequence[Load],
    models: Mapping[str, Path],
    *,
    rounds: int,
    seconds: int,
) -> Turns:
    """All sides under all loads, round after round."""
    heard, floors = defaultdict(list), defaultdict(list)
    for number in range(rounds):
        for network, place in models.items():
            here = [load for load in loads if load.network == network]
            for count in sorted({load.rows for load in here}):
                graph = place / network / "1" / "model.onnx"
                floors[network, count].append(onnxruntime_alone.run_us(graph, networks.rows(count)))
            first = number % len(sides)
            for side in (*sides[first:], *sides[:first]):
                if not (taken := [load for load in here if side.takes(load)]):
                    continue
                click.echo(f"round {number + 1} of {rounds}, {network}: {side.name}", err=True)
                for name, found in measure(side, taken, place, seconds).items():
                    heard[name, side.name].append(found)
    return Turns(heard, floors)


def client_version() -> str:
    """That of wrk, which ends with status 1 when asked for it."""
    said = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"wrk (\S+)", said)
    return found[1] if found else "unknown"


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--seconds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="of a turn: one side under one load",
)
@click.option(
    "--only",
    "sides",
    callback=chosen(SIDES),
    metavar="A,B",
    help=f"sides, of {', '.join(SIDES)}  [all]",
)
@click.option(
    "--loads",
    callback=chosen({load.name: load for load in LOADS}),
    metavar="A,B",
    help=f"of {', '.join(load.name for load in LOADS)}  [all]",
)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS)
def main(sides: list[Side], loads: list[Load], rounds: int, seconds: int, out: Path) -> None:
    """Install, check, measure, print, write."""
    if shutil.which("wrk") is None:
        raise click.ClickException("expected wrk on PATH, found none; run: apt-get install wrk")
    take_in_orphans()
    environments.install(sides)
    busy, started, sources = os.getloadavg()[0], datetime.now(UTC), commit()
    with tempfile.TemporaryDirectory() as folder:
        names = list(dict.fromkeys(load.network for load in loads))
        models = repositories(Path(folder), names)
        try:
            turns = take_turns(sides, loads, models, rounds=rounds, seconds=seconds)
        except StartError as error:
            raise click.ClickException(str(error)) from error
    report: dict[str, Any] = {
        "benchmark": "serve",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": sources,
        "machine": machine() | {"load_before": round(busy, 2)},
        "libraries": {name: version(name) for name in OURS},
        "client": f"wrk {client_version()}",
        "peers": {side.name: found for side in sides if (found := environments.versions(side))},
        "rounds": rounds,
        "seconds_a_turn": seconds,
        "results": [of_load(load, turns) for load in loads],
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report["results"])


if __name__ == "__main__":
    main()
