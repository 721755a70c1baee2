"""The export of a trained model as a bundle, which is written only if it is proven to be right."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from serving import bundle
from serving.runtime import run_self_test
from trainer.data.splits import Split, class_shares, subsample
from trainer.data.tables import Table
from trainer.evaluate import Evaluation
from trainer.export.bundle_files import write_bundle
from trainer.export.drift_reference import compute_drift_reference
from trainer.export.exported_graph import ExportedGraph, compute_sha256, measure_latency
from trainer.export.manifest_columns import create_example_record, describe_columns
from trainer.export.parity import ParityError
from trainer.export.self_test import create_self_test, create_synthetic_records
from trainer.model import Model

LIBRARIES = ("forwardpass", "numpy", "onnx", "onnxruntime", "scikit-learn")
MAX_STATISTICS_ROWS = 100_000  # training rows that ranges and histograms are computed from


def export_bundle(
    model: Model,
    table: Table,
    split: Split,
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
    """Build the graph, check its parity, evaluate the model and write the bundle.

    Args:
        model: The trained model.
        table: The table that it was trained on.
        split: Rows of the table for training, validation and test.
        training: Summary of the training, for the manifest.
        baselines: Baselines on the same rows by name, for the manifest.
        aim: Objective that the threshold was chosen for.
        aim_unmet: Reason why no threshold meets the objective; None if one does.
        unseen: Policy for texts that are not a category of their column.
        refuse_gaps: Whether missing values are refused even where they could be imputed.
        models: Folder of the repository to write to.
        name: Name of the model in the repository.
        stage: Whether to write a staged version, which servers ignore.
        rng: Random generator of the self-test, of the records for parity and of the resamples.

    Raises:
        ParityError: If the graph does not answer as NumPy, or the bundle fails its self-test. No
            version is written.
    """
    statistics = table.records.take(subsample(split.train, MAX_STATISTICS_ROWS))
    graph = ExportedGraph.build(model, table, split, create_synthetic_records(model, rng))
    variant = graph.describe_variant("model.onnx", measure_latency(graph, table, split))
    validation = Evaluation.from_model(model, table, split.validation)
    intervals = graph.test_evaluation.compute_intervals(rng)
    self_test = create_self_test({"fp32": model}, rng)
    reference = compute_drift_reference(model, statistics)
    files = {
        bundle.SELFTEST_FILE: self_test.to_bytes(),
        bundle.REFERENCE_FILE: json.dumps(reference).encode(),
    }
    columns = describe_columns(
        model.encoder,
        statistics,
        unseen=unseen,
        refuse_gaps=refuse_gaps,
        gaps=table.gaps,
        has_nulls=table.has_nulls,
    )

    def create_manifest(number: int) -> bundle.Manifest:
        return bundle.Manifest(
            schema_version=bundle.SCHEMA_VERSION,
            name=name,
            version=number,
            created=_format_now(),
            inputs=columns,
            aim=aim,
            aim_unmet=aim_unmet,
            example=create_example_record(statistics),
            metrics={"validation": validation.compute_metrics(), "test": variant.metrics},
            intervals=intervals,
            baselines=dict(baselines or {}),
            variants={"fp32": variant},
            files=_compute_checksums(files),
            data=_describe_data(table, split),
            training=training,
            libraries=_list_library_versions(),
            **_describe_model(model, table, split),
        )

    path = write_bundle(
        models,
        name,
        {variant.file: graph.content, **files},
        create_manifest,
        check=_require_self_test,
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
    """Write the next version of a model: the same with more variants.

    Args:
        dense: The bundle that was compressed.
        references: NumPy model of each variant by name, the dense one first.
        graphs: Exported graph of each variant, by name.
        compression: Summary of the compression, with the latency of each variant.
        stage: Whether to write a staged version, which servers ignore.
        rng: Random generator of the self-test.

    Raises:
        ParityError: If the bundle fails its self-test. No version is written.
    """
    latencies = {c.name: c.latency_us for c in compression.tried if c.kept}
    variants = {
        name: graph.describe_variant(
            "model.onnx" if name == "fp32" else f"model.{name}.onnx", latencies[name]
        )
        for name, graph in graphs.items()
    }
    files = {
        bundle.SELFTEST_FILE: create_self_test(references, rng).to_bytes(),
        bundle.REFERENCE_FILE: dense.read_file(bundle.REFERENCE_FILE),
    }

    def create_manifest(number: int) -> bundle.Manifest:
        changes = {
            "version": number,
            "created": _format_now(),
            "variants": variants,
            "compression": compression,
            "files": _compute_checksums(files),
            "libraries": _list_library_versions(),
        }
        return dense.manifest.model_copy(update=changes)

    contents = {variants[name].file: graph.content for name, graph in graphs.items()}
    path = write_bundle(
        dense.path.parent.parent,
        dense.manifest.name,
        {**contents, **files},
        create_manifest,
        check=_require_self_test,
        stage=stage,
    )
    return bundle.Bundle.open(path)


def _require_self_test(written: bundle.Bundle) -> None:
    """Run the self-test of every variant, as a server does before it serves a version.

    Raises:
        ParityError: If a variant fails.
    """
    for variant in written.manifest.variants:
        result = run_self_test(written, variant)
        if not result.passed:
            raise ParityError(
                f"expected a bundle that passes its self-test; {result.failure}; this is a fault "
                f"of the export: report it"
            )


def _describe_model(model: Model, table: Table, split: Split) -> dict[str, Any]:
    """Return the fields of the manifest that follow from the model."""
    classes, logit_bias = model.classes, model.logit_bias
    return {
        "task": model.task,
        "classes": None if classes is None else classes.tolist(),
        "class_shares": None if classes is None else class_shares(table, split.train),
        "positive": model.positive_class,
        "threshold": model.threshold if model.task == "binary" else None,
        "temperature": model.temperature,
        "logit_bias": None if logit_bias is None else logit_bias.tolist(),
        "parameters": model.network.n_parameters,
    }


def _describe_data(table: Table, split: Split) -> bundle.TrainingData:
    return bundle.TrainingData(
        source=table.source,
        fingerprint=table.fingerprint(),
        target=list(table.target_names),
        rows={
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
    )


def _format_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _list_library_versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
    }


def _compute_checksums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {file: compute_sha256(content) for file, content in files.items()}
