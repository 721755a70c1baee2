import doctest

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

import trainer.sequential
from tests.trainer.sequential.networks import load_standardised, make_compiled, make_iris_network
from trainer.nn import (
    Adam,
    BatchNorm,
    Branches,
    Cosine,
    Dense,
    Dropout,
    Huber,
    MaxNorm,
    Members,
    Penalty,
    WeightAverage,
)
from trainer.sequential import Sequential
from trainer.training.callbacks import EarlyStopping, ModelCheckpoint


def test_sequential_docstring_example_runs():
    assert doctest.testmod(trainer.sequential).failed == 0


def test_sequential_fit_values_learns():
    X, y = load_standardised(load_diabetes)
    y = (y - y.mean()) / y.std()
    network = Sequential([Dense(16, "gelu"), Dense(1)], dtype=np.float64)
    network.compile(
        "adamw",
        Huber(),
        ["mae", "mse"],
        learning_rate=0.01,
        penalty=Penalty(l2=0.01),
        max_norm=MaxNorm(3),
        clip_norm=1.0,
    )
    history = network.fit(X[:350], y[:350], epochs=30, validation_data=(X[350:], y[350:]))
    assert set(history.curves) == {"loss", "val_loss", "val_mae", "val_mse"}
    assert history.curves["val_mse"][-1] < 0.7
    assert network.predict(X).dtype == np.float64


def test_sequential_members_learn_and_predict_their_mean():
    X, y = load_standardised(load_iris)
    network = Sequential([Members(*([Dense(8, "tanh"), Dense(3)] for _ in range(3)))], seed=0)
    network.compile("adam", "categorical_cross_entropy", ["accuracy"], learning_rate=0.02)
    network.fit(X, y, epochs=40, validation_data=(X, y))
    assert network.evaluate(X, y)["accuracy"] > 0.95
    probabilities = network.predict(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    x = X.astype(np.float32)
    chains = network.network.layers[0].chains
    logits = np.mean([chain.forward(x, training=False) for chain in chains], axis=0)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_sequential_branches_accept_one_array_each(rng):
    a, b = rng.normal(size=(500, 3)), rng.normal(size=(500, 2))
    y = (a[:, 0] * b[:, 0] > 0).astype(int)
    network = Sequential(
        [Branches((3, [Dense(12, "tanh")]), (2, [Dense(12, "tanh")])), Dense(24, "tanh"), Dense(1)]
    )
    network.compile("adam", "binary_cross_entropy", learning_rate=0.01)
    network.fit((a, b), y, epochs=60)
    assert network.evaluate((a, b), y)["accuracy"] > 0.95
    with pytest.raises(ValueError, match=r"as many rows in each input; got \[500, 499\]"):
        network.predict((a, b[1:]))


def test_sequential_multilabel_learns(rng):
    X = rng.normal(size=(300, 4))
    Y = (X[:, :2] > 0).astype(int)
    network = Sequential([Dense(2)])
    network.compile("nadam", "binary_cross_entropy", learning_rate=0.05)
    network.fit(X, Y, epochs=40)
    assert network.evaluate(X, Y)["accuracy"] > 0.97


def test_sequential_second_fit_continues_training():
    X, y = load_standardised(load_iris)
    network = Sequential([Dense(8, "relu"), Dense(3)])
    network.compile(learning_rate=0.01)
    first = network.fit(X, y, epochs=5).curves["loss"]
    second = network.fit(X, y, epochs=5).curves["loss"]
    assert second[0] < first[-1]


def test_sequential_same_seed_predicts_same():
    X, y = load_standardised(load_iris)

    def predict_after_fit(seed):
        network = Sequential([Dense(8), BatchNorm("relu"), Dropout(0.2), Dense(3)], seed=seed)
        network.compile()
        network.fit(X, y, epochs=3)
        return network.predict(X)

    np.testing.assert_array_equal(predict_after_fit(3), predict_after_fit(3))
    assert (predict_after_fit(3) != predict_after_fit(4)).any()


def test_sequential_early_stopping_ends_fit():
    X, y = load_standardised(load_iris)
    network = Sequential([Dense(32, "relu"), Dense(3)])
    network.compile(learning_rate=0.1)
    history = network.fit(X, y, epochs=500, validation_split=0.2, callbacks=[EarlyStopping(3)])
    assert len(history.epochs) < 500


def test_sequential_invalid_call_raises_error(rng):
    X, y = load_standardised(load_iris)
    network = Sequential([Dense(3)])
    with pytest.raises(RuntimeError, match=r"call compile\(…\) first"):
        network.fit(X, y)
    with pytest.raises(RuntimeError, match=r"call build\(n_inputs\) or fit first"):
        network.summary()
    for arguments, message in (
        ({"optimizer": "magic"}, "expected the name of an optimizer"),
        ({"loss": "magic"}, "expected the name of a loss"),
        ({"metrics": ["magic"]}, "expected the name of a metric"),
        ({"schedule": "magic"}, "expected the name of a schedule"),
    ):
        with pytest.raises(ValueError, match=message):
            network.compile(**arguments)
    sigmoid = Sequential([Dense(1, "sigmoid")])
    with pytest.raises(ValueError, match="for classes use binary_cross_entropy"):
        sigmoid.compile(loss="mse")
    network.compile(schedule=Cosine())
    for arguments, message in (
        ((X[:, 0], y), r"numbers of shape \(n, n_inputs\); got float64 of \(150,\)"),
        ((X.astype(str), y), "got <U"),
        ((X, y + 5), "class indices from 0 to 2"),
        ((X, y[:9]), "150 rows and 9 targets"),
        ((X, y.astype(float)), "expected class indices"),
        ((np.full_like(X, np.inf), y), "finite features"),
    ):
        with pytest.raises(ValueError, match=message):
            network.fit(*arguments)
    with pytest.raises(ValueError, match=r"validation_split in \[0, 1\); got 1"):
        network.fit(X, y, validation_split=1)


def test_sequential_loaded_weights_predict_same(tmp_path):
    X, y = load_standardised(load_iris)
    network = make_iris_network()
    network.fit(X, y, epochs=5)
    network.save_weights(tmp_path / "weights.npz")
    other = make_iris_network()
    other.load_weights(tmp_path / "weights.npz", 4)
    np.testing.assert_array_equal(other.predict(X), network.predict(X))


def test_sequential_load_weights_reads_model_checkpoint(tmp_path):
    X, y = load_standardised(load_iris)
    network, path = make_iris_network(), tmp_path / "best.npz"
    history = network.fit(X, y, epochs=5, validation_split=0.2, callbacks=[ModelCheckpoint(path)])
    network.load_weights(path)
    last = len(X) - int(len(X) * 0.2)
    measured = network.evaluate(X[last:], y[last:])["loss"]
    assert measured == pytest.approx(min(history.curves["val_loss"]), rel=1e-6)


def test_sequential_load_weights_of_other_network_raises_value_error(tmp_path):
    network = make_iris_network()
    with pytest.raises(RuntimeError, match="expected a network that is built"):
        network.save_weights(tmp_path / "weights.npz")
    network.build(4)
    network.save_weights(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match="expected a snapshot of a network like"):
        make_iris_network().load_weights(tmp_path / "weights.npz", 5)


@pytest.mark.parametrize(
    "argument",
    [
        {"batch_size": 7},
        {"epochs": 3},
        {"sample_weight": np.arange(150) % 2},
        {"class_weight": {2: 5.0}},
        {"validation_split": 0.3},
        {"shuffle": False},
    ],
    ids=str,
)
def test_sequential_fit_argument_changes_result(argument):
    X, y = load_standardised(load_iris)
    default, other = make_compiled(), make_compiled()
    default.fit(X, y)
    other.fit(X, y, **argument)
    assert (default.predict(X) != other.predict(X)).any()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"optimizer": Adam(), "learning_rate": 0.1}, "give it the rate itself"),
        ({"optimizer": 3}, r"expected a trainer\.nn\.Optimizer; got 3"),
        ({"loss": len}, "a loss of trainer.nn"),
        ({"metrics": ["accuracy", "accuracy"]}, "'accuracy' twice"),
        ({"metrics": ["mae"]}, "fit the loss categorical_cross_entropy; got 'mae'"),
        ({"loss": "mse", "metrics": ["accuracy"]}, "fit the loss mse; got 'accuracy'"),
        ({"average": 0.9}, r"a trainer\.nn\.WeightAverage"),
        ({"penalty": 0.1}, r"a trainer\.nn\.Penalty"),
        ({"clip_norm": 0}, "clip_norm above 0"),
    ],
    ids=str,
)
def test_sequential_compile_invalid_argument_raises_value_error(argument, message):
    with pytest.raises(ValueError, match=message):
        Sequential([Dense(3)]).compile(**argument)


def test_sequential_regression_class_weight_or_other_inputs_raises_value_error(tmp_path):
    X, y = load_standardised(load_diabetes)
    network = Sequential([Dense(1)])
    network.compile(loss="mse")
    with pytest.raises(ValueError, match="expected classes for class_weight"):
        network.fit(X, y, class_weight="balanced")
    network.fit(X, y)
    network.save_weights(tmp_path / "w.npz")
    with pytest.raises(ValueError, match=r"\(n, 10\), which the network is built for; got 3"):
        network.load_weights(tmp_path / "w.npz", n_inputs=3)
    with pytest.raises(ValueError, match="a dtype out of float32, float64; got int64"):
        Sequential([Dense(1)], dtype=int)


def test_sequential_shared_optimizer_schedule_and_average_are_copied():
    X, y = load_standardised(load_iris)

    def predict_after_fit(**shared):
        network = Sequential([Dense(5, "relu"), Dense(3)], seed=4)
        network.compile(**shared)
        network.fit(X, y, epochs=2)
        return network.predict(X)

    def make_parts():
        return {"optimizer": Adam(0.05), "schedule": Cosine(), "average": WeightAverage(0.9)}

    shared = make_parts()
    other = Sequential([Dense(2, "relu"), Dense(3)], seed=9)
    other.compile(**shared)
    other.fit(X, y)
    np.testing.assert_array_equal(predict_after_fit(**shared), predict_after_fit(**make_parts()))
    assert shared["optimizer"].learning_rate == 0.05


def test_sequential_callbacks_reused_for_second_network(tmp_path):
    X, y = load_standardised(load_iris)
    stopping, saving = EarlyStopping(50), ModelCheckpoint(tmp_path / "best.npz")
    easy = make_compiled(learning_rate=0.05)
    easy.fit(X, y, epochs=20, validation_split=0.2, callbacks=[stopping, saving])
    second = make_compiled(seed=1, learning_rate=1e-4)
    second.fit(X, y, epochs=2, validation_split=0.2, callbacks=[stopping, saving])
    assert (second.predict(X) != easy.predict(X)).any()
    read = make_compiled()
    read.load_weights(tmp_path / "best.npz", n_inputs=4)
    np.testing.assert_array_equal(read.predict(X), second.predict(X))
