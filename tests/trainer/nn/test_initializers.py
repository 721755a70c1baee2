import copy

import numpy as np
import pytest

from trainer.nn import ACTIVATIONS, INITIALIZERS, CategoricalCrossEntropy, Dense, LeakyReLU, Network
from trainer.nn.optimizers import SGD

FAN_IN, FAN_OUT = 400, 300
VARIANCES = {  # from the papers, for the slopes 0 and 0.5
    "zeros": (0, 0),
    "lecun_normal": (1 / FAN_IN, 1 / FAN_IN),
    "glorot_uniform": (2 / (FAN_IN + FAN_OUT),) * 2,
    "glorot_normal": (2 / (FAN_IN + FAN_OUT),) * 2,
    "he_normal": (2 / FAN_IN, 2 / (1.25 * FAN_IN)),
    "he_uniform": (2 / FAN_IN, 2 / (1.25 * FAN_IN)),
    "orthogonal": (1 / FAN_IN, 1 / FAN_IN),  # orthonormal columns of length FAN_IN
}


def draw(name, seed=0, slope=0.0, shape=(FAN_IN, FAN_OUT)):
    W = np.empty(shape)
    INITIALIZERS[name].fill(W, np.random.default_rng(seed), slope=slope)
    return W


def test_initializers_all_have_a_published_variance():
    assert set(VARIANCES) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_initializer_variance_matches_publication(name, slope):
    W, expected = draw(name, slope=slope), VARIANCES[name][slope > 0]
    assert W.var() == pytest.approx(expected, rel=0.02)
    assert abs(W.mean()) <= 4 * np.sqrt(expected / W.size)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_uniform"])
def test_initializer_uniform_limit_is_root_three_deviations(name):
    W, bound = draw(name), np.sqrt(3 * VARIANCES[name][0])
    assert 0.99 * bound < np.abs(W).max() <= bound


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (20, 20)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    W = draw("orthogonal", shape=shape)
    product = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(INITIALIZERS) - {"zeros"}))
def test_initializer_same_seed_gives_same_weights(name):
    np.testing.assert_array_equal(draw(name, 1), draw(name, 1))
    assert (draw(name, 1) != draw(name, 2)).any()


def test_dense_default_initializer_depends_on_activation():
    names = {name: Dense(3, name).initializer.name for name in ACTIVATIONS}
    assert names == {
        "identity": "glorot_uniform",
        "sigmoid": "glorot_uniform",
        "tanh": "glorot_uniform",
        "relu": "he_normal",
        "leaky_relu": "he_normal",
        "elu": "he_normal",
        "gelu": "he_normal",
        "softplus": "he_normal",
        "swish": "he_normal",
        "selu": "lecun_normal",
    }
    assert Dense(3, "relu", initializer="glorot_uniform").initializer.name == "glorot_uniform"


@pytest.mark.parametrize("activation", ["relu", LeakyReLU(0.3), LeakyReLU(0.8)], ids=repr)
def test_he_normal_deep_network_preserves_signal_variance(activation, rng):
    layers = [Dense(256, copy.deepcopy(activation)) for _ in range(20)]
    deep = Network(256, layers, rng=rng, dtype=np.float64)
    x = rng.normal(size=(64, 256))
    assert 0.3 < (deep.logits(x) ** 2).mean() / (x**2).mean() < 3


def test_zeros_units_stay_equal_in_training(rng):
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    for initializer, distinct in (("zeros", 1), (None, 6)):
        hidden = Dense(6, "sigmoid", initializer=initializer)
        last = Dense(2, initializer=initializer)
        network, sgd = Network(3, [hidden, last], rng=rng, dtype=np.float64), SGD(0.5)
        for _ in range(50):
            network.loss_and_gradients(x, y, CategoricalCrossEntropy())
            sgd.step(network.parameters, network.gradients)
        assert len(np.unique(hidden.W.round(12), axis=1).T) == distinct
