"""Packaging: a trained model becomes a bundle, or an error and no bundle."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving import bundle
from serving.runtime import Session, prove
from trainer.data.splits import Split
from trainer.data.tables import Table
from trainer.evaluate import evaluate
from trainer.export.golden import golden_selftest, synthetic_rows
from trainer.export.graph import build_graph
from trainer.export.parity import ParityError, check_parity
from trainer.export.reference import drift_reference
from trainer.export.write import write_bundle
from trainer.model import Model

LIBRARIES = ("forwardpass", "numpy", "onnx", "onnxruntime", "scikit-learn")
TIMED_BATCHES = (1, 8, 64, 256)
TIMED_RUNS = 200


def export_bundle(
    model: Model,
    table: Table,
    parts: Split,
    training: bundle.Training,
    *,
    baselines: Mapping[str, bundle.Baseline] | None = None,
    models: Path,
    name: str,
    rng: np.random.Generator,
) -> bundle.Bundle:
    """Build the graph, check its parity, judge the model, write the bundle.

    Args:
        model: trained.
        table: what it was trained on.
        parts: which rows of it served for what.
        training: how it was trained, for the manifest.
        baselines: what simpler models made of the same rows, for the manifest.
        models: the repository to write to.
        name: the model's name there.
        rng: where golden inputs and parity rows are drawn from.

    Raises:
        ParityError: the graph does not answer as NumPy does, or the bundle does not prove itself;
            no version is left behind.
    """
    graph = build_graph(model)
    session = Session(graph)
    held_out = table.features[parts.test]
    known = table.features[parts.train]
    metrics = {
        "validation": evaluate(model, table, parts.validation),
        "test": evaluate(model, table, parts.test),
    }
    variant = bundle.Variant(
        file="model.onnx",
        sha256=_sha256(graph),
        size_bytes=len(graph),
        metrics=metrics["test"],
        parity=check_parity(model, session, held_out, synthetic_rows(model, rng)),
        latency_us=_latency(session, held_out),
    )
    files = {
        bundle.SELFTEST: golden_selftest(model, "fp32", rng).to_bytes(),
        bundle.REFERENCE: json.dumps(drift_reference(model, table.feature_names, known)).encode(),
    }

    def manifest(number: int) -> bundle.Manifest:
        return bundle.Manifest(
            schema_version=bundle.SCHEMA_VERSION,
            name=name,
            version=number,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            task=model.task,
            inputs=_inputs(table.feature_names, known),
            classes=None if model.classes is None else model.classes.tolist(),
            threshold=model.threshold if model.task == "binary" else None,
            parameters=model.network.n_parameters,
            metrics=metrics,
            baselines=dict(baselines or {}),
            variants={"fp32": variant},
            files={file: _sha256(content) for file, content in files.items()},
            data=_data(table, parts),
            training=training,
            libraries={
                "python": platform.python_version(),
                **{library: version(library) for library in LIBRARIES},
            },
        )

    path = write_bundle(
        models, name, {variant.file: graph, **files}, manifest, check=_require_proof
    )
    return bundle.Bundle.open(path)


def _require_proof(built: bundle.Bundle) -> None:
    """What a server would refuse to serve must not become a version."""
    for variant in built.manifest.variants:
        proof = prove(built, variant)
        if not proof.passed:
            raise ParityError(
                f"expected a bundle that proves itself; {proof.reason}; this is a fault of the "
                f"export: report it"
            )


def _data(table: Table, parts: Split) -> bundle.Data:
    return bundle.Data(
        source=table.source,
        fingerprint=table.fingerprint(),
        target=list(table.target_names),
        rows={
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
    )


def _inputs(names: tuple[str, ...], known: NDArray[np.float32]) -> list[bundle.Number]:
    lows, highs = known.min(axis=0).tolist(), known.max(axis=0).tolist()
    return [
        bundle.Number(name=name, type="number", minimum=low, maximum=high, missing="refuse")
        for name, low, high in zip(names, lows, highs, strict=True)
    ]


def _latency(session: Session, rows: NDArray[np.float32]) -> dict[str, float]:
    """Median µs of one run, by batch size."""
    found = {}
    for size in TIMED_BATCHES:
        inputs = {"features": np.resize(rows, (size, rows.shape[1]))}
        times = []
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            session.run(inputs)
            times.append(time.perf_counter() - start)
        found[str(size)] = round(float(np.median(times)) * 1e6, 1)
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
