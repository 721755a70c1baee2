import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

from trainer.estimators import MLPRegressor
from trainer.training.loop import TrainingDivergedError

pytestmark = pytest.mark.filterwarnings("ignore:expected to converge")


def test_regressor_several_targets_learns(rng):
    X = rng.normal(size=(300, 3))
    Y = np.column_stack([X[:, 0], -2 * X[:, 1]])
    model = MLPRegressor(
        hidden_layer_sizes=(32,), max_iter=200, learning_rate_init=0.01, random_state=0
    ).fit(X, Y)
    assert model.predict(X).shape == (300, 2)
    assert model.score(X, Y) > 0.98
    assert model.fit(X, Y[:, 0]).predict(X).shape == (300,)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber"])
def test_regressor_outliers_affect_squared_error_most(loss, rng):
    X, y = np.zeros((200, 1)), rng.normal(size=200)
    y[:10] = 100
    options = dict(hidden_layer_sizes=(), max_iter=800, learning_rate_init=0.05, alpha=0)
    value = MLPRegressor(loss, **options, random_state=0, tol=0).fit(X, y).predict(X[:1])[0]
    expected = {"squared_error": y.mean(), "absolute_error": np.median(y)}
    if loss == "huber":
        assert np.median(y) < value < 0.5
    else:
        assert value == pytest.approx(expected[loss], abs=0.2)


def test_regressor_poisson_learns_rate(rng):
    X = rng.normal(size=(2000, 1))
    y = rng.poisson(np.exp(0.5 + 0.8 * X[:, 0])).astype(float)
    options = dict(hidden_layer_sizes=(), max_iter=300, learning_rate_init=0.02, random_state=0)
    model = MLPRegressor("poisson", **options).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0][0], 0.8, atol=0.05)
    with pytest.raises(ValueError, match="expected counts for the loss poisson"):
        model.fit(X, y - 5)


def test_regressor_run_diverges_keeps_weights():
    X, y = load_diabetes(return_X_y=True)
    model = MLPRegressor(hidden_layer_sizes=(8,), solver="sgd", max_iter=5).partial_fit(X, y / 100)
    before = model.predict(X)
    model.learning_rate_init = 1e300
    model._update.full_rate = model._update.optimizer.learning_rate = 1e300
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingDivergedError, match="lower the learning"),
    ):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_partial_fit_after_diverged_run_has_finite_weights():
    digits, _ = load_digits(return_X_y=True)
    values = digits[:, 10]
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=0).partial_fit(digits, values)
    huge = digits.copy()
    huge[0] = 1e300
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        with pytest.raises((TrainingDivergedError, ValueError)):
            model.partial_fit(huge, values)
        assert np.isfinite(model.partial_fit(digits, values).predict(digits)).all()
