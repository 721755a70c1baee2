"""Training from a data set to a bundle."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from serving.bundle import Bundle
from serving.runtime import run_self_test
from trainer.config import Config
from trainer.data.tables import DataError
from trainer.export import bundle, exported_graph, onnx_graph
from trainer.export.parity import ParityError
from trainer.nn import ACTIVATIONS
from trainer.pipeline import fit, train
from trainer.training.loop import TrainingDivergedError


@pytest.mark.slow
def test_fit_digits_reaches_the_accuracy_of_the_shipped_model(tmp_path, shipped, monkeypatch):
    # The baselines take long, and are not tested here.
    monkeypatch.setattr("trainer.evaluate.baselines.fit_baselines", lambda *_, **__: {})
    shipped_bundle = Bundle.open(shipped / "digits" / "1")
    bundle, _ = fit(Config(data="digits", models=tmp_path))
    accuracy = bundle.manifest.metrics["test"]["accuracy"]
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(shipped_bundle.manifest.metrics["test"]["accuracy"], abs=0.01)
    assert bundle.manifest.data.fingerprint == shipped_bundle.manifest.data.fingerprint
    shipped_config = Config.model_validate(shipped_bundle.manifest.training.config)
    assert Config.model_validate(bundle.manifest.training.config) == shipped_config
    parity = bundle.manifest.variants["fp32"].parity
    assert parity.rows == bundle.manifest.data.rows["test"]
    assert 0 < parity.max_abs <= 1e-6


def test_shipped_model_all_rows_has_high_accuracy(shipped, digits):
    result = run_self_test(Bundle.open(shipped / "digits" / "1"), "fp32")
    label = result.session.run({"features": digits[0]})["label"]
    assert np.mean(label == digits[1]) >= 0.99


@pytest.mark.slow
def test_fit_same_seed_exports_the_same_graph(tmp_path):
    first, second, other = (
        fit(Config(data="wine", models=tmp_path, seed=seed, epochs=8, skip_baselines=True))[0]
        for seed in (1, 1, 2)
    )
    assert first.read_graph("fp32") == second.read_graph("fp32")
    assert first.read_graph("fp32") != other.read_graph("fp32")
    assert [b.manifest.version for b in (first, second, other)] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "metric", "minimum"),
    [
        ("breast_cancer", "accuracy", 0.94),
        ("wine", "accuracy", 0.94),
        ("iris", "accuracy", 0.9),
        ("diabetes", "r2", 0.2),
    ],
)
def test_fit_built_in_data_reaches_the_minimum(data, metric, minimum, tmp_path):
    bundle, _ = fit(Config(data=data, models=tmp_path, skip_baselines=True))
    assert bundle.manifest.metrics["test"][metric] >= minimum
    assert run_self_test(bundle, "fp32").passed


@pytest.mark.parametrize("hidden", [(), (1,), (3, 3, 3)])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_fit_any_network_exports_a_bundle_that_passes_its_self_test(hidden, activation, tmp_path):
    config = Config(
        data="iris",
        models=tmp_path,
        hidden=hidden,
        activation=activation,
        epochs=3,
        skip_baselines=True,
    )
    bundle, trained = fit(config)
    assert run_self_test(bundle, "fp32").passed
    assert bundle.manifest.parameters == trained.model.network.n_parameters


@pytest.mark.parametrize("members", [2, 3, 4])
def test_fit_members_exports_the_mean_of_their_logits(members, tmp_path):
    config = Config(
        data="wine",
        models=tmp_path,
        members=members,
        hidden=(8, 6),
        batch_norm=True,
        epochs=8,
        calibrate=False,
        skip_baselines=True,
    )
    bundle, trained = fit(config)
    variant = bundle.manifest.variants["fp32"]
    assert variant.parity.label_agreement == 1
    assert variant.parity.max_abs <= 1e-6
    network, records = trained.model.network, trained.table.records.take(trained.split.test)
    assert network.n_members == members
    x = trained.model.encoder.transform(records)
    logits = np.mean([c.forward(x, training=False) for c in network.layers[0].chains], axis=0)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    session = run_self_test(bundle, "fp32").session
    probabilities = session.run(records.inputs())["probabilities"]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("members", [0, 5])
def test_config_wrong_number_of_members_raises(members):
    with pytest.raises(ValidationError, match="members"):
        Config(data="wine", members=members)


def train_wine(**options):
    """Return the sizes of the parts, the test rows, the number of epochs and the parameters."""
    options = {"preset": "fast", "epochs": 40, **options}
    trained = train(Config(data="wine", **options), np.random.default_rng(0))
    sizes = [len(p) for p in (trained.split.train, trained.split.validation, trained.split.test)]
    return sizes, set(trained.split.test), len(trained.history), trained.model.network.parameters


@pytest.fixture(scope="module")
def default_result():
    """What `train_wine` returns for the options of the preset fast."""
    return train_wine()


@pytest.mark.parametrize(
    "option",
    [
        {"hidden": (5,)},
        {"activation": "tanh"},
        {"optimizer": "sgd"},
        {"learning_rate": 0.01},
        {"batch_size": 16},
        {"epochs": 39},
        {"patience": 1, "learning_rate": 0.3},
        {"dropout": 0.2},
        {"batch_norm": True},
        {"label_smoothing": 0.1},
        {"class_weight": "balanced"},
        {"schedule": "cosine"},
        {"l1": 0.001},
        {"l2": 0.01},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"clip_norm": 0.1},
        {"clip_value": 0.01},
        {"max_norm": 0.5},
        {"average": 0.99},
        {"initializer": "data"},
        {"layer_rates": "fan_in"},
        {"beta2": 0.9},
        {"preset": "balanced"},
    ],
    ids=str,
)
def test_train_any_training_option_changes_the_weights(option, default_result):
    first, second = default_result, train_wine(**option)
    assert first[:2] == second[:2]  # the split is the same
    assert first[3].shape != second[3].shape or (first[3] != second[3]).any()
    if "patience" in option:
        assert second[2] < 40


def test_train_any_split_option_changes_the_split():
    assert train_wine()[0] == [124, 18, 36]
    assert train_wine(test=0.25)[0] == [116, 18, 44]
    assert train_wine(validation=0.2)[0] == [106, 36, 36]
    assert train_wine()[1] != train_wine(seed=1)[1]


def test_fit_statistics_are_those_of_the_training_rows(tmp_path):
    bundle, trained = fit(Config(data="wine", models=tmp_path, epochs=2, skip_baselines=True))
    training_rows = trained.table.records.numbers[trained.split.train]
    np.testing.assert_allclose(
        trained.model.encoder.numbers.scaler.offset, training_rows.mean(axis=0), rtol=1e-5
    )
    ranges = np.array([(i.minimum, i.maximum) for i in bundle.manifest.inputs], np.float32)
    np.testing.assert_array_equal(
        ranges, np.stack([training_rows.min(axis=0), training_rows.max(axis=0)], axis=1)
    )
    assert json.loads(bundle.read_file("reference.json"))["rows"] == len(training_rows)


@pytest.mark.slow
def test_fit_manifest_has_task_classes_and_threshold(tmp_path):
    binary = fit(Config(data="breast_cancer", models=tmp_path, epochs=2, skip_baselines=True))[
        0
    ].manifest
    assert (binary.task, binary.classes, binary.threshold) == (
        "binary",
        ["benign", "malignant"],
        0.5,
    )
    multiclass = fit(Config(data="iris", models=tmp_path, epochs=2, skip_baselines=True))[
        0
    ].manifest
    assert (multiclass.task, multiclass.classes, multiclass.threshold) == (
        "multiclass",
        ["setosa", "versicolor", "virginica"],
        None,
    )
    regression = fit(Config(data="diabetes", models=tmp_path, epochs=2, skip_baselines=True))[
        0
    ].manifest
    assert (regression.task, regression.classes, regression.threshold) == ("regression", None, None)
    assert regression.data.rows == {"train": 310, "validation": 44, "test": 88}
    assert multiclass.inputs[0].name == "sepal length (cm)"
    assert all(i.minimum < i.maximum for i in multiclass.inputs)


@pytest.mark.parametrize("magnitude", [1e-40, 1e-30, 1e30, 1e37])
def test_fit_features_of_any_magnitude_exports_a_bundle(magnitude, tmp_path, rng):
    X = rng.normal(size=(60, 3)) * magnitude
    np.savez(tmp_path / "data.npz", X=X, y=np.arange(60) % 3)
    bundle, _ = fit(
        Config(data=str(tmp_path / "data.npz"), models=tmp_path, epochs=5, skip_baselines=True)
    )
    assert run_self_test(bundle, "fp32").passed


@pytest.mark.parametrize("target", ["classes", "quantities"])
def test_fit_ten_rows_exports_a_bundle(target, tmp_path, rng):
    X = rng.normal(size=(10, 2))
    np.savez(tmp_path / "ten.npz", X=X, y=np.arange(10) % 2 if target == "classes" else X[:, 0])
    bundle, _ = fit(
        Config(data=str(tmp_path / "ten.npz"), models=tmp_path, epochs=5, skip_baselines=True)
    )
    assert run_self_test(bundle, "fp32").passed


def test_fit_class_absent_from_validation_rows_exports_a_bundle(tmp_path, rng):
    X, y = rng.normal(size=(1000, 3)), np.arange(1000) < 5
    np.savez(tmp_path / "rare.npz", X=X, y=y.astype(int))
    bundle, _ = fit(Config(data=str(tmp_path / "rare.npz"), models=tmp_path, epochs=2))
    assert "roc_auc" not in bundle.manifest.metrics["validation"]
    assert run_self_test(bundle, "fp32").passed


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            "wine",
            {"loss": "huber"},
            "expected a regression task for the loss huber; got a classification task",
        ),
        (
            "diabetes",
            {"class_weight": "balanced"},
            "expected a classification task for class_weight",
        ),
        (
            "diabetes",
            {"label_smoothing": 0.1},
            "a classification task for class_weight, label_smoothing",
        ),
    ],
)
def test_fit_option_of_another_task_is_refused(data, options, message, tmp_path):
    with pytest.raises(DataError, match=message):
        fit(Config(data=data, models=tmp_path, **options))


def test_fit_targets_that_do_not_fit_the_loss_is_a_data_error(tmp_path, rng):
    np.savez(tmp_path / "signed.npz", X=rng.normal(size=(50, 2)), y=rng.normal(size=50))
    config = Config(data=str(tmp_path / "signed.npz"), models=tmp_path, loss="poisson")
    with pytest.raises(DataError, match=r"signed.npz: expected counts .*; use another loss"):
        fit(config)


def test_fit_diverging_training_writes_nothing(tmp_path):
    config = Config(data="diabetes", models=tmp_path, optimizer="sgd", learning_rate=1e9)
    with np.errstate(all="ignore"), pytest.raises(TrainingDivergedError):
        fit(config)
    assert list(tmp_path.iterdir()) == []


def test_fit_graph_with_other_answers_writes_nothing(tmp_path, monkeypatch):
    build_graph = onnx_graph.build_graph

    def build_wrong_graph(model):
        model = replace(model, classes=model.classes[::-1].copy())
        return build_graph(model)

    monkeypatch.setattr(exported_graph, "build_graph", build_wrong_graph)
    with pytest.raises(ParityError):
        fit(Config(data="wine", models=tmp_path, epochs=2, skip_baselines=True))
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_fit_failing_self_test_writes_nothing(tmp_path, monkeypatch):
    build_selftest = bundle.create_self_test

    def build_wrong_selftest(*arguments):
        selftest = build_selftest(*arguments)
        selftest.expected["fp32"].outputs["probabilities"] += np.float32(0.1)
        return selftest

    monkeypatch.setattr(bundle, "create_self_test", build_wrong_selftest)
    with pytest.raises(ParityError, match="does not reproduce its self-test"):
        fit(Config(data="wine", models=tmp_path, epochs=2, skip_baselines=True))
    assert not (tmp_path / "wine").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"hidden": (0,)},
        {"learning_rate": 0},
        {"test": 0.9},
        {"name": "../up"},
        {"seed": 2**32},
        {"optimiser": "adam"},
        {"activation": "rleu"},
        {"activation": ("relu", "tanh")},
        {"optimizer": "adam", "weight_decay": 0.1},
        {"loss": "binary_cross_entropy"},
        {"batch_norm": True, "batch_size": 1},
    ],
)
def test_config_invalid_options_are_refused(options):
    with pytest.raises(ValidationError):
        Config(data="iris", **options)
