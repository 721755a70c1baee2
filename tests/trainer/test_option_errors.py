"""Invalid data: Sequential, the estimators and the commands name the fault and write nothing."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from trainer.cli import main
from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.nn import SGD, CategoricalCrossEntropy, Dense, Network
from trainer.sequential import Sequential
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.arange(60) % 3


def replace_feature(value):
    features = X.copy()
    features[7, 2] = value
    return features


# Features, labels, and the pattern of an error that names the fault.
INVALID = {
    "NaN features": (replace_feature(np.nan), Y, "NaN|missing"),
    "infinite features": (replace_feature(np.inf), Y, "infinit"),
    "no rows": (X[:0], Y[:0], r"n ≥ 1|at least 10 rows|0 sample|minimum of 1|none of them 0"),
    "no columns": (X[:, :0], Y, r"0 feature|at least one column|at least 1 input"),
    "fewer labels than rows": (X, Y[:50], r"60.*50|inconsistent numbers of samples"),
    "text for features": (X.astype(str).astype("U9")[:, :] + "a", Y, r"numeric|numbers|convert"),
    "a cube for a matrix": (
        X[None],
        Y,
        r"(numbers|features) of shape|with dim 3",
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_sequential_fit_invalid_data_error_names_the_fault(name):
    features, labels, pattern = INVALID[name]
    network = Sequential([Dense(4, "relu"), Dense(3)])
    network.compile()
    with pytest.raises(ValueError, match=pattern):
        network.fit(features, labels)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("name", INVALID)
def test_estimator_fit_invalid_data_error_names_the_fault(name, kind):
    features, labels, pattern = INVALID[name]
    with pytest.raises(ValueError, match=pattern):
        kind((4,), max_iter=2).fit(features, labels)


# The command imputes NaN.
@pytest.mark.parametrize("name", sorted(set(INVALID) - {"NaN features"}))
def test_fit_command_invalid_data_error_names_the_fault(name, tmp_path):
    features, labels, pattern = INVALID[name]
    np.savez(tmp_path / "data.npz", X=features, y=labels)
    done = CliRunner().invoke(
        main, ["fit", str(tmp_path / "data.npz"), "--models", str(tmp_path / "models")]
    )
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert re.search(pattern, done.stderr)
    assert not list(tmp_path.glob("models/**/bundle.json"))


def test_fit_one_class_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", X=X, y=np.zeros(60, int))
    done = CliRunner().invoke(main, ["fit", str(tmp_path / "data.npz")])
    assert "expected at least two classes in y; got only [0]" in done.stderr
    with pytest.raises(ValueError, match="2 classes|one class"):
        MLPClassifier((4,)).fit(X, np.zeros(60, int))


@pytest.mark.parametrize("labels", [Y + 1, Y - 1], ids=["too high", "below 0"])
def test_sequential_fit_class_index_out_of_range_is_refused(labels):
    network = Sequential([Dense(4, "relu"), Dense(3)])
    network.compile()
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        network.fit(X, labels)


def test_sequential_fit_float_labels_are_refused():
    network = Sequential([Dense(4, "relu"), Dense(3)])
    network.compile()
    with pytest.raises(ValueError, match="class indices.*integers"):
        network.fit(X, Y.astype(float))


def test_training_run_rows_of_other_dtype_are_refused():
    network = Network(4, [Dense(3)], rng=RNG)
    rows = TrainingRows(X, Y)  # float64 for a float32 network
    with pytest.raises(ValueError, match="expected features of float32; got float64"):
        TrainingRun(
            network,
            CategoricalCrossEntropy(),
            UpdateRule(SGD(0.1)),
            rows,
            epochs=1,
            batch_size=8,
            rng=RNG,
        )


def test_fit_diverging_training_exports_nothing(tmp_path):
    options = ["--optimizer", "sgd", "--learning-rate", "1e12", "--models", str(tmp_path)]
    done = CliRunner().invoke(main, ["fit", "diabetes", *options])
    assert done.exit_code == 1
    assert "expected a finite training loss; got" in done.stderr
    assert "lower the learning rate" in done.stderr
    assert not list(tmp_path.glob("**/bundle.json"))
    network = Sequential([Dense(4, "relu"), Dense(1)])
    network.compile("sgd", "mse", learning_rate=1e12)
    with pytest.raises(TrainingDivergedError):
        network.fit(X, X[:, :1], epochs=20)
