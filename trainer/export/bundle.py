"""Packaging: a trained model becomes a bundle, or an error and no bundle."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from serving import bundle
from serving.runtime import run_self_test
from trainer.data.splits import Split, class_shares, subsample
from trainer.data.tables import Table
from trainer.evaluate import Evaluation
from trainer.export.bundle_files import write_bundle
from trainer.export.drift_reference import compute_drift_reference
from trainer.export.exported_graph import ExportedGraph, latency, sha256
from trainer.export.manifest_columns import describe_columns, example
from trainer.export.parity import ParityError
from trainer.export.self_test import golden_selftest, synthetic_records
from trainer.model import Model

LIBRARIES = ("forwardpass", "numpy", "onnx", "onnxruntime", "scikit-learn")
STATISTICS = 100_000  # training rows that ranges and histograms come from, at most


def export_bundle(
    model: Model,
    table: Table,
    parts: Split,
    training: bundle.TrainingSummary,
    *,
    baselines: Mapping[str, bundle.Baseline] | None = None,
    aim: str | None = None,
    aim_unmet: str | None = None,
    unseen: Literal["refuse", "unknown"] = "unknown",
    refuse_gaps: bool = False,
    models: Path,
    name: str,
    stage: bool = False,
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
        aim_unmet: Reason why no threshold meets the aim; None if one does.
        unseen: what a text is that is none of a category's.
        refuse_gaps: whether a record with a gap is refused even where it could be filled.
        models: the repository to write to.
        name: the model's name there.
        stage: Whether to write a staged version, which no server takes up.
        rng: where golden inputs, parity rows and resamples are drawn from.

    Raises:
        ParityError: the graph does not answer as NumPy does, or the bundle does not prove itself;
            no version is left behind.
    """
    known = table.records.take(subsample(parts.train, STATISTICS))
    graph = ExportedGraph.build(model, table, parts, synthetic_records(model, rng))
    variant = graph.described("model.onnx", latency(graph, table, parts))
    metrics = {
        "validation": Evaluation.from_model(model, table, parts.validation).compute_metrics(),
        "test": variant.metrics,
    }
    intervals = graph.test_evaluation.compute_intervals(rng)
    files = {
        bundle.SELFTEST_FILE: golden_selftest({"fp32": model}, rng).to_bytes(),
        bundle.REFERENCE_FILE: json.dumps(compute_drift_reference(model, known)).encode(),
    }

    def manifest(number: int) -> bundle.Manifest:
        return bundle.Manifest(
            schema_version=bundle.SCHEMA_VERSION,
            name=name,
            version=number,
            created=_now(),
            task=model.task,
            inputs=describe_columns(
                model.encoder,
                known,
                unseen=unseen,
                refuse_gaps=refuse_gaps,
                gaps=table.gaps,
                has_nulls=table.has_nulls,
            ),
            classes=None if model.classes is None else model.classes.tolist(),
            class_shares=None if model.classes is None else class_shares(table, parts.train),
            positive=model.positive_class,
            threshold=model.threshold if model.task == "binary" else None,
            aim=aim,
            aim_unmet=aim_unmet,
            temperature=model.temperature,
            logit_bias=None if model.logit_bias is None else model.logit_bias.tolist(),
            example=example(known),
            parameters=model.network.n_parameters,
            metrics=metrics,
            intervals=intervals,
            baselines=dict(baselines or {}),
            variants={"fp32": variant},
            files=_sums(files),
            data=_data(table, parts),
            training=training,
            libraries=_libraries(),
        )

    path = write_bundle(
        models,
        name,
        {variant.file: graph.content, **files},
        manifest,
        check=_require_proof,
        stage=stage,
    )
    return bundle.Bundle.open(path)


def export_variants(
    dense: bundle.Bundle,
    references: Mapping[str, Model],
    graphs: Mapping[str, ExportedGraph],
    compression: bundle.CompressionSummary,
    *,
    stage: bool = False,
    rng: np.random.Generator,
) -> bundle.Bundle:
    """Write the next version of a model: what it was, with more variants.

    Args:
        dense: the bundle that was compressed.
        references: the model of each variant, the dense one first.
        graphs: of each of them.
        compression: what was tried, for the manifest; says how fast each of them is.
        stage: Whether to write a staged version, which no server takes up.
        rng: where golden inputs are drawn from.

    Raises:
        ParityError: the bundle does not prove itself; no version is left behind.
    """
    times = {c.name: c.latency_us for c in compression.tried if c.kept}
    variants = {
        name: graph.described("model.onnx" if name == "fp32" else f"model.{name}.onnx", times[name])
        for name, graph in graphs.items()
    }
    files = {
        bundle.SELFTEST_FILE: golden_selftest(references, rng).to_bytes(),
        bundle.REFERENCE_FILE: dense.read_file(bundle.REFERENCE_FILE),
    }

    def manifest(number: int) -> bundle.Manifest:
        changed = {
            "version": number,
            "created": _now(),
            "variants": variants,
            "compression": compression,
            "files": _sums(files),
            "libraries": _libraries(),
        }
        return dense.manifest.model_copy(update=changed)

    contents = {variants[name].file: graph.content for name, graph in graphs.items()}
    path = write_bundle(
        dense.path.parent.parent,
        dense.manifest.name,
        {**contents, **files},
        manifest,
        check=_require_proof,
        stage=stage,
    )
    return bundle.Bundle.open(path)


def _require_proof(built: bundle.Bundle) -> None:
    """What a server would refuse to serve must not become a version."""
    for variant in built.manifest.variants:
        proof = run_self_test(built, variant)
        if not proof.passed:
            raise ParityError(
                f"expected a bundle that proves itself; {proof.failure}; this is a fault of the "
                f"export: report it"
            )


def _data(table: Table, parts: Split) -> bundle.TrainingData:
    return bundle.TrainingData(
        source=table.source,
        fingerprint=table.fingerprint(),
        target=list(table.target_names),
        rows={
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _libraries() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def _sums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {file: sha256(content) for file, content in files.items()}
