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
def test_training_digits_anew_reaches_the_accuracy_of_the_shipped_one(
    tmp_path, shipped, monkeypatch
):
    monkeypatch.setattr(
        "trainer.evaluate.baselines.fit_baselines", lambda *_, **__: {}
    )  # no question here
    shipped_bundle = Bundle.open(shipped / "digits" / "1")
    bundle, _ = fit(Config(data="digits", models=tmp_path))
    accuracy = bundle.manifest.metrics["test"]["accuracy"]
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(shipped_bundle.manifest.metrics["test"]["accuracy"], abs=0.01)
    assert bundle.manifest.data.fingerprint == shipped_bundle.manifest.data.fingerprint
    # Options that came since have their defaults.
    shipped_config = Config.model_validate(shipped_bundle.manifest.training.config)
    assert Config.model_validate(bundle.manifest.training.config) == shipped_config
    parity = bundle.manifest.variants["fp32"].parity
    assert parity.rows == bundle.manifest.data.rows["test"]
    assert 0 < parity.max_abs <= 1e-6


def test_the_shipped_model_is_as_good_as_its_manifest_says(shipped, digits):
    # On all rows: those it learned and those it did not.
    proof = run_self_test(Bundle.open(shipped / "digits" / "1"), "fp32")
    label = proof.session.run({"features": digits[0]})["label"]
    assert np.mean(label == digits[1]) >= 0.99


@pytest.mark.slow
def test_the_same_seed_gives_the_same_graph(tmp_path):
    first, second, other = (
        fit(Config(data="wine", models=tmp_path, seed=seed, epochs=20, skip_baselines=True))[0]
        for seed in (1, 1, 2)
    )
    assert first.read_graph("fp32") == second.read_graph("fp32")
    assert first.read_graph("fp32") != other.read_graph("fp32")
    assert [b.manifest.version for b in (first, second, other)] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "metric", "least"),
    [
        ("breast_cancer", "accuracy", 0.94),
        ("wine", "accuracy", 0.94),
        ("iris", "accuracy", 0.9),
        ("diabetes", "r2", 0.2),
    ],
)
def test_built_in_data_are_learned(data, metric, least, tmp_path):
    bundle, _ = fit(Config(data=data, models=tmp_path, skip_baselines=True))
    assert bundle.manifest.metrics["test"][metric] >= least
    assert run_self_test(bundle, "fp32").passed


@pytest.mark.parametrize("hidden", [(), (1,), (3, 3, 3)])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_shape_of_network_ends_in_a_proved_bundle(hidden, activation, tmp_path):
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


def learned(**choices):
    trained = train(Config(data="wine", **{"epochs": 40, **choices}), np.random.default_rng(0))
    sizes = [len(p) for p in (trained.parts.train, trained.parts.validation, trained.parts.test)]
    return sizes, set(trained.parts.test), len(trained.history), trained.model.network.parameters


@pytest.fixture(scope="module")
def plain():
    """What is learned without any choice."""
    return learned()


@pytest.mark.parametrize(
    "choice",
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
    ],
    ids=str,
)
def test_every_choice_of_training_is_heeded(choice, plain):
    first, second = plain, learned(**choice)
    assert first[:2] == second[:2]  # the same rows are learned
    assert first[3].shape != second[3].shape or (first[3] != second[3]).any()
    if "patience" in choice:
        assert second[2] < 40


def test_every_choice_of_the_split_is_heeded():
    assert learned()[0] == [124, 18, 36]
    assert learned(test=0.25)[0] == [116, 18, 44]
    assert learned(validation=0.2)[0] == [106, 36, 36]
    assert learned()[1] != learned(seed=1)[1]


def test_statistics_come_from_the_training_rows_only(tmp_path):
    bundle, trained = fit(Config(data="wine", models=tmp_path, epochs=2, skip_baselines=True))
    known = trained.table.records.numbers[trained.parts.train]
    np.testing.assert_allclose(
        trained.model.encoder.numbers.scaler.offset, known.mean(axis=0), rtol=1e-5
    )
    ends = np.array([(i.minimum, i.maximum) for i in bundle.manifest.inputs], np.float32)
    np.testing.assert_array_equal(ends, np.stack([known.min(axis=0), known.max(axis=0)], axis=1))
    assert json.loads(bundle.read_file("reference.json"))["rows"] == len(known)


@pytest.mark.slow
def test_the_manifest_says_what_the_model_is(tmp_path):
    binary = fit(Config(data="breast_cancer", models=tmp_path, epochs=2, skip_baselines=True))[
        0
    ].manifest
    assert (binary.task, binary.classes, binary.threshold) == (
        "binary",
        ["benign", "malignant"],
        0.5,
    )
    several = fit(Config(data="iris", models=tmp_path, epochs=2, skip_baselines=True))[0].manifest
    assert (several.task, several.classes, several.threshold) == (
        "multiclass",
        ["setosa", "versicolor", "virginica"],
        None,
    )
    value = fit(Config(data="diabetes", models=tmp_path, epochs=2, skip_baselines=True))[0].manifest
    assert (value.task, value.classes, value.threshold) == ("regression", None, None)
    assert value.data.rows == {"train": 310, "validation": 44, "test": 88}
    assert several.inputs[0].name == "sepal length (cm)"
    assert all(i.minimum < i.maximum for i in several.inputs)


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1e30, 1e37])
def test_features_of_any_size_end_in_a_proved_bundle(size, tmp_path, rng):
    X = rng.normal(size=(60, 3)) * size
    np.savez(tmp_path / "data.npz", X=X, y=np.arange(60) % 3)
    bundle, _ = fit(
        Config(data=str(tmp_path / "data.npz"), models=tmp_path, epochs=5, skip_baselines=True)
    )
    assert run_self_test(bundle, "fp32").passed


@pytest.mark.parametrize("target", ["classes", "quantities"])
def test_ten_rows_are_enough(target, tmp_path, rng):
    X = rng.normal(size=(10, 2))
    np.savez(tmp_path / "ten.npz", X=X, y=np.arange(10) % 2 if target == "classes" else X[:, 0])
    bundle, _ = fit(
        Config(data=str(tmp_path / "ten.npz"), models=tmp_path, epochs=5, skip_baselines=True)
    )
    assert run_self_test(bundle, "fp32").passed


def test_a_class_too_rare_for_validation_ends_in_a_bundle_that_opens(tmp_path, rng):
    X, y = rng.normal(size=(1000, 3)), np.arange(1000) < 5
    np.savez(tmp_path / "rare.npz", X=X, y=y.astype(int))
    bundle, _ = fit(Config(data=str(tmp_path / "rare.npz"), models=tmp_path, epochs=2))
    assert "roc_auc" not in bundle.manifest.metrics["validation"]
    assert run_self_test(bundle, "fp32").passed


@pytest.mark.parametrize(
    ("data", "choices", "message"),
    [
        ("wine", {"loss": "huber"}, "values to regress on for the loss huber; got classes"),
        ("diabetes", {"class_weight": "balanced"}, "expected classes for class_weight"),
        ("diabetes", {"label_smoothing": 0.1}, "expected classes for class_weight, label_smoo"),
    ],
)
def test_choices_of_another_task_are_refused(data, choices, message, tmp_path):
    with pytest.raises(DataError, match=message):
        fit(Config(data=data, models=tmp_path, **choices))


def test_targets_that_the_loss_cannot_take_are_the_datas_fault(tmp_path, rng):
    np.savez(tmp_path / "signed.npz", X=rng.normal(size=(50, 2)), y=rng.normal(size=50))
    config = Config(data=str(tmp_path / "signed.npz"), models=tmp_path, loss="poisson")
    with pytest.raises(DataError, match=r"signed.npz: expected counts .*; use another loss"):
        fit(config)


def test_a_diverged_run_writes_nothing(tmp_path):
    config = Config(data="diabetes", models=tmp_path, optimizer="sgd", learning_rate=1e9)
    with np.errstate(all="ignore"), pytest.raises(TrainingDivergedError):
        fit(config)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    right = onnx_graph.build_graph

    def faulty(model):
        model = replace(model, classes=model.classes[::-1].copy())
        return right(model)

    monkeypatch.setattr(exported_graph, "build_graph", faulty)
    with pytest.raises(ParityError):
        fit(Config(data="wine", models=tmp_path, epochs=2, skip_baselines=True))
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_a_bundle_that_does_not_prove_itself_is_not_written(tmp_path, monkeypatch):
    right = bundle.create_self_test

    def faulty(*arguments):
        selftest = right(*arguments)
        selftest.expected["fp32"].outputs["probabilities"] += np.float32(0.1)
        return selftest

    monkeypatch.setattr(bundle, "create_self_test", faulty)
    with pytest.raises(ParityError, match="does not reproduce its self-test"):
        fit(Config(data="wine", models=tmp_path, epochs=2, skip_baselines=True))
    assert not (tmp_path / "wine").exists()


@pytest.mark.parametrize(
    "wrong",
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
        {"weight_decay": 0.1},
        {"loss": "binary_cross_entropy"},
        {"batch_norm": True, "batch_size": 1},
    ],
)
def test_impossible_choices_are_refused(wrong):
    with pytest.raises(ValidationError):
        Config(data="iris", **wrong)
