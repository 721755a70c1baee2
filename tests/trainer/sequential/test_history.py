import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss

from trainer.nn import (
    Adam,
    Dense,
    Dropout,
    WeightAverage,
)
from trainer.sequential import Sequential


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
