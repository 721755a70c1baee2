"""Train one network of ours in a process of its own; see `fit_processes` for job and answer.

With `measure_bundle`, the trained model is exported: the answer then also has the size of the
bundle and the latency of its graph.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.defaults.shared_tables import SharedTable
from serving.bundle import Bundle
from serving.runtime import TIMED_BATCH_SIZES, GraphSession
from trainer.config import Config
from trainer.data.records import Records
from trainer.data.splits import Split, hold_out
from trainer.export.bundle import export_bundle
from trainer.pipeline import TrainingResult, spawn_generators, train_on_split

MODEL_NAME = "network"
ROUNDS, RUNS_PER_ROUND = 30, 20


def run_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """Train as a job says, write the predictions, and return the answer.

    Args:
        job: `table` and `predictions`, paths; `options` of the training by name; `seed`;
            `measure_bundle`.
    """
    shared = SharedTable.read(Path(job["table"]))
    table, seed = shared.to_table(), int(job["seed"])
    config = Config(data=shared.name, seed=seed, **job["options"])
    training_rng, export_rng = spawn_generators(seed)
    started = time.perf_counter()
    train, validation = hold_out(table, shared.train, share=config.validation, seed=seed)
    split = Split(train, validation, shared.test)
    result = train_on_split(table, split, config, training_rng)
    seconds = time.perf_counter() - started
    peak_mb = read_peak_mb()
    answers = result.model.answers(table.records.take(shared.test))
    if shared.task == "regression":
        np.savez(job["predictions"], values=answers["value"][:, 0])
    else:
        np.savez(
            job["predictions"],
            labels=answers["label"].astype(np.int64),
            probabilities=answers["probabilities"],
        )
    answer = {"seconds": seconds, "peak_mb": peak_mb, "epochs": result.summary.epochs_run}
    return answer | (measure_bundle(result, export_rng) if job["measure_bundle"] else {})


def read_peak_mb() -> float:
    """Return the peak memory of this process in MB.

    `getrusage` would count the memory of the process that started this one, too.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure_bundle(result: TrainingResult, rng: np.random.Generator) -> dict[str, Any]:
    """Export a model, and return the size of its bundle and the latency of its graph.

    Args:
        result: Trained model with its data.
        rng: Generator of the export.

    Returns:
        `bundle_bytes` of all files, `graph_bytes`, and `latency_us`, the median time of one run
        by number of rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_bundle(
            result.model,
            result.table,
            result.split,
            result.summary,
            models=Path(folder),
            name=MODEL_NAME,
            rng=rng,
        )
        graph = bundle.read_graph(next(iter(bundle.manifest.variants)))
        records = result.table.records.take(np.resize(result.split.test, max(TIMED_BATCH_SIZES)))
        return {
            "bundle_bytes": measure_folder(bundle),
            "graph_bytes": len(graph),
            "latency_us": time_graph(graph, records),
        }


def measure_folder(bundle: Bundle) -> int:
    """Return the number of bytes of all files of a bundle."""
    return sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())


def time_graph(graph: bytes, records: Records) -> dict[str, float]:
    """Return the median time of a run of a graph in µs, by number of rows.

    Args:
        graph: ONNX graph.
        records: Rows, at least as many as the largest batch.
    """
    session, inputs = GraphSession(graph), records.inputs()
    latencies = {}
    for size in TIMED_BATCH_SIZES:
        rows = {name: array[:size] for name, array in inputs.items()}
        session.run(rows)
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(RUNS_PER_ROUND):
                session.run(rows)
            times.append((time.perf_counter() - start) / RUNS_PER_ROUND * 1e6)
        latencies[str(size)] = round(float(np.median(times)), 1)
    return latencies


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_job(json.load(sys.stdin))) + "\n")
