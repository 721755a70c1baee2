import doctest

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import log_loss

import trainer.sequential
from trainer.nn import (
    Adam,
    BatchNorm,
    Branches,
    Cosine,
    Dense,
    Dropout,
    Huber,
    MaxNorm,
    Penalty,
    WeightAverage,
)
from trainer.sequential import Sequential
from trainer.training.callbacks import EarlyStopping, ModelCheckpoint


def test_sequential_docstring_example_runs():
    assert doctest.testmod(trainer.sequential).failed == 0


def load_standardised(data):
    X, y = data(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return X[order], y[order]


def test_sequential_fit_classes_learns_and_returns_history():
    X, y = load_standardised(load_iris)
    network = Sequential([Dense(16, "relu"), Dropout(0.1), Dense(3)], seed=1)
    network.compile(Adam(0.02), "categorical_cross_entropy", schedule="cosine")
    history = network.fit(X, y, epochs=40, batch_size=16, validation_split=0.2)
    assert history.epochs == list(range(1, 41))
    assert {name: len(curve) for name, curve in history.curves.items()} == {
        "loss": 40,
        "val_loss": 40,
        "val_accuracy": 40,
    }
    results = network.evaluate(X[120:], y[120:])
    assert results["accuracy"] == history.curves["val_accuracy"][-1] > 0.9
    assert results["loss"] == pytest.approx(history.curves["val_loss"][-1])
    p = network.predict(X)
    assert p.shape == (150, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert "total" in network.summary()
    assert network.summary().count("\n") == 4


def test_sequential_fit_with_average_measures_averaged_weights():
    X, y = load_standardised(load_iris)
    network = Sequential([Dense(8, "relu"), Dense(3)])
    network.compile(learning_rate=0.01, metrics=[log_loss], average=WeightAverage(0.95))
    history = network.fit(X, y, epochs=4, validation_split=0.2)
    np.testing.assert_allclose(
        history.curves["val_log_loss"], history.curves["val_loss"], rtol=1e-4
    )


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

    def p(seed):
        network = Sequential([Dense(8), BatchNorm("relu"), Dropout(0.2), Dense(3)], seed=seed)
        network.compile()
        network.fit(X, y, epochs=3)
        return network.predict(X)

    np.testing.assert_array_equal(p(3), p(3))
    assert (p(3) != p(4)).any()


def test_sequential_sample_or_class_weight_raises_recall(rng):
    X = rng.normal(size=(600, 2))
    y = (X[:, 0] + 0.8 * rng.normal(size=600) > 1.7).astype(int)

    def recall(**weights):
        network = Sequential([Dense(1)])
        network.compile("adam", "binary_cross_entropy", learning_rate=0.05)
        network.fit(X, y, epochs=20, **weights)
        return (network.predict(X)[y == 1] >= 0.5).mean()

    assert recall(class_weight="balanced") > recall() + 0.2
    assert recall(class_weight={0: 1, 1: 30}) > recall() + 0.2
    assert recall(sample_weight=np.where(y == 1, 30, 1)) > recall() + 0.2


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


def make_iris_network():
    network = Sequential([Dense(8, "relu"), Dense(3)], seed=2)
    network.compile(learning_rate=0.01)
    return network


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


def test_sequential_fit_unequal_rows_and_targets_raises_value_error():
    X, y = load_standardised(load_iris)
    for features, targets in ((X[:100], y), (X, y[:100])):
        for split in (0.0, 0.3):
            with pytest.raises(ValueError, match="expected one target per row; got 1.0 rows and 1"):
                make_iris_network().fit(features, targets, validation_split=split)


def test_sequential_split_without_a_class_raises_value_error():
    X, y = load_iris(return_X_y=True)  # in the order of the classes
    with pytest.raises(ValueError, match=r"got \[2\] only among the last ones.*shuffle"):
        make_iris_network().fit(X, y, validation_split=0.34)


def make_compiled(seed=0, **options):
    network = Sequential([Dense(6, "relu"), Dense(3)], seed=seed)
    network.compile(**{"learning_rate": 0.01} | options)
    return network


def test_sequential_validation_loss_uses_sample_weight(rng):
    X, y = load_standardised(load_iris)
    weights = rng.random(150) * 5
    split = make_compiled()
    split.fit(X, y, sample_weight=weights, validation_split=0.2, epochs=2)
    given = make_compiled()
    curves = given.fit(
        X[:120],
        y[:120],
        sample_weight=weights[:120],
        epochs=2,
        validation_data=(X[120:], y[120:], weights[120:]),
    ).curves
    expected = given.evaluate(X[120:], y[120:], sample_weight=weights[120:])["loss"]
    assert curves["val_loss"][-1] == pytest.approx(expected, rel=1e-6)
    assert curves["val_loss"][-1] != pytest.approx(given.evaluate(X[120:], y[120:])["loss"])
    assert split.evaluate(X[120:], y[120:], sample_weight=weights[120:])["loss"] == (
        pytest.approx(expected)
    )
    # Class weights apply to training only, as in Keras.
    by_class = make_compiled().fit(
        X[:120], y[:120], validation_data=[X[120:], y[120:]], class_weight={0: 0, 2: 9}
    )
    assert by_class.curves["val_loss"]


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


FOUR_ROWS = (np.zeros((4, 4)), np.zeros(4, int))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"batch_size": 2.5}, "batch_size, a whole number"),
        ({"epochs": 0}, "epochs of at least 1"),
        ({"epochs": 1.5}, "epochs, a whole number"),
        ({"sample_weight": np.ones(120), "validation_split": 0.2}, "one weight per row"),
        ({"sample_weight": np.ones((150, 1))}, "one weight per row"),
        ({"sample_weight": 1.0, "class_weight": "balanced"}, "one weight per row"),
        ({"sample_weight": np.full(150, -1)}, "weights of at least 0"),
        ({"sample_weight": np.zeros(150)}, "not all of them 0"),
        ({"sample_weight": np.full(150, np.nan)}, "finite weights"),
        ({"validation_data": (np.zeros((4, 4)),)}, "got 1 of them"),
        ({"validation_data": (*FOUR_ROWS, np.ones(4), 0)}, "got 4 of them"),
        ({"validation_data": (*FOUR_ROWS, np.ones(3))}, "one weight per row"),
        ({"validation_data": "test"}, "got 'test'"),
        ({"validation_data": FOUR_ROWS, "validation_split": 0.1}, "got both"),
        ({"validation_split": 0.001}, "leaves rows for training and for validation"),
        ({"validation_split": float("nan")}, "validation_split in"),
        ({"class_weight": {0: 1, 7: 2}}, r"the classes \[0, 1, 2\]; got \[7\] too"),
        ({"class_weight": "equal"}, "class_weight balanced, or by class"),
        ({"class_weight": {1: -1}}, "weights of at least 0"),
    ],
    ids=str,
)
def test_sequential_fit_invalid_argument_raises_value_error(argument, message):
    X, y = load_standardised(load_iris)
    with pytest.raises(ValueError, match=message):
        make_compiled().fit(X, y, **argument)


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

    def trained(**shared):
        network = Sequential([Dense(5, "relu"), Dense(3)], seed=4)
        network.compile(**shared)
        network.fit(X, y, epochs=2)
        return network.predict(X)

    def parts():
        return {"optimizer": Adam(0.05), "schedule": Cosine(), "average": WeightAverage(0.9)}

    shared = parts()
    other = Sequential([Dense(2, "relu"), Dense(3)], seed=9)
    other.compile(**shared)
    other.fit(X, y)
    np.testing.assert_array_equal(trained(**shared), trained(**parts()))
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


def test_sequential_evaluate_uses_sample_weight_in_loss_only(rng):
    X, y = load_standardised(load_iris)
    network = make_compiled()
    network.fit(X, y, epochs=3)
    weights = (y == 0) + 0.01
    weighted, unweighted = network.evaluate(X, y, sample_weight=weights), network.evaluate(X, y)
    p = network.predict(X)[np.arange(150), y]
    assert weighted["loss"] == pytest.approx(np.average(-np.log(p), weights=weights), rel=1e-4)
    assert weighted["accuracy"] == unweighted["accuracy"]  # metrics ignore the weights
    for wrong in (np.ones(149), np.zeros(150), -weights, np.full(150, np.nan), 2.0):
        with pytest.raises(ValueError, match="weights?"):
            network.evaluate(X, y, sample_weight=wrong)


def test_sequential_fit_empty_validation_or_wrong_class_weight_raises_value_error():
    x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
    network = Sequential([Dense(1)])
    network.compile("adam", "binary_cross_entropy")
    with pytest.raises(ValueError, match=r"expected rows; got targets of shape \(0,\)"):
        network.fit(x, y, validation_data=(x[:0], y[:0]))
    with pytest.raises(ValueError, match="expected class_weight balanced, or by class; got 3"):
        network.fit(x, y, class_weight=3)
