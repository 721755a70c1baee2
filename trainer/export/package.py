"""Packaging: a trained model becomes a bundle, or an error and no bundle."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from serving import bundle
from serving.runtime import TIMED_ROWS, Session, prove, race
from trainer.data.records import Records
from trainer.data.splits import Split, some
from trainer.data.tables import Table
from trainer.evaluate import Judgement
from trainer.export.columns import describe_columns, example
from trainer.export.golden import golden_selftest, synthetic_records
from trainer.export.graph import build_graph
from trainer.export.parity import ParityError, check_parity
from trainer.export.reference import drift_reference
from trainer.export.write import write_bundle
from trainer.model import Model

LIBRARIES = ("forwardpass", "numpy", "onnx", "onnxruntime", "scikit-learn")
COMPARED = 20_000  # held-out rows on which parity is checked, at most
STATISTICS = 100_000  # training rows that ranges and histograms come from, at most


def export_bundle(
    model: Model,
    table: Table,
    parts: Split,
    training: bundle.Training,
    *,
    baselines: Mapping[str, bundle.Baseline] | None = None,
    aim: str | None = None,
    unseen: Literal["refuse", "unknown"] = "unknown",
    refuse_gaps: bool = False,
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
        aim: what its threshold was chosen for.
        unseen: what a text is that is none of a category's.
        refuse_gaps: whether a record with a gap is refused even where it could be filled.
        models: the repository to write to.
        name: the model's name there.
        rng: where golden inputs, parity rows and resamples are drawn from.

    Raises:
        ParityError: the graph does not answer as NumPy does, or the bundle does not prove itself;
            no version is left behind.
    """
    graph = build_graph(model)
    session = Session(graph)
    known = table.records.take(some(parts.train, STATISTICS))
    held_out = table.records.take(some(parts.test, COMPARED))
    tested = Judgement.of(model, table, parts.test)
    metrics = {
        "validation": Judgement.of(model, table, parts.validation).metrics(),
        "test": tested.metrics(),
    }
    variant = bundle.Variant(
        file="model.onnx",
        sha256=_sha256(graph),
        size_bytes=len(graph),
        metrics=metrics["test"],
        parity=check_parity(model, session, held_out, synthetic_records(model, rng)),
        latency_us=_latency(session, held_out),
    )
    intervals = tested.intervals(rng)
    files = {
        bundle.SELFTEST: golden_selftest(model, "fp32", rng).to_bytes(),
        bundle.REFERENCE: json.dumps(drift_reference(model, known)).encode(),
    }

    def manifest(number: int) -> bundle.Manifest:
        return bundle.Manifest(
            schema_version=bundle.SCHEMA_VERSION,
            name=name,
            version=number,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            task=model.task,
            inputs=describe_columns(model.encoder, known, unseen=unseen, refuse_gaps=refuse_gaps),
            classes=None if model.classes is None else model.classes.tolist(),
            threshold=model.threshold if model.task == "binary" else None,
            aim=aim,
            temperature=model.temperature,
            example=example(known),
            parameters=model.network.n_parameters,
            metrics=metrics,
            intervals=intervals,
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


def _latency(session: Session, records: Records) -> dict[str, float]:
    """Median µs of one run, by batch size."""
    inputs = records.take(slice(max(TIMED_ROWS))).inputs()
    return {str(size): found for size, found in race({"it": session}, inputs)["it"].items()}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
