"""Measure what compression saves and what it costs: size, speed and test metric of each variant.

Trains and compresses networks with the commands of docs/compression.md: two networks at a time,
each in a process of its own, on one thread. For each variant of fewer bits it

- compares ONNX Runtime with the NumPy reference in integers, row by row;
- runs the same rows alone, in batches of 7 and 256, and in batches with outliers a thousand times
  as large.

When all variants exist and nothing else runs, all graphs of a network are timed on one thread in
turn, round after round. Reported are medians and quartiles of the ratios within a round.

    python -m benchmarks.training.compression [--only lenet]
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.machine import (
    RESULTS,
    describe_commit,
    describe_machine,
    read_versions,
    write_report,
)
from benchmarks.training.real_tables import read_commands
from benchmarks.training.variant_parity import measure_parity
from serving.bundle import Arrays, Bundle
from serving.runtime import TIMED_BATCH_SIZES, GraphSession
from trainer.cli.options import configure
from trainer.compress.compression_config import CompressionConfig
from trainer.compress.load_trained import FP32
from trainer.compress.run import CompressionResult, compress
from trainer.config import Config
from trainer.data.records import Records
from trainer.data.sources import load_table
from trainer.data.splits import split_table
from trainer.pipeline import fit

PAGE, HEADING = "docs/compression.md", "`make bench-compress` runs these"
ROUNDS, RUNS_PER_ROUND = 40, 20
PARITY_ROWS, TIMED_ROWS = 10_000, max(TIMED_BATCH_SIZES)
MAX_PARALLEL_NETWORKS = 2
SLOWEST_NETWORK = "wide"  # started first
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
PACKAGES = ("numpy", "onnxruntime")


@dataclass(frozen=True)
class CompressedNetwork:
    """The result of one command.

    Attributes:
        title: Network, command and its duration.
        result: Entry in the results, without the speed.
        bundle: Folder of the compressed version; None if no variant was kept.
        config: Options of the network's training.
    """

    title: str
    result: dict[str, Any]
    bundle: Path | None
    config: Config


def parse_options(arguments: list[str]) -> dict[str, str]:
    """Return the `--name value` pairs of a command; the value of a flag is `true`."""
    options: dict[str, str] = {}
    for position, word in enumerate(arguments):
        if word.startswith("--"):
            value = arguments[position + 1 : position + 2]
            is_flag = not value or value[0].startswith("--")
            options[word[2:].replace("-", "_")] = "true" if is_flag else value[0]
    return options


def group_commands(only: tuple[str, ...]) -> dict[str, list[list[str]]]:
    """Return the page's commands by network, for some networks or all."""
    networks: dict[str, list[list[str]]] = {}
    for command in read_commands(PAGE, HEADING):
        verb, subject, *arguments = command
        fitted_name = parse_options(arguments).get("name", subject)
        name = Path(subject).name if verb == "compress" else fitted_name
        if not only or name in only:
            networks.setdefault(name, []).append(command)
    return networks


def compress_networks(only: tuple[str, ...], models: Path) -> list[CompressedNetwork]:
    """Train and compress networks in parallel, and return the results in the page's order.

    Args:
        only: Names of the networks; empty for all.
        models: Model repository.
    """
    # Inherited by the processes, which would otherwise use more threads than there are cores.
    os.environ |= dict.fromkeys(THREAD_VARIABLES, "1")
    networks = group_commands(only)
    start_order = sorted(networks, key=lambda name: name != SLOWEST_NETWORK)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(MAX_PARALLEL_NETWORKS, mp_context=context) as pool:
        futures = {
            pool.submit(compress_network, name, networks[name], models): name
            for name in start_order
        }
        compressed = {}
        for future in as_completed(futures):
            compressed[futures[future]] = future.result()
            click.echo(f"compressed {futures[future]}", err=True)
    return [network for name in networks for network in compressed[name]]


def compress_network(name: str, commands: list[list[str]], models: Path) -> list[CompressedNetwork]:
    """Train a network, and compress it with each of its other commands; runs in its own process.

    Args:
        name: Name of the network.
        commands: Commands of the network; the first one trains it.
        models: Model repository.
    """
    (_, data, *arguments), *compressions = commands
    options = parse_options(arguments) | {"models": str(models), "skip_baselines": "true"}
    config = configure(None, {"data": data, **options})
    bundle = fit(config)[0]
    networks = []
    for command in compressions:
        started = time.perf_counter()
        compression_config = CompressionConfig.model_validate(parse_options(command[2:]))
        done = compress(bundle, compression_config, on_trial=lambda _: None)
        seconds = round(time.perf_counter() - started)
        title = f"{name}: trainer {shlex.join(command)} ({seconds} s)"
        result = measure_variants(done, load_test_rows(config, PARITY_ROWS))
        path = done.bundle.path if done.bundle is not None else None
        networks.append(CompressedNetwork(title, result | {"seconds": seconds}, path, config))
    return networks


def load_test_rows(config: Config, count: int) -> Records:
    """Load held-out rows of a training, repeated if there are fewer than `count`."""
    table = load_table(config.data, config.get_read_options())
    test = split_table(table, validation=config.validation, test=config.test, seed=config.seed).test
    return table.records.take(np.resize(test, count))


def measure_variants(done: CompressionResult, records: Records) -> dict[str, Any]:
    """Return the entry of a compressed bundle in the results, without the speed.

    Args:
        done: Result of the compression.
        records: Held-out rows.
    """
    bundle = done.bundle
    if bundle is None:
        return {"kept": False, "tried": [c.model_dump() for c in done.compression.tried]}
    variants = bundle.manifest.variants
    metric = done.compression.metric
    candidates = {c.name: c for c in done.compression.tried if c.kept}
    return {
        "metric": metric,
        "max_drop": done.compression.max_drop,
        "variants": {
            name: {
                "bytes": variant.size_bytes,
                "smaller": round(variants[FP32].size_bytes / variant.size_bytes, 2),
                "layers": "-".join(map(str, (candidates[name].inputs, *candidates[name].hidden))),
                "test": round(variant.metrics[metric], 5),
                "lost": None if (loss := candidates[name].tested) is None else loss.model_dump(),
                "parity": (
                    measure_parity(bundle.read_graph(name), done.references[name], records)
                    if variant.bits < 32
                    else None
                ),
            }
            for name, variant in variants.items()
        },
    }


def add_speeds(networks: list[CompressedNetwork]) -> None:
    """Time all variants, and add their speed to the results; nothing else may run meanwhile."""
    for network in networks:
        if network.bundle is None:
            continue
        bundle = Bundle.open(network.bundle)
        graphs = {name: bundle.read_graph(name) for name in bundle.manifest.variants}
        speeds = time_graphs(graphs, load_test_rows(network.config, TIMED_ROWS).inputs())
        for name, variant in network.result["variants"].items():
            variant["speed"] = speeds[name]


def time_graphs(
    graphs: Mapping[str, bytes], inputs: Arrays
) -> dict[str, dict[str, dict[str, float]]]:
    """Time graphs in turn.

    Args:
        graphs: ONNX graphs by variant, the dense one included.
        inputs: Input arrays of at least the largest batch.

    Returns:
        The median time in µs and quartiles of the speed as a multiple of the dense graph's, by
        variant and batch size.
    """
    sessions = {name: GraphSession(content) for name, content in graphs.items()}
    speeds: dict[str, dict[str, dict[str, float]]] = {name: {} for name in graphs}
    for size in TIMED_BATCH_SIZES:
        rows = {name: array[:size] for name, array in inputs.items()}
        rounds: dict[str, list[float]] = {name: [] for name in graphs}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                session.run(rows)  # not timed: the caches are full of another graph's weights
                start = time.perf_counter()
                for _ in range(RUNS_PER_ROUND):
                    session.run(rows)
                rounds[name].append((time.perf_counter() - start) / RUNS_PER_ROUND * 1e6)
        for name, times in rounds.items():
            ratios = np.array(rounds[FP32]) / times
            low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75]).round(2).tolist()
            speeds[name][str(size)] = {
                "us": round(float(np.median(times)), 1),
                "faster": median,
                "from": low,
                "to": high,
            }
    return speeds


def print_result(title: str, result: Mapping[str, Any]) -> None:
    """Print a few lines about each variant of a network."""
    click.echo(f"\n{title}")
    for name, v in result.get("variants", {}).items():
        click.echo(
            f"  {name}: {v['layers']}, {v['bytes']:,} bytes, {v['smaller']:.1f} x smaller, "
            f"{result['metric']} {v['test']:.4f} on the test rows"
        )
        if v["lost"] is not None:
            low, high = v["lost"]["interval"]
            click.echo(f"    lost {v['lost']['drop']:.4f}, 95 % {low:.4f} to {high:.4f}")
        speeds = (
            f"{size}: {s['us']:g} µs, {s['faster']:.2f} x ({s['from']:.2f}–{s['to']:.2f})"
            for size, s in v["speed"].items()
        )
        click.echo(f"    rows {'; '.join(speeds)}")
        if v["parity"] is not None:
            figures = {key: value for key, value in v["parity"].items() if key != "by_batch"}
            click.echo(f"    compared with NumPy in integers: {_format_figures(figures)}")
            click.echo(f"    alone and in batches: {_format_figures(v['parity']['by_batch'])}")


def _format_figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in figures.items())


@click.command(help=__doc__)
@click.option(
    "--only",
    multiple=True,
    help="Name of a network to compress; may be repeated. Nothing is written then.  [default: all]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=RESULTS / "compress.json",
    help="File to write the results to  [default: benchmarks/results/compress.json]",
)
def main(only: tuple[str, ...], out: Path) -> None:
    """Train, compress, measure, print and write the results."""
    started, commit = datetime.now(UTC), describe_commit()
    with tempfile.TemporaryDirectory() as folder:
        networks = compress_networks(only, Path(folder))
        add_speeds(networks)
    for network in networks:
        print_result(network.title, network.result)
    if only:
        return
    report = {
        "benchmark": "compress",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": commit,
        "machine": describe_machine(),
        "libraries": read_versions(PACKAGES),
        "rounds": ROUNDS,
        "runs_a_round": RUNS_PER_ROUND,
        "results": {network.title: network.result for network in networks},
    }
    write_report(report, out)


if __name__ == "__main__":
    main()
