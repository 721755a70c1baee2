"""Bad input gets an error that names it, whichever way it comes in; nothing is half trained."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from trainer.cli import main
from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.nn import SGD, CategoricalCrossEntropy, Dense
from trainer.nn import Network as Core
from trainer.sequential import Sequential
from trainer.training.batches import TrainingRows
from trainer.training.loop import TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.arange(60) % 3


def spoiled(value):
    features = X.copy()
    features[7, 2] = value
    return features


# Features, labels, and what the error must say to name the fault.
BAD = {
    "NaN features": (spoiled(np.nan), Y, "NaN|missing"),
    "infinite features": (spoiled(np.inf), Y, "infinit"),
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


@pytest.mark.parametrize("name", BAD)
def test_the_familiar_face_names_it(name):
    features, labels, said = BAD[name]
    network = Sequential([Dense(4, "relu"), Dense(3)])
    network.compile()
    with pytest.raises(ValueError, match=said):
        network.fit(features, labels)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("name", BAD)
def test_the_estimators_name_it(name, kind):
    features, labels, said = BAD[name]
    with pytest.raises(ValueError, match=said):
        kind((4,), max_iter=2).fit(features, labels)


@pytest.mark.parametrize(
    "name", sorted(set(BAD) - {"NaN features"})
)  # these are gaps, which it fills
def test_the_command_names_it_and_writes_nothing(name, tmp_path):
    features, labels, said = BAD[name]
    np.savez(tmp_path / "data.npz", X=features, y=labels)
    done = CliRunner().invoke(
        main, ["fit", str(tmp_path / "data.npz"), "--models", str(tmp_path / "models")]
    )
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)  # no traceback
    assert re.search(said, done.stderr)
    assert not list(tmp_path.glob("models/**/bundle.json"))


def test_one_class_alone_is_named(tmp_path):
    np.savez(tmp_path / "data.npz", X=X, y=np.zeros(60, int))
    done = CliRunner().invoke(main, ["fit", str(tmp_path / "data.npz")])
    assert "expected at least two classes in y; got only [0]" in done.stderr
    with pytest.raises(ValueError, match="2 classes|one class"):
        MLPClassifier((4,)).fit(X, np.zeros(60, int))


@pytest.mark.parametrize("labels", [Y + 1, Y - 1], ids=["too high", "below 0"])
def test_labels_outside_the_outputs_are_named(labels):
    network = Sequential([Dense(4, "relu"), Dense(3)])
    network.compile()
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        network.fit(X, labels)


def test_labels_of_another_type_are_named():
    network = Sequential([Dense(4, "relu"), Dense(3)])
    network.compile()
    with pytest.raises(ValueError, match="class indices.*integers"):
        network.fit(X, Y.astype(float))


def test_rows_of_another_dtype_are_named():
    core = Core(4, [Dense(3)], rng=RNG)
    rows = TrainingRows(X, Y)  # float64 for a float32 network
    with pytest.raises(ValueError, match="expected features of float32; got float64"):
        TrainingRun(
            core,
            CategoricalCrossEntropy(),
            UpdateRule(SGD(0.1)),
            rows,
            epochs=1,
            batch_size=8,
            rng=RNG,
        )


def test_a_run_that_diverges_is_named_and_exports_nothing(tmp_path):
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
