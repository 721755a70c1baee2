from dataclasses import replace

import numpy as np
import pytest

from serving.bundle import (
    BundleError,
    CompressionCandidate,
    CompressionSummary,
    MetricDrop,
    TrainingSummary,
)
from serving.runtime import run_self_test
from trainer.data.splits import split_table
from trainer.export.bundle import export_bundle, export_variants
from trainer.export.exported_graph import ExportedGraph
from trainer.export.parity import ParityError
from trainer.export.self_test import create_synthetic_records

TRAINING = TrainingSummary(config={}, epochs_run=1, best_epoch=1, seconds=0.1)


@pytest.fixture
def split(export):
    return split_table(export("multiclass").table, validation=0.1, test=0.2, seed=0)


@pytest.fixture
def dense(export, split, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
    exported = export("multiclass")
    return export_bundle(
        exported.model, exported.table, split, TRAINING, models=tmp_path, name="digits", rng=rng
    )


@pytest.fixture
def variants(export, create_integer_model, split):
    """Models and exported graphs of three variants; the last one has 4-bit weights."""
    exported, rng = export("multiclass"), np.random.default_rng(3)
    models = {"fp32": exported.model}
    for name, bits in (("int8", 8), ("pruned-int4", 4)):
        models[name] = create_integer_model(exported.model, exported.table.records, rng, bits=bits)
    synthetic = create_synthetic_records(exported.model, rng)
    bits = {"fp32": 32, "int8": 8, "pruned-int4": 4}
    return models, {
        name: ExportedGraph.build(model, exported.table, split, synthetic, bits[name])
        for name, model in models.items()
    }


LATENCIES_US = {"fp32": {"1": 9.5, "64": 30.0}, "int8": {"1": 2.5}, "pruned-int4": {"1": 1.5}}
COMPRESSION = CompressionSummary(
    metric="accuracy",
    max_drop=0.01,
    tried=[
        CompressionCandidate(
            name=name,
            bits=8,
            inputs=64,
            hidden=[24, 13],
            parameters=9,
            size_bytes=9,
            zipped_bytes=9,
            latency_us=latency_us,
            validation=0.9,
            drop=0.001,
            kept=True,
            tested=MetricDrop(drop=0.002, interval=(-0.01, 0.02)),
        )
        for name, latency_us in LATENCIES_US.items()
    ],
)


@pytest.mark.slow
def test_export_variants_adds_variants_and_keeps_the_rest(dense, variants, rng):
    models, graphs = variants
    bundle = export_variants(dense, models, graphs, COMPRESSION, rng=rng)
    assert bundle.path == dense.path.parent / "2"
    described_variants = bundle.manifest.variants
    assert {name: (v.file, v.bits) for name, v in described_variants.items()} == {
        "fp32": ("model.onnx", 32),
        "int8": ("model.int8.onnx", 8),
        "pruned-int4": ("model.pruned-int4.onnx", 4),
    }
    assert bundle.manifest.compression == COMPRESSION
    assert bundle.read_file("reference.json") == dense.read_file("reference.json")
    assert bundle.read_graph("fp32") == dense.read_graph("fp32")
    for name, variant in described_variants.items():
        assert bundle.read_graph(name) == graphs[name].content
        assert variant.size_bytes == len(graphs[name].content)
        assert variant.parity == graphs[name].parity
        assert variant.metrics == graphs[name].test_evaluation.compute_metrics()
        assert variant.latency_us == LATENCIES_US[name]
        assert run_self_test(bundle, name).passed
    assert bundle.manifest.metrics == dense.manifest.metrics
    assert bundle.manifest.training == dense.manifest.training


def test_export_variants_graph_of_another_variant_is_refused(dense, variants, rng):
    models, graphs = variants
    graphs |= {"int8": replace(graphs["pruned-int4"], bits=8)}
    with pytest.raises(ParityError, match="int8 does not reproduce.*report it"):
        export_variants(dense, models, graphs, COMPRESSION, rng=rng)
    assert [path.name for path in dense.path.parent.iterdir()] == ["1"]


@pytest.mark.slow
def test_export_variants_damaged_reference_is_refused(dense, variants, rng):
    (dense.path / "reference.json").write_text("{}")
    with pytest.raises(BundleError, match=r"reference\.json was altered"):
        export_variants(dense, *variants, COMPRESSION, rng=rng)
    assert [path.name for path in dense.path.parent.iterdir()] == ["1"]
