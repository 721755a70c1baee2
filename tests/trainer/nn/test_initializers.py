import numpy as np
import pytest

from trainer.nn import INITIALIZERS, Dense, Network

FAN_IN, FAN_OUT = 400, 300
VARIANCES = {"glorot_uniform": 2 / (FAN_IN + FAN_OUT), "he_normal": 2 / FAN_IN}


def draw(name, seed=0):
    W = np.empty((FAN_IN, FAN_OUT))
    INITIALIZERS[name].fill(W, np.random.default_rng(seed))
    return W


def test_every_initializer_has_a_published_variance():
    assert set(VARIANCES) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_variance_is_the_published_one(name):
    W = draw(name)
    assert W.var() == pytest.approx(VARIANCES[name], rel=0.02)
    assert abs(W.mean()) < 4 * np.sqrt(VARIANCES[name] / W.size)


def test_glorot_is_bounded():
    limit = np.sqrt(6 / (FAN_IN + FAN_OUT))
    assert np.abs(draw("glorot_uniform")).max() <= limit


@pytest.mark.parametrize("name", INITIALIZERS)
def test_same_seed_same_weights(name):
    np.testing.assert_array_equal(draw(name, 1), draw(name, 1))
    assert (draw(name, 1) != draw(name, 2)).any()


def test_relu_layers_start_by_he_and_others_by_glorot():
    assert Dense(3, "relu").initializer is INITIALIZERS["he_normal"]
    assert Dense(3, "tanh").initializer is INITIALIZERS["glorot_uniform"]
    assert Dense(3, "relu", initializer="glorot_uniform").initializer.name == "glorot_uniform"


def test_he_keeps_the_size_of_signals_through_many_relu_layers(rng):
    deep = Network(256, [Dense(256, "relu") for _ in range(20)], rng=rng, dtype=np.float64)
    x = rng.normal(size=(64, 256))
    assert 0.2 < np.sqrt((deep.logits(x) ** 2).mean() / (x**2).mean()) < 5
