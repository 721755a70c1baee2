import numpy as np
import pytest

from trainer.nn import (
    ACTIVATIONS,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Dense,
    MeanSquaredError,
    Network,
    ReLU,
    Tanh,
    check_gradients,
)
from trainer.nn import losses as losses_module

LOSSES = [MeanSquaredError(), BinaryCrossEntropy(), CategoricalCrossEntropy()]
LIMIT = 1e-6


def problem(activation, loss, rng, hidden=(6, 5)):
    """A float64 network with rows that keep every ReLU away from its kink."""
    outputs = 1 if isinstance(loss, BinaryCrossEntropy) else 3
    layers = [*(Dense(units, activation) for units in hidden), Dense(outputs)]
    network = Network(4, layers, rng=rng, dtype=np.float64)
    network.parameters += 0.1 * rng.normal(size=network.n_parameters)  # biases off zero
    x = _away_from_kinks(network, rng.normal(size=(200, 4)))[:20]
    if isinstance(loss, CategoricalCrossEntropy):
        return network, x, rng.integers(0, 3, len(x))
    if isinstance(loss, BinaryCrossEntropy):
        return network, x, rng.integers(0, 2, (len(x), 1)).astype(float)
    return network, x, rng.normal(size=(len(x), 3))


def _away_from_kinks(network, x):
    a, keep = x, np.ones(len(x), bool)
    for layer in network.layers[:-1]:
        z = a @ layer.W + layer.b
        keep &= np.abs(z).min(axis=1) > 1e-3
        a = np.empty_like(z)
        layer.activation.value(z, out=a)
    assert keep.sum() >= 20
    return x[keep]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5), (5, 4, 3)], ids=str)
def test_every_gradient_is_right(activation, loss, hidden, rng):
    network, x, y = problem(activation, loss, rng, hidden)
    errors = check_gradients(network, x, y, loss)
    assert [(e.layer, e.parameter) for e in errors] == [
        (i, p) for i in range(len(hidden) + 1) for p in ("W", "b")
    ]
    assert max(e.relative for e in errors) <= LIMIT


def test_the_check_leaves_the_network_as_it_was(rng):
    network, x, y = problem("tanh", LOSSES[2], rng)
    before = network.parameters.copy()
    check_gradients(network, x, y, LOSSES[2])
    np.testing.assert_array_equal(network.parameters, before)


def test_a_wrong_derivative_is_found_in_the_layers_it_reaches(rng, monkeypatch):
    network, x, y = problem("tanh", LOSSES[2], rng)

    def wrong(self, z, a, out):
        np.subtract(1, a, out=out)  # instead of 1 − a²

    monkeypatch.setattr(Tanh, "derivative", wrong)
    found = {e.layer: e.relative for e in check_gradients(network, x, y, LOSSES[2])}
    assert found[0] > 1e-2
    assert found[1] > 1e-2
    assert found[2] <= LIMIT  # the output layer does not use it


def test_a_gradient_off_by_a_factor_is_found(rng, monkeypatch):
    network, x, y = problem("tanh", LOSSES[2], rng)
    right = losses_module.CategoricalCrossEntropy.value_and_gradient

    def doubled(self, logits, targets, out):
        value = right(self, logits, targets, out)
        out *= 2
        return value

    monkeypatch.setattr(CategoricalCrossEntropy, "value_and_gradient", doubled)
    errors = check_gradients(network, x, y, LOSSES[2])
    assert all(e.relative == pytest.approx(1 / 3, rel=1e-3) for e in errors)


def test_a_kink_taken_on_the_wrong_side_is_found(rng, monkeypatch):
    network, x, y = problem("relu", LOSSES[2], rng)
    monkeypatch.setattr(ReLU, "derivative", lambda self, z, a, out: out.fill(1))
    assert max(e.relative for e in check_gradients(network, x, y, LOSSES[2])) > 1e-2


def test_float32_is_refused(rng):
    network = Network(2, [Dense(1)], rng=rng)
    x, y = np.ones((1, 2), np.float32), np.ones((1, 1), np.float32)
    with pytest.raises(ValueError, match="expected a float64 network; got float32"):
        check_gradients(network, x, y, MeanSquaredError())
