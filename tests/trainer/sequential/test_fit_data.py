import numpy as np
import pytest
from sklearn.datasets import load_iris

from tests.trainer.sequential.networks import load_standardised, make_compiled, make_iris_network
from trainer.nn import Dense
from trainer.sequential import Sequential

FOUR_ROWS = (np.zeros((4, 4)), np.zeros(4, int))


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


def test_sequential_fit_unequal_rows_and_targets_raises_value_error():
    X, y = load_standardised(load_iris)
    for features, targets in ((X[:100], y), (X, y[:100])):
        for split in (0.0, 0.3):
            with pytest.raises(ValueError, match="expected one target per row; got 1.0 rows and 1"):
                make_iris_network().fit(features, targets, validation_split=split)


def test_sequential_split_without_a_class_raises_value_error():
    X, y = load_iris(return_X_y=True)  # in the order of the classes
    with pytest.raises(ValueError, match=r"got \[2\] only among the last rows.*shuffle"):
        make_iris_network().fit(X, y, validation_split=0.34)


def test_sequential_validation_loss_uses_sample_weight(rng):
    X, y = load_standardised(load_iris)
    weights = rng.random(150) * 5
    by_split = make_compiled()
    by_split.fit(X, y, sample_weight=weights, validation_split=0.2, epochs=2)
    by_data = make_compiled()
    curves = by_data.fit(
        X[:120],
        y[:120],
        sample_weight=weights[:120],
        epochs=2,
        validation_data=(X[120:], y[120:], weights[120:]),
    ).curves
    expected = by_data.evaluate(X[120:], y[120:], sample_weight=weights[120:])["loss"]
    assert curves["val_loss"][-1] == pytest.approx(expected, rel=1e-6)
    assert curves["val_loss"][-1] != pytest.approx(by_data.evaluate(X[120:], y[120:])["loss"])
    assert by_split.evaluate(X[120:], y[120:], sample_weight=weights[120:])["loss"] == (
        pytest.approx(expected)
    )
    # Class weights apply to training only, as in Keras.
    by_class = make_compiled().fit(
        X[:120], y[:120], validation_data=[X[120:], y[120:]], class_weight={0: 0, 2: 9}
    )
    assert by_class.curves["val_loss"]


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
