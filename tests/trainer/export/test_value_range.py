"""Clipping: the values of a regression stay within the range of the training targets."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from serving.bundle import Bundle
from serving.runtime import run_self_test
from trainer.cli import main
from trainer.compress.compression_config import CompressionConfig
from trainer.compress.load_trained import load_trained
from trainer.compress.run import compress
from trainer.config import Config
from trainer.data.tables import DataError
from trainer.export.onnx_graph import build_graph
from trainer.export.tolerances import compute_tolerances
from trainer.pipeline import fit, train

# A rate that is too high and few epochs: predictions that go beyond the targets.
QUICK = {"hidden": (6,), "epochs": 3, "skip_baselines": True}
KINDS = {
    "one target": ("line", {}),
    "several targets": ("linnerud", {}),
    "log target": ("line", {"target_scaling": "log"}),
    "counts": ("linnerud", {"loss": "poisson"}),
    "mean absolute error": ("line", {"loss": "mae"}),
}
LIMIT = float(np.finfo(np.float32).max)
EXTREMES = np.float32([-LIMIT, -3e38, -1e20, -1e6, -1e3, 1e3, 1e6, 1e20, 3e38, LIMIT])


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Return the path of a table whose target grows with both columns; one of them has gaps."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)).round(4)
    lines = ["a,b,amount"]
    for i, (a, b) in enumerate(x):
        gap = "" if i % 7 == 0 else f"{b:.4f}"
        lines.append(f"{a:.4f},{gap},{np.exp(1 + a + b / 2 + 0.1 * rng.normal()):.5f}")
    path = tmp_path_factory.mktemp("line") / "line.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def train_kind(line):
    """Return a function that trains a kind of model once, and returns the result."""
    results = {}

    def train_once(kind):
        if kind not in results:
            data, options = KINDS[kind]
            config = Config(data=line if data == "line" else data, **QUICK, **options)
            results[kind] = train(config, np.random.default_rng(0))
        return results[kind]

    return train_once


def create_extreme_records(trained, rng):
    """Return 60 rows of the table with extreme numbers, and gaps in a column that has any."""
    records = trained.table.records.take(slice(0, 60))
    numbers = records.numbers.copy()
    for column in numbers.T:
        rows, has_gaps = rng.permutation(len(column)), np.isnan(column).any()
        column[rows[: len(EXTREMES)]] = EXTREMES
        if has_gaps:
            column[rows[-3:]] = np.nan
    return replace(records, numbers=numbers)


def run_graph(graph, inputs):
    # ONNX Runtime alone, without this project's code
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (value,) = session.run(["value"], inputs)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_train_value_range_is_that_of_the_training_targets(kind, train_kind):
    trained = train_kind(kind)
    target = trained.table.target[trained.split.train]
    low, high = trained.model.value_range
    assert low.dtype == high.dtype == np.float32
    np.testing.assert_array_equal(low, np.float32(target.min(axis=0)))
    np.testing.assert_array_equal(high, np.float32(target.max(axis=0)))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_unclipped_ones_within_the_range(kind, train_kind):
    trained = train_kind(kind)
    records, model = trained.table.records, trained.model
    # Outputs far beyond the targets, in both directions.
    network = model.network.astype(np.float32)
    network.layers[-1].W *= 30
    model = replace(model, network=network)
    unclipped = replace(model, value_range=None).answers(records)["value"]
    low, high = model.value_range
    assert (unclipped < low).any()
    assert (unclipped > high).any()
    value = model.answers(records)["value"]
    np.testing.assert_array_equal(value, np.minimum(np.maximum(unclipped, low), high))
    outputs = run_graph(build_graph(model), records.inputs())
    assert (outputs.shape, outputs.dtype) == (value.shape, np.float32)
    tolerance = compute_tolerances(model, records)["value"]
    assert (np.abs(outputs - value) <= tolerance).all()
    assert (outputs >= low).all()
    assert (outputs <= high).all()


@pytest.mark.parametrize("kind", KINDS)
def test_build_graph_extreme_inputs_have_values_within_the_range(kind, train_kind, rng):
    trained = train_kind(kind)
    model, records = trained.model, create_extreme_records(trained, rng)
    outputs, (low, high) = run_graph(build_graph(model), records.inputs()), model.value_range
    with np.errstate(all="ignore"):
        value, tolerance = model.answers(records)["value"], compute_tolerances(model, records)
        hidden = model.network.layers[0].forward(model.encoder.transform(records), training=False)
    # Only where float32 overflows in the hidden layer can there be no value.
    is_finite = np.isfinite(hidden).all(axis=1)
    assert is_finite.mean() > 0.7
    assert np.isfinite(outputs[is_finite]).all()
    assert np.nanmin(outputs - low) >= 0
    assert np.nanmax(outputs - high) <= 0
    assert (np.abs(outputs - value) <= tolerance["value"])[is_finite].all()
    # Some of the extreme rows are at each limit.
    assert (outputs == low).any()
    assert (outputs == high).any()


def test_build_graph_overflow_to_infinity_is_the_highest_value(train_kind):
    trained = train_kind("log target")
    network = trained.model.network.astype(np.float32)
    network.layers[-1].W[...] = 0
    for bias, limit in ((1e4, 1), (-1e4, 0)):
        network.layers[-1].b[...] = bias
        model = replace(trained.model, network=network)
        with np.errstate(over="ignore"):
            unclipped = replace(model, value_range=None).answers(trained.table.records)["value"]
        assert (unclipped == (np.inf if limit else 0)).all()
        outputs = run_graph(build_graph(model), trained.table.records.inputs())
        assert (outputs == model.value_range[limit]).all()
        np.testing.assert_array_equal(model.answers(trained.table.records)["value"], outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_build_graph_clips_only_with_a_range(kind, train_kind):
    model = train_kind(kind).model
    clipped, unclipped = (
        [node.op_type for node in onnx.load_from_string(build_graph(m)).graph.node]
        for m in (model, replace(model, value_range=None))
    )
    assert clipped == [*unclipped, "Max", "Min"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one target", "several targets", "log target", "counts"])
def test_fit_bundle_with_a_range_passes_its_self_test_and_is_loaded(kind, line, tmp_path):
    data, options = KINDS[kind]
    data = line if data == "line" else data
    bundle, trained = fit(Config(data=data, models=tmp_path, **QUICK, **options))
    assert run_self_test(bundle, "fp32").passed
    loaded = load_trained(bundle).model
    np.testing.assert_array_equal(loaded.value_range, trained.model.value_range)
    np.testing.assert_array_equal(
        loaded.answers(trained.table.records)["value"],
        trained.model.answers(trained.table.records)["value"],
    )


@pytest.mark.slow
def test_compress_variants_of_a_model_with_a_range_are_clipped(line, tmp_path, rng):
    options = {"hidden": (32, 32), "epochs": 20, "skip_baselines": True}
    bundle, trained = fit(Config(data=line, models=tmp_path, **options))
    result = compress(
        bundle,
        CompressionConfig(epochs=2, max_drop=0.9, prune=0.5),
        on_trial=lambda _: None,
    )
    inputs = create_extreme_records(trained, rng).inputs()
    low, high = trained.model.value_range
    variants = result.bundle.manifest.variants
    assert any(variant.bits == 8 for variant in variants.values())
    for name in variants:
        assert run_self_test(result.bundle, name).passed
        outputs = run_graph(result.bundle.read_graph(name), inputs)
        assert np.nanmin(outputs) >= low, name
        assert np.nanmax(outputs) <= high, name
        nodes = onnx.load_from_string(result.bundle.read_graph(name)).graph.node
        assert [node.op_type for node in nodes][-2:] == ["Max", "Min"], name


@pytest.mark.slow
def test_fit_no_clip_predictions_exports_no_limits(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["fit", line, "--epochs", "2", "--hidden", "4", "--skip-baselines", "--json"]
    operators = []
    for arguments in ([], ["--no-clip-predictions"], ["--clip-predictions"], ["--preset", "fast"]):
        done = CliRunner().invoke(main, [*command, *arguments])
        assert done.exit_code == 0, done.output
        bundle = Bundle.open(tmp_path / json.loads(done.stdout)["bundle"])
        assert run_self_test(bundle, "fp32").passed
        nodes = onnx.load_from_string(bundle.read_graph("fp32")).graph.node
        operators.append([n.op_type for n in nodes][-2:] == ["Max", "Min"])
        assert bundle.manifest.training.config["clip_predictions"] == operators[-1]
    assert operators == [True, False, True, False]


@pytest.mark.parametrize("data", ["iris", "breast_cancer"])
def test_fit_clip_predictions_of_classes_is_refused(data, tmp_path):
    with pytest.raises(DataError, match="expected a regression task for clip_predictions; got a c"):
        fit(Config(data=data, models=tmp_path, clip_predictions=True, **QUICK))
    assert list(tmp_path.iterdir()) == []
    done = CliRunner().invoke(main, ["fit", data, "--clip-predictions", "--models", str(tmp_path)])
    assert done.exit_code == 1
    assert "expected a regression task for clip_predictions" in done.stderr
