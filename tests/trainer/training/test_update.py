import numpy as np
import pytest

from trainer.nn import (
    SGD,
    Adam,
    AdamW,
    Branches,
    CategoricalCrossEntropy,
    Cosine,
    Dense,
    Dropout,
    Exponential,
    FlatCosine,
    MaxNorm,
    Nadam,
    Network,
    Penalty,
    ReduceOnPlateau,
    WeightAverage,
)
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback, TrainingRun
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


class RecordingRule(UpdateRule):
    """An update rule that records the dropout rate and the decay of each step."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.records = []

    def step(self, network, *arguments, **options):
        value = super().step(network, *arguments, **options)
        dropout = network.layers[1]
        self.records.append((dropout.rate * dropout.rate_scale, self.optimizer.decay_scale))
        return value


def run_rule(update, epochs=5, callbacks=()):
    """Return the network after a run of 5 epochs of 4 steps."""
    rng = np.random.default_rng(1)
    rows = TrainingRows(rng.normal(size=(16, 3)).astype(np.float32), rng.integers(0, 2, 16))
    network = Network(3, [Dense(4, "tanh"), Dropout(0.4), Dense(2)], rng=np.random.default_rng(0))
    options = {"epochs": epochs, "batch_size": 4, "rng": rng, "callbacks": callbacks}
    TrainingRun(network, CategoricalCrossEntropy(), update, rows, **options).run()
    return network


def test_update_rule_regularization_schedule_scales_dropout_and_decay():
    update = RecordingRule(AdamW(0.01), regularization_schedule=FlatCosine())
    run_rule(update)
    factors = [1 if s < 10 else (1 + np.cos(np.pi * (s - 10) / 10)) / 2 for s in range(20)]
    rates, decays = zip(*update.records, strict=True)
    np.testing.assert_allclose(rates, 0.4 * np.array(factors), atol=1e-12)
    np.testing.assert_allclose(decays, factors, atol=1e-12)


def test_update_rule_without_regularization_schedule_keeps_dropout_and_decay():
    update = RecordingRule(AdamW(0.01))
    run_rule(update)
    assert update.records == [(0.4, 1)] * 20


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.steps == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [15, None])
def test_update_rule_run_ends_restores_full_rates_and_decay(step):
    update = UpdateRule(AdamW(0.01), schedule=Cosine(), regularization_schedule=FlatCosine())
    networks = []

    class Remember(Callback):
        def on_start(self, run):
            networks.append(run.network)

    try:
        run_rule(update, callbacks=[Remember(), StopAt(step)])
    except KeyboardInterrupt:
        assert step is not None
    assert networks[0].layers[1].rate_scale == 1
    assert update.optimizer.decay_scale == 1
    assert update.optimizer.learning_rate == 0.01


def test_update_rule_regularization_schedule_reaches_dropout_in_branches():
    inner = Dropout(0.4)
    layers = [Branches((2, [Dense(3, "tanh"), inner]), (1, [Dense(2)])), Dense(2)]
    network = Network(3, layers, rng=np.random.default_rng(0))
    update = UpdateRule(SGD(0.1), regularization_schedule=FlatCosine())
    update.start(network)
    x, y = np.ones((4, 3), np.float32), np.zeros(4, int)
    update.step(network, CategoricalCrossEntropy(), x, y, None, step_index=15, n_steps=20)
    assert inner.rate_scale == pytest.approx(0.5)
    update.finish(network)
    assert inner.rate_scale == 1


def test_update_rule_layer_rates_scale_the_step_of_each_parameter():
    network = make_network()
    update = UpdateRule(Adam(0.1, epsilon=1e-12), has_layer_rates=True)
    update.start(network)
    before, rng = network.parameters.copy(), np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.integers(0, 2, 20)
    update.step(network, CategoricalCrossEntropy(), x, y, None, step_index=0, n_steps=1)
    # The first step of Adam is the rate of the parameter, in the direction of the gradient.
    change = np.abs(network.parameters - before)
    factors = np.r_[[3**-0.5] * 12, [0.1] * 4, [4**-0.5] * 8, [0.1] * 2]
    np.testing.assert_allclose(change, 0.1 * factors, rtol=1e-4)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Nadam(0.1)], ids=repr)
def test_update_rule_layer_rates_of_another_optimizer_raises_value_error(optimizer):
    with pytest.raises(ValueError, match="expected adam or adamw for rates of single layers"):
        UpdateRule(optimizer, has_layer_rates=True)


def test_update_rule_regularization_schedule_of_another_type_raises_value_error():
    with pytest.raises(ValueError, match=r"expected a trainer.nn.Schedule; got 'flat_cosine'"):
        UpdateRule(SGD(0.1), regularization_schedule="flat_cosine")


def test_update_rule_regularization_by_plateau_is_refused():
    with pytest.raises(ValueError, match="depends on the progress alone; got ReduceOnPlateau"):
        UpdateRule(AdamW(), regularization_schedule=ReduceOnPlateau())
