"""What compression saves and what it costs: size, speed and held-out metric of each variant.

Trains the networks of the README's section on compression as its commands say, and compresses them
as its commands say: two networks at once, each in a process of its own, on one thread. There it

- compares ONNX Runtime with the NumPy reference in whole numbers, row by row;
- asks for the same rows alone, in sevens, in batches of 256, and beside batch-mates a thousand
  times as large.

When all are made and nothing else runs, all graphs of a network are timed on one thread in turns,
round after round, for the medians of the rounds' ratios.

    python benchmarks/training/compression.py [--only lenet]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.training.real_tables import commands
from benchmarks.training.steps_per_second import ROOT, commit, machine
from serving.bundle import Arrays, Bundle
from serving.runtime import TIMED_BATCH_SIZES, GraphSession, run_in_slices
from trainer.cli.options import configure
from trainer.compress.compression_config import CompressionConfig
from trainer.compress.load_trained import DENSE
from trainer.compress.run import CompressionResult, compress
from trainer.config import Config
from trainer.data.records import Records
from trainer.data.sources import load_table
from trainer.data.splits import split_table
from trainer.pipeline import fit

ROUNDS, RUNS = 40, 20  # turns, and runs in each
COMPARED = 10_000  # rows
RACED = max(TIMED_BATCH_SIZES)
AT_ONCE, SLOWEST = 2, "wide"  # networks in the making, and the one to begin with
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
OUTLIERS = 1000.0  # times as large


def options(arguments: list[str]) -> dict[str, str]:
    """`--name value` pairs as a command has them; a flag is true."""
    found: dict[str, str] = {}
    for place, word in enumerate(arguments):
        if word.startswith("--"):
            following = arguments[place + 1 : place + 2]
            flag = not following or following[0].startswith("--")
            found[word[2:].replace("-", "_")] = "true" if flag else following[0]
    return found


def rows_of(config: Config, count: int) -> Records:
    """Held-out rows, the same ones again and again where there are few."""
    table = load_table(config.data, config.reading())
    test = split_table(table, validation=config.validation, test=config.test, seed=config.seed).test
    return table.records.take(np.resize(test, count))


def race(graphs: dict[str, bytes], inputs: Arrays) -> dict[str, dict[str, dict[str, float]]]:
    """Of each graph and batch size: µs, and how many times as fast as the dense one."""
    sessions = {name: GraphSession(content) for name, content in graphs.items()}
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in graphs}
    for size in TIMED_BATCH_SIZES:
        rows = {name: array[:size] for name, array in inputs.items()}
        rounds: dict[str, list[float]] = {name: [] for name in graphs}
        for _ in range(ROUNDS):
            for name, session in sessions.items():
                session.run(rows)  # finds the caches full of another's weights
                start = time.perf_counter()
                for _ in range(RUNS):
                    session.run(rows)
                rounds[name].append((time.perf_counter() - start) / RUNS * 1e6)
        for name, times in rounds.items():
            ratios = np.array(rounds[DENSE]) / times
            low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).round(2).tolist()
            found[name][str(size)] = {
                "us": round(float(np.median(times)), 1),
                "faster": middle,
                "from": low,
                "to": high,
            }
    return found


def parity(done: CompressionResult, name: str, records: Records) -> dict[str, float]:
    """ONNX Runtime against the NumPy reference of a variant."""
    bundle = done.bundle
    if bundle is None:
        raise click.ClickException("expected a compressed bundle; got none")
    session = GraphSession(bundle.read_graph(name))
    inputs = records.inputs()
    got, expected = run_in_slices(session, inputs, 256), done.references[name].answers(records)
    output = "value" if "value" in expected else "probabilities"
    difference = np.abs(got[output].astype(np.float64) - expected[output])
    found = {
        "rows": len(records),
        "max_abs": float(difference.max()),
        "of_spread": float(difference.max() / np.ptp(expected[output].astype(np.float64))),
        "exact_rows": float(
            (difference.max(axis=1) <= 1e-6 * np.abs(expected[output]).max()).mean()
        ),
    }
    if "label" in expected:
        found["labels_alike"] = float((got["label"] == expected["label"]).mean())
    return found | {"by_batch": by_batch(session, inputs, output)}


def by_batch(session: GraphSession, inputs: Arrays, output: str) -> dict[str, float]:
    """How far answers move with the batch: each row alone, in 7s, in 256s, beside outliers."""
    alone = run_in_slices(session, inputs, 1)
    found = {"7": run_in_slices(session, inputs, 7), "256": run_in_slices(session, inputs, 256)}
    numbers = {name: a for name, a in inputs.items() if a.dtype.kind == "f"}
    mixed = {name: np.repeat(a, 2, axis=0) for name, a in inputs.items()}
    for name in numbers:
        mixed[name][1::2] *= np.asarray(OUTLIERS, mixed[name].dtype)
    beside = run_in_slices(session, mixed, 256)
    found["outliers"] = {name: array[::2] for name, array in beside.items()}
    moved = {
        name: float(np.abs(answers[output].astype(np.float64) - alone[output]).max())
        for name, answers in found.items()
    }
    if "label" in alone:
        moved["labels_alike"] = float(
            np.mean([(answers["label"] == alone["label"]).mean() for answers in found.values()])
        )
    return moved


def measured(done: CompressionResult, records: Records) -> dict[str, Any]:
    """All there is to say of a compressed bundle but its speed."""
    bundle = done.bundle
    if bundle is None:
        return {"kept": False, "tried": [c.model_dump() for c in done.compression.tried]}
    variants = bundle.manifest.variants
    metric = done.compression.metric
    kept = {c.name: c for c in done.compression.tried if c.kept}
    return {
        "metric": metric,
        "max_drop": done.compression.max_drop,
        "variants": {
            name: {
                "bytes": variant.size_bytes,
                "smaller": round(variants[DENSE].size_bytes / variant.size_bytes, 2),
                "layers": "-".join(map(str, (kept[name].inputs, *kept[name].hidden))),
                "test": round(variant.metrics[metric], 5),
                "lost": None if (lost := kept[name].tested) is None else lost.model_dump(),
                "parity": parity(done, name, records) if variant.bits < 32 else None,
            }
            for name, variant in variants.items()
        },
    }


@dataclass(frozen=True)
class Made:
    """What came of one command.

    Attributes:
        title: the network, the command, how long it took.
        result: all there is to say but speed.
        bundle: the folder of the compressed version; None where there is none.
        config: of the network's training.
    """

    title: str
    result: dict[str, Any]
    bundle: Path | None
    config: Config


def by_network(only: tuple[str, ...]) -> dict[str, list[list[str]]]:
    """The README's commands, of each network its own."""
    found: dict[str, list[list[str]]] = {}
    for command in commands("`make bench-compress` runs these"):
        verb, subject, *arguments = command
        fitted = options(arguments).get("name", subject)
        name = Path(subject).name if verb == "compress" else fitted
        if not only or name in only:
            found.setdefault(name, []).append(command)
    return found


def make(name: str, network: list[list[str]], models: Path) -> list[Made]:
    """Train a network, compress it as often as is said, and compare; in a process of its own.

    Args:
        name: of the network.
        network: its commands, the first of which trains it.
        models: the repository.
    """
    (_, subject, *arguments), *compressions = network
    chosen = options(arguments) | {"models": models, "skip_baselines": "true"}
    config = configure(None, {"data": subject, **chosen})
    bundle = fit(config)[0]
    found = []
    for command in compressions:
        started = time.perf_counter()
        goal = CompressionConfig.model_validate(options(command[2:]))
        done = compress(bundle, goal, tell=lambda _: None)
        seconds = round(time.perf_counter() - started)
        title = f"{name}: trainer {shlex.join(command)} ({seconds} s)"
        result = measured(done, rows_of(config, COMPARED)) | {"seconds": seconds}
        found.append(Made(title, result, done.bundle and done.bundle.path, config))
    return found


def all_made(only: tuple[str, ...], models: Path) -> list[Made]:
    """What came of all commands, in their order; the networks that take longest begin first."""
    # Inherited by the processes: on more threads they would wait for each other's.
    os.environ |= dict.fromkeys(THREADS, "1")
    networks = by_network(only)
    begin = sorted(networks, key=lambda name: name != SLOWEST)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(AT_ONCE, mp_context=fresh) as pool:
        making = {pool.submit(make, name, networks[name], models): name for name in begin}
        made = {}
        for one in as_completed(making):
            made[making[one]] = one.result()
            click.echo(f"made {making[one]}", err=True)
    return [one for name in networks for one in made[name]]


def time_all(made: list[Made]) -> None:
    """Add its speed to each variant, alone on the machine."""
    for one in made:
        if one.bundle is None:
            continue
        bundle = Bundle.open(one.bundle)
        graphs = {name: bundle.read_graph(name) for name in bundle.manifest.variants}
        speed = race(graphs, rows_of(one.config, RACED).inputs())
        for name, variant in one.result["variants"].items():
            variant["speed"] = speed[name]


def show(title: str, result: dict) -> None:
    """A few lines for each variant."""
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
            found = {key: value for key, value in v["parity"].items() if key != "by_batch"}
            click.echo(f"    against NumPy in whole numbers {shown(found)}")
            click.echo(f"    alone and in batches {shown(v['parity']['by_batch'])}")


def shown(figures: dict[str, float]) -> str:
    """Names and figures."""
    return ", ".join(f"{name} {value:.6g}" for name, value in figures.items())


@click.command()
@click.option("--only", multiple=True, help="names of networks  [default: all]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=ROOT / "benchmarks" / "results" / "compress.json",
)
def main(only: tuple[str, ...], out: Path) -> None:
    """Train, compress, measure, print, write."""
    started, sources = datetime.now(UTC), commit()
    with tempfile.TemporaryDirectory() as folder:
        made = all_made(only, Path(folder))
        time_all(made)
    for one in made:
        show(one.title, one.result)
    if only:
        return
    report = {
        "benchmark": "compress",
        "when": started.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - started).total_seconds() / 60, 1),
        "commit": sources,
        "machine": machine(),
        "libraries": {name: version(name) for name in ("numpy", "onnxruntime")},
        "rounds": ROUNDS,
        "runs_a_round": RUNS,
        "results": {one.title: one.result for one in made},
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
