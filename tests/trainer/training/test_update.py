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


def make_network(seed=0):
    return Network(3, [Dense(4, "tanh"), Dense(2)], rng=np.random.default_rng(seed))


def make_step(update, weights=None, step_index=0, n_steps=10):
    """Return the network after one step, the change of its parameters, and the loss."""
    network, rng = make_network(), np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)
    before = network.parameters.copy()
    value = update.step(
        network,
        CategoricalCrossEntropy(),
        x,
        y,
        weights,
        step_index=step_index,
        n_steps=n_steps,
    )
    return network, network.parameters - before, value


def test_update_rule_optimizer_only_makes_its_step():
    network, change, value = make_step(UpdateRule(SGD(0.1)))
    np.testing.assert_allclose(change, -0.1 * network.gradients, atol=1e-7)
    assert value == pytest.approx(np.log(2), abs=0.4)


def test_update_rule_both_clippings_clips_by_value_then_by_norm():
    network, change, _ = make_step(UpdateRule(SGD(1.0), clip_value=0.01, clip_norm=0.02))
    assert np.abs(network.gradients).max() <= 0.01
    assert np.linalg.norm(network.gradients) == pytest.approx(0.02, rel=1e-5)
    np.testing.assert_allclose(change, -network.gradients, atol=1e-7)


def test_update_rule_schedule_sets_learning_rate_of_each_step():
    update = UpdateRule(SGD(0.1), schedule=Exponential(0.01))
    for step_index in (0, 5, 9):
        network, change, _ = make_step(update, step_index=step_index)
        rate = 0.1 * 0.01 ** (step_index / 9)
        np.testing.assert_allclose(change, -rate * network.gradients, atol=1e-7)


def test_update_rule_penalty_is_in_loss_and_gradient():
    without, with_penalty = (
        make_step(UpdateRule(SGD(0.1))),
        make_step(UpdateRule(SGD(0.1), penalty=Penalty(l2=3))),
    )
    expected = Penalty(l2=3).value(make_network().weights())
    assert with_penalty[2] - without[2] == pytest.approx(expected, rel=1e-5)
    assert np.abs(with_penalty[1] - without[1]).max() > 0.01


def test_update_rule_max_norm_bounds_weights_after_step():
    network, _, _ = make_step(UpdateRule(SGD(5.0), max_norm=MaxNorm(0.5)))
    for W, _ in network.weights():
        assert np.linalg.norm(W, axis=0).max() <= 0.5 * (1 + 1e-6)


def test_update_rule_average_follows_parameters():
    update = UpdateRule(SGD(0.1), average=WeightAverage(0.9))
    network, _, _ = make_step(update)
    np.testing.assert_array_equal(update.average.average, network.parameters)


def test_update_rule_row_weights_change_step():
    weights = np.zeros(20, np.float32)
    weights[3] = 1
    weighted, unweighted = make_step(UpdateRule(SGD(0.1)), weights), make_step(UpdateRule(SGD(0.1)))
    assert (weighted[1] != unweighted[1]).any()


def test_update_rule_limit_of_zero_raises_value_error():
    for name in ("clip_norm", "clip_value"):
        with pytest.raises(ValueError, match=f"expected {name} above 0; got 0"):
            UpdateRule(SGD(0.1), **{name: 0})
