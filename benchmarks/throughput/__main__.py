"""Measure requests per second, latency and memory of this server and of others.

All servers serve the same ONNX files with ONNX Runtime on the same cores. They run one after the
other, round after round, and each round begins with another server, so that whatever slows the
machine down for a while slows all of them. Before it is measured, each server must give the answer
of ONNX Runtime, to 1e-5. The client, wrk, runs on the same cores. Reported are medians of the
rounds, and medians and quartiles of the ratios within a round; an absolute figure means little, and
on a busy machine nothing.

    python -m benchmarks.throughput [--rounds N] [--seconds S] [--only NAMES] [--loads NAMES]
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.contenders import CONTENDERS, networks, onnxruntime_alone
from benchmarks.contenders.contender import Contender, StartError
from benchmarks.contenders.contender_server import ContenderServer
from benchmarks.contenders.environments import install_environments, read_pinned_versions
from benchmarks.contenders.processes import adopt_orphans
from benchmarks.contenders.selection import parse_names
from benchmarks.contenders.workloads import WORKLOADS, Workload
from benchmarks.machine import (
    RESULTS,
    SERVER_LIBRARIES,
    describe_commit,
    describe_machine,
    read_versions,
    write_report,
)
from benchmarks.throughput.round_summary import RoundMeasurements, print_tables, summarize_workload
from benchmarks.throughput.wrk_client import WrkClient, WrkResult, read_wrk_version, require_wrk


def write_repositories(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Write a model repository for each network, and return them by the network's name."""
    repositories = {name: folder / name / "models" for name in names}
    for name, models in repositories.items():
        models.mkdir(parents=True)
        networks.write_network(name, models)
    return repositories


def measure_contender(
    contender: Contender, workloads: Sequence[Workload], models: Path, seconds: int
) -> dict[str, WrkResult]:
    """Start a server, measure it under workloads on one network, and stop it.

    Args:
        contender: The contender.
        workloads: Workloads, all on the same network.
        models: Model repository with that network.
        seconds: Duration of each load, in seconds.

    Returns:
        wrk's results by name of the workload.
    """
    network = workloads[0].network
    graph = models / network / "1" / "model.onnx"
    rows = {workload.rows: networks.draw_rows(workload.rows) for workload in workloads}
    requests = {count: contender.encoding.encode(features) for count, features in rows.items()}
    # A short prefix: the path of a socket may have 107 characters, and Ray puts sockets in there.
    with tempfile.TemporaryDirectory(prefix="fp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with ContenderServer(contender, network, models, folder) as server:
            server.wait_until_ready(next(iter(requests.values())))
            if contender.has_model:
                for count, features in rows.items():
                    expected = onnxruntime_alone.compute_probabilities(graph, features)
                    server.check_answer(requests[count], expected)
            clients = {
                count: WrkClient(request, folder / f"client-{count}")
                for count, request in requests.items()
            }
            clients[workloads[0].rows].warm_up(server.url)
            return {
                workload.name: clients[workload.rows].run(
                    server.url, connections=workload.connections, seconds=seconds
                )
                for workload in workloads
            }


def run_rounds(
    contenders: Sequence[Contender],
    workloads: Sequence[Workload],
    repositories: Mapping[str, Path],
    *,
    rounds: int,
    seconds: int,
) -> RoundMeasurements:
    """Measure all contenders under all workloads, round after round."""
    results, onnxruntime_us = defaultdict(list), defaultdict(list)
    for number in range(rounds):
        for network, models in repositories.items():
            on_network = [workload for workload in workloads if workload.network == network]
            for count in sorted({workload.rows for workload in on_network}):
                graph = models / network / "1" / "model.onnx"
                run_us = onnxruntime_alone.measure_run_us(graph, networks.draw_rows(count))
                onnxruntime_us[network, count].append(run_us)
            first = number % len(contenders)
            for contender in (*contenders[first:], *contenders[:first]):
                if not (accepted := [w for w in on_network if contender.accepts(w)]):
                    continue
                click.echo(f"round {number + 1} of {rounds}, {network}: {contender.name}", err=True)
                measured = measure_contender(contender, accepted, models, seconds)
                for name, result in measured.items():
                    results[name, contender.name].append(result)
    return RoundMeasurements(results, onnxruntime_us)


@click.command(help=__doc__)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Number of rounds; each measures every server once.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Duration of each load, in seconds.",
)
@click.option(
    "--only",
    "contenders",
    callback=parse_names(CONTENDERS),
    metavar="A,B",
    help=f"Servers to measure, out of {', '.join(CONTENDERS)}  [default: all]",
)
@click.option(
    "--loads",
    "workloads",
    callback=parse_names({workload.name: workload for workload in WORKLOADS}),
    metavar="A,B",
    help=f"Workloads, out of {', '.join(w.name for w in WORKLOADS)}  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "serve.json",
    help="File to write the results to  [default: benchmarks/results/serve.json]",
)
def main(
    contenders: list[Contender], workloads: list[Workload], rounds: int, seconds: int, out: Path
) -> None:
    """Install the contenders, measure them, print and write the results."""
    require_wrk()
    adopt_orphans()
    install_environments(contenders)
    load_before, started, commit = os.getloadavg()[0], datetime.now(UTC), describe_commit()
    with tempfile.TemporaryDirectory() as folder:
        names = list(dict.fromkeys(workload.network for workload in workloads))
        repositories = write_repositories(Path(folder), names)
        try:
            measurements = run_rounds(
                contenders, workloads, repositories, rounds=rounds, seconds=seconds
            )
        except StartError as error:
            raise click.ClickException(str(error)) from error
    report: dict[str, Any] = {
        "benchmark": "serve",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": commit,
        "machine": describe_machine() | {"load_before": round(load_before, 2)},
        "libraries": read_versions(SERVER_LIBRARIES),
        "client": f"wrk {read_wrk_version()}",
        "peers": {c.name: versions for c in contenders if (versions := read_pinned_versions(c))},
        "rounds": rounds,
        "seconds_a_turn": seconds,
        "results": [summarize_workload(workload, measurements) for workload in workloads],
    }
    write_report(report, out)
    print_tables(report["results"])


if __name__ == "__main__":
    main()
