import numpy as np
import pytest

from trainer.nn import (
    SGD,
    CategoricalCrossEntropy,
    Dense,
    Exponential,
    MaxNorm,
    Network,
    Penalty,
    WeightAverage,
)
from trainer.training.update import UpdateRule


def a_network(seed=0):
    return Network(3, [Dense(4, "tanh"), Dense(2)], rng=np.random.default_rng(seed))


def stepped(update, weights=None, number=0, of=10):
    network, rng = a_network(), np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)
    before = network.parameters.copy()
    value = update.step(network, CategoricalCrossEntropy(), x, y, weights, number=number, of=of)
    return network, network.parameters - before, value


def test_a_plain_step_is_the_optimizers():
    network, change, value = stepped(UpdateRule(SGD(0.1)))
    np.testing.assert_allclose(change, -0.1 * network.gradients, atol=1e-7)
    assert value == pytest.approx(np.log(2), abs=0.4)


def test_a_gradient_is_clipped_by_value_then_by_norm():
    network, change, _ = stepped(UpdateRule(SGD(1.0), clip_value=0.01, clip_norm=0.02))
    assert np.abs(network.gradients).max() <= 0.01
    assert np.linalg.norm(network.gradients) == pytest.approx(0.02, rel=1e-5)
    np.testing.assert_allclose(change, -network.gradients, atol=1e-7)


def test_the_schedule_sets_the_rate_of_each_step():
    update = UpdateRule(SGD(0.1), schedule=Exponential(0.01))
    for number in (0, 5, 9):
        network, change, _ = stepped(update, number=number)
        rate = 0.1 * 0.01 ** (number / 9)
        np.testing.assert_allclose(change, -rate * network.gradients, atol=1e-7)


def test_the_penalty_is_in_the_loss_and_in_the_gradient():
    plain, penalised = (
        stepped(UpdateRule(SGD(0.1))),
        stepped(UpdateRule(SGD(0.1), penalty=Penalty(l2=3))),
    )
    expected = Penalty(l2=3).value(a_network().weights())
    assert penalised[2] - plain[2] == pytest.approx(expected, rel=1e-5)
    assert np.abs(penalised[1] - plain[1]).max() > 0.01


def test_max_norm_holds_after_the_step():
    network, _, _ = stepped(UpdateRule(SGD(5.0), max_norm=MaxNorm(0.5)))
    for W, _ in network.weights():
        assert np.linalg.norm(W, axis=0).max() <= 0.5 * (1 + 1e-6)


def test_the_average_follows():
    update = UpdateRule(SGD(0.1), average=WeightAverage(0.9))
    network, _, _ = stepped(update)
    np.testing.assert_array_equal(update.average.average, network.parameters)


def test_weights_reach_the_loss():
    weights = np.zeros(20, np.float32)
    weights[3] = 1
    assert (stepped(UpdateRule(SGD(0.1)), weights)[1] != stepped(UpdateRule(SGD(0.1)))[1]).any()


def test_impossible_bounds_are_refused():
    for name in ("clip_norm", "clip_value"):
        with pytest.raises(ValueError, match=f"expected {name} above 0; got 0"):
            UpdateRule(SGD(0.1), **{name: 0})
