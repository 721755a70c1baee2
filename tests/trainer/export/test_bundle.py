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
def parts(export):
    return split_table(export("multiclass").table, validation=0.1, test=0.2, seed=0)


@pytest.fixture
def dense(export, parts, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)
    exported = export("multiclass")
    return export_bundle(
        exported.model, exported.table, parts, TRAINING, models=tmp_path, name="digits", rng=rng
    )


@pytest.fixture
def variants(export, in_bytes, parts):
    """The references and the graphs of three variants, the last of 4 bits."""
    exported, rng = export("multiclass"), np.random.default_rng(3)
    models = {"fp32": exported.model}
    for name, bits in (("int8", 8), ("pruned-int4", 4)):
        models[name] = in_bytes(exported.model, exported.table.records, rng, bits=bits)
    synthetic = create_synthetic_records(exported.model, rng)
    bits = {"fp32": 32, "int8": 8, "pruned-int4": 4}
    return models, {
        name: ExportedGraph.build(model, exported.table, parts, synthetic, bits[name])
        for name, model in models.items()
    }


TIMES = {"fp32": {"1": 9.5, "64": 30.0}, "int8": {"1": 2.5}, "pruned-int4": {"1": 1.5}}
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
            latency_us=times,
            validation=0.9,
            drop=0.001,
            kept=True,
            tested=MetricDrop(drop=0.002, interval=(-0.01, 0.02)),
        )
        for name, times in TIMES.items()
    ],
)


@pytest.mark.slow
def test_a_version_holds_every_variant_beside_what_there_was(dense, variants, rng):
    models, graphs = variants
    found = export_variants(dense, models, graphs, COMPRESSION, rng=rng)
    assert found.path == dense.path.parent / "2"
    described = found.manifest.variants
    assert {name: (v.file, v.bits) for name, v in described.items()} == {
        "fp32": ("model.onnx", 32),
        "int8": ("model.int8.onnx", 8),
        "pruned-int4": ("model.pruned-int4.onnx", 4),
    }
    assert found.manifest.compression == COMPRESSION
    assert found.read_file("reference.json") == dense.read_file("reference.json")
    assert found.read_graph("fp32") == dense.read_graph("fp32")
    for name, variant in described.items():
        assert found.read_graph(name) == graphs[name].content
        assert variant.size_bytes == len(graphs[name].content)
        assert variant.parity == graphs[name].parity
        assert variant.metrics == graphs[name].test_evaluation.compute_metrics()
        assert variant.latency_us == TIMES[name]
        assert run_self_test(found, name).passed
    assert found.manifest.metrics == dense.manifest.metrics
    assert found.manifest.training == dense.manifest.training


def test_a_variant_that_answers_as_another_is_no_version(dense, variants, rng):
    models, graphs = variants
    graphs |= {"int8": replace(graphs["pruned-int4"], bits=8)}
    with pytest.raises(ParityError, match="int8 does not reproduce.*report it"):
        export_variants(dense, models, graphs, COMPRESSION, rng=rng)
    assert [path.name for path in dense.path.parent.iterdir()] == ["1"]


@pytest.mark.slow
def test_a_damaged_reference_is_not_passed_on(dense, variants, rng):
    (dense.path / "reference.json").write_text("{}")
    with pytest.raises(BundleError, match=r"reference\.json was altered"):
        export_variants(dense, *variants, COMPRESSION, rng=rng)
    assert [path.name for path in dense.path.parent.iterdir()] == ["1"]
