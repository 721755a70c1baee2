"""Measure the highest Poisson rate that each server sustains within a bound on its 99th percentile.

This is the server scenario of MLPerf Inference (arXiv 1911.02549): requests arrive at random times,
whatever has been answered, and latency counts from the arrival. A rate is sustained if 99 of 100
requests are answered within the bound and at most one in a thousand fails or is answered wrongly.
Servers, settings and networks are those of `benchmarks.throughput`. The client is `serving
loadtest`, on the same two cores and with a higher priority than the servers, so that it is on time.
One server runs at a time, round after round; each round begins with another one.

    python -m benchmarks.latency [--rounds N] [--only NAMES] [--scenarios NAMES]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.contenders import CONTENDERS, networks, onnxruntime_alone
from benchmarks.contenders.contender import Contender, StartError
from benchmarks.contenders.contender_server import ContenderServer
from benchmarks.contenders.environments import install_environments, read_pinned_versions
from benchmarks.contenders.processes import adopt_orphans, measure_memory_mb
from benchmarks.contenders.selection import parse_names
from benchmarks.latency.capacity_search import (
    CONNECTIONS,
    MIN_RATE,
    PROBE_SECONDS,
    TIMEOUT_SECONDS,
    SustainedRates,
    create_generator,
    find_sustained_rates,
    measure_rate,
    read_generator_priority,
)
from benchmarks.latency.checked_requests import draw_row_sets, prepare_request
from benchmarks.latency.client_agreement import compare_clients
from benchmarks.latency.rate_summary import (
    BOUNDS_MS,
    RatesByContender,
    print_tables,
    summarize_scenario,
)
from benchmarks.latency.scenarios import (
    FIRST_BOUND_MS,
    NETWORK,
    PRECISION_BY_BOUND_MS,
    SCENARIOS,
    Scenario,
)
from benchmarks.machine import (
    RESULTS,
    SERVER_LIBRARIES,
    describe_commit,
    describe_machine,
    read_versions,
    write_report,
)
from benchmarks.throughput.wrk_client import require_wrk
from serving.loadtest.engine import LoadEngineError
from serving.loadtest.generator import LoadGenerator

CLIENT_LIBRARIES = ("hdrhistogram", "httptools", "uvloop")
# Contenders below this share of the best rate are not measured again in later rounds.
MIN_SHARE_OF_BEST = 0.2
PUBLISHED_RATES = (500, 1000)  # requests per second at which others publish their latency

LatencyAtRate = tuple[float, ...]  # p50 in ms, p99 in ms, share of correct answers


@dataclass
class LatencyMeasurements:
    """All measurements.

    Attributes:
        rates: Sustained rates by name of the scenario and of the contender, one per round.
        memory_mb: Largest memory of each contender's server under load, in MB.
        latency_at_rate: Our latency at the rates at which others publish theirs.
        failures: First lines of the errors of contenders that could not be measured.
    """

    rates: dict[tuple[str, str], list[SustainedRates]] = field(
        default_factory=lambda: defaultdict(list)
    )
    memory_mb: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    latency_at_rate: dict[int, list[LatencyAtRate]] = field(
        default_factory=lambda: defaultdict(list)
    )
    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def write_variants(models: Path) -> None:
    """Write the network and its compressed variants to a second repository beside `models`."""
    compressed = _locate_variants(models)
    networks.write_network(NETWORK, compressed)
    options = ["--max-drop", "0.99", "--prune", "0.5"]
    subprocess.run(
        [sys.executable, "-m", "trainer", "compress", str(compressed / NETWORK), *options],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _locate_variants(models: Path) -> Path:
    return models.parent / "compressed"


def locate_graph(contender: Contender, models: Path) -> tuple[Path, Path]:
    """Return the repository that a contender serves, and the graph in it that answers."""
    if contender.variant == "fp32":
        return models, models / NETWORK / "1" / "model.onnx"
    compressed = _locate_variants(models)
    return compressed, compressed / NETWORK / "2" / f"model.{contender.variant}.onnx"


def measure_contender(
    contender: Contender,
    scenarios: Sequence[Scenario],
    models: Path,
    measurements: LatencyMeasurements,
) -> None:
    """Start a server, search for its sustained rates in some scenarios, and stop it.

    Args:
        contender: The contender.
        scenarios: The scenarios to measure.
        models: Model repository with the network.
        measurements: All measurements so far; the new ones are added.

    Raises:
        StartError: If the server cannot be started, or answers wrongly.
        LoadEngineError: If the server accepts no connections.
    """
    repository, graph = locate_graph(contender, models)
    rates: dict[str, SustainedRates] = {}
    latency_at_rate: dict[int, LatencyAtRate] = {}
    with (
        tempfile.TemporaryDirectory(prefix="fp", ignore_cleanup_errors=True) as name,
        ContenderServer(contender, NETWORK, repository, Path(name)) as server,
    ):
        server.wait_until_ready(contender.encoding.encode(draw_row_sets(1)[0]))
        for scenario in scenarios:
            requests = [
                prepare_request(
                    server, features, onnxruntime_alone.compute_probabilities(graph, features)
                )
                for features in draw_row_sets(scenario.rows)
            ]
            rounds = measurements.rates.get((scenario.name, contender.name), [])
            max_rate = find_max_generator_rate(measurements.rates, scenario)
            generator = create_generator(server.ports[0], requests, len(rounds), max_rate)
            precisions = {
                bound: max(precision, scenario.min_precision)
                for bound, precision in PRECISION_BY_BOUND_MS.items()
            }
            if rounds:  # The other bounds are measured in the first round only.
                precisions = {FIRST_BOUND_MS: precisions[FIRST_BOUND_MS]}
            start_rate = rounds[-1].rates[FIRST_BOUND_MS] if rounds else None
            rates[scenario.name] = find_sustained_rates(generator, precisions, start_rate)
            if contender.name == "ours" and scenario.rows == 1:
                latency_at_rate = {
                    rate: measure_latency(generator, rate) for rate in PUBLISHED_RATES
                }
        memory_mb = measure_memory_mb()
    for name, sustained in rates.items():
        measurements.rates[name, contender.name].append(sustained)
        click.echo(f"  {name}: {sustained.rates}", err=True)
    for rate, latency in latency_at_rate.items():
        measurements.latency_at_rate[rate].append(latency)
    measurements.memory_mb[contender.name] = max(measurements.memory_mb[contender.name], memory_mb)


def is_worth_measuring(contender: Contender, scenario: Scenario, results: RatesByContender) -> bool:
    """Return whether a contender is new, or came near enough to the best one in the first round."""
    if (scenario.name, contender.name) not in results:
        return True
    rates = {
        name: rounds[0].rates[FIRST_BOUND_MS]
        for (scenario_name, name), rounds in results.items()
        if scenario_name == scenario.name
    }
    return rates[contender.name] >= MIN_SHARE_OF_BEST * max(rates.values())


def find_max_generator_rate(results: RatesByContender, scenario: Scenario) -> float | None:
    """Return the highest rate at which the generator can send a scenario's requests, if known."""
    return next(
        (rounds[0].max_generator_rate for (n, _), rounds in results.items() if n == scenario.name),
        None,
    )


def measure_latency(generator: LoadGenerator, rate: float) -> LatencyAtRate:
    """Return p50 and p99 in ms and the share of correct answers at a rate."""
    statistics = measure_rate(generator, rate)
    percentiles = statistics.latency.percentiles
    return percentiles["p50"] * 1e3, percentiles["p99"] * 1e3, 1 - statistics.error_share


def run_rounds(
    contenders: Sequence[Contender], scenarios: Sequence[Scenario], models: Path, rounds: int
) -> LatencyMeasurements:
    """Measure all contenders in all scenarios, round after round."""
    measurements = LatencyMeasurements()
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            chosen = [
                scenario
                for scenario in scenarios
                if contender.name in scenario.contenders
                and number < scenario.rounds
                and is_worth_measuring(contender, scenario, measurements.rates)
            ]
            if not chosen:
                continue
            click.echo(f"round {number + 1} of {rounds}: {contender.name}", err=True)
            try:
                measure_contender(contender, chosen, models, measurements)
            except (StartError, LoadEngineError) as error:  # The others are measured all the same.
                click.echo(str(error), err=True)
                measurements.failures[contender.name].append(str(error).splitlines()[0])
    return measurements


def summarize_latency(measured: Mapping[int, Sequence[LatencyAtRate]]) -> dict[str, Any]:
    """Return the medians of the rounds by rate, as JSON content."""
    names = ("p50_ms", "p99_ms", "success")
    return {
        str(rate): dict(zip(names, np.median(latency, axis=0).round(4).tolist(), strict=True))
        for rate, latency in measured.items()
    }


@click.command(help=__doc__)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=max(scenario.rounds for scenario in SCENARIOS),
    show_default=True,
    help="Number of rounds of the first scenario; others have fewer.",
)
@click.option(
    "--only",
    "contenders",
    callback=parse_names(CONTENDERS),
    metavar="A,B",
    help="Servers to measure  [default: all]",
)
@click.option(
    "--scenarios",
    callback=parse_names({s.name.replace(", ", "-"): s for s in SCENARIOS}),
    metavar="A,B",
    help="Scenarios, out of 1 row-JSON, 32 rows-JSON, 1 row-binary, 32 rows-binary  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "load.json",
    help="File to write the results to  [default: benchmarks/results/load.json]",
)
def main(contenders: list[Contender], scenarios: list[Scenario], rounds: int, out: Path) -> None:
    """Install the contenders, search for their sustained rates, print and write the results."""
    require_wrk()
    measured_names = {name for scenario in scenarios for name in scenario.contenders}
    contenders = [contender for contender in contenders if contender.name in measured_names]
    if not contenders:
        raise click.UsageError(
            f"expected a server of the chosen scenarios in --only; got none; choose out of "
            f"{', '.join(sorted(measured_names))}"
        )
    adopt_orphans()
    install_environments(contenders)
    load_before, started, commit = os.getloadavg()[0], datetime.now(UTC), describe_commit()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        networks.write_network(NETWORK, models)
        write_variants(models)
        agreement = [compare_clients(models, count) for count in (1, 32)]
        measurements = run_rounds(contenders, scenarios, models, rounds)
    report: dict[str, Any] = {
        "benchmark": "load",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": commit,
        "machine": describe_machine() | {"load_before": round(load_before, 2)},
        "libraries": read_versions((*SERVER_LIBRARIES, *CLIENT_LIBRARIES)),
        "client": {
            "name": "serving loadtest",
            "most_per_second": round(
                find_max_generator_rate(measurements.rates, scenarios[0]) or 0
            ),
            "priority": read_generator_priority(),
        },
        "peers": {c.name: versions for c in contenders if (versions := read_pinned_versions(c))},
        "bounds_ms": BOUNDS_MS,
        "rounds": rounds,
        "seconds_a_probe": PROBE_SECONDS,
        "connections": CONNECTIONS,
        "timeout_seconds": TIMEOUT_SECONDS,
        "lowest_rate": MIN_RATE,
        "agreement": agreement,
        "results": [
            summarize_scenario(scenario, measurements.rates, measurements.memory_mb)
            for scenario in scenarios
        ],
        "failed": measurements.failures,
        "at": summarize_latency(measurements.latency_at_rate),
    }
    write_report(report, out)
    print_tables(report["results"])


if __name__ == "__main__":
    main()
