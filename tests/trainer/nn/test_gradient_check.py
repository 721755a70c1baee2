from itertools import product

import numpy as np
import pytest

from trainer.nn import (
    ACTIVATIONS,
    ELU,
    LOSSES,
    BatchNorm,
    BinaryCrossEntropy,
    Branches,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    LeakyReLU,
    MeanSquaredError,
    Network,
    Penalty,
    ReLU,
    Tanh,
    check_gradients,
)

N, K = 12, 3
TARGETS = {
    "mse": lambda rng: rng.normal(size=(N, K)),
    "mae": lambda rng: rng.normal(size=(N, K)),
    "huber": lambda rng: 2 * rng.normal(size=(N, K)),
    "poisson": lambda rng: rng.poisson(2, (N, K)).astype(float),
    "binary_cross_entropy": lambda rng: rng.integers(0, 2, (N, K)).astype(float),
    "categorical_cross_entropy": lambda rng: rng.integers(0, K, N),
}
LAYERS = {
    "none": lambda f: [Dense(K)],
    "deep": lambda f: [Dense(6, f()), Dense(5, f()), Dense(4, f()), Dense(K)],
    "batch norm": lambda f: [Dense(6), BatchNorm(f()), Dense(K)],
    "batch norm first": lambda f: [BatchNorm(), Dense(6, f()), BatchNorm(), Dense(K)],
    "dropout": lambda f: [Dropout(0.2), Dense(8, f()), Dropout(0.3), Dense(K)],
    "branches": lambda f: [
        Branches((2, [Dense(3, f())]), (3, [BatchNorm(), Dense(4, f())])),
        Dense(K),
    ],
}
FUNCTIONS = [*ACTIVATIONS.values(), lambda: LeakyReLU(0.3), lambda: ELU(0.5)]
LIMITS = {"central": 1e-6, "complex": 1e-11}


def make_problem(layers, loss="categorical_cross_entropy", function=Tanh):
    rng = np.random.default_rng(7)
    network = Network(5, LAYERS[layers](function), rng=rng, dtype=np.float64)
    network.parameters += 0.1 * rng.normal(size=network.n_parameters)  # biases off zero
    return network, rng.normal(size=(N, 5)), TARGETS[loss](rng)


def find_largest_error(errors):
    return max(e.relative for e in errors)


@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layers", LAYERS)
def test_check_gradients_all_layers_losses_activations_agree(layers, loss, method):
    for function in FUNCTIONS:
        network, x, y = make_problem(layers, loss, function)
        errors = check_gradients(network, x, y, LOSSES[loss](), method=method)
        assert find_largest_error(errors) <= LIMITS[method], function().name


@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("layers", LAYERS)
def test_check_gradients_row_weights_penalty_smoothing_agree(layers, method):
    weights = np.random.default_rng(0).random(N)
    for penalty, loss in product(
        (Penalty(l1=0.02), Penalty(l2=0.03), Penalty(0.01, 0.02)),
        (CategoricalCrossEntropy(0.1), BinaryCrossEntropy(0.1)),
    ):
        network, x, y = make_problem(layers, loss.name)
        errors = check_gradients(
            network, x, y, loss, weights=weights, penalty=penalty, method=method
        )
        assert find_largest_error(errors) <= LIMITS[method]


def test_check_gradients_returns_one_entry_per_array():
    network, x, y = make_problem("batch norm")
    errors = check_gradients(network, x, y, CategoricalCrossEntropy())
    assert [(e.layer, e.parameter) for e in errors] == [
        (0, "W"),
        (0, "b"),
        (1, "gamma"),
        (1, "beta"),
        (2, "W"),
        (2, "b"),
    ]


@pytest.mark.parametrize("method", LIMITS)
def test_check_gradients_leaves_network_unchanged(method):
    network, x, y = make_problem("dropout")
    before, streams = network.snapshot(), [g.bit_generator.state for g in network.generators()]
    check_gradients(network, x, y, CategoricalCrossEntropy(), method=method)
    np.testing.assert_equal(network.snapshot(), before)
    assert [g.bit_generator.state for g in network.generators()] == streams


@pytest.mark.parametrize("method", LIMITS)
def test_check_gradients_wrong_derivative_is_found_in_affected_layers(method, monkeypatch):
    def compute_wrong(self, z, a, out):
        np.subtract(1, a, out=out)  # instead of 1 − a²

    monkeypatch.setattr(Tanh, "derivative", compute_wrong)
    network, x, y = make_problem("deep")
    errors = {}
    for e in check_gradients(network, x, y, CategoricalCrossEntropy(), method=method):
        errors[e.layer] = max(e.relative, errors.get(e.layer, 0))
    assert min(errors[0], errors[1], errors[2]) > 1e-2
    assert errors[3] <= LIMITS[method]  # the output layer does not use it


@pytest.mark.parametrize("method", LIMITS)
def test_check_gradients_factor_two_is_found(method, monkeypatch):
    original = CategoricalCrossEntropy.value_and_gradient

    def double_gradient(self, logits, targets, out, weights=None):
        value = original(self, logits, targets, out, weights)
        out *= 2
        return value

    monkeypatch.setattr(CategoricalCrossEntropy, "value_and_gradient", double_gradient)
    network, x, y = make_problem("deep")
    for e in check_gradients(network, x, y, CategoricalCrossEntropy(), method=method):
        assert e.relative == pytest.approx(1 / 3, rel=1e-3)


def test_check_gradients_missing_relu_derivative_is_found(monkeypatch):
    monkeypatch.setattr(ReLU, "backward", lambda self, gradient, z, a: None)
    network, x, y = make_problem("deep", function=ReLU)
    assert find_largest_error(check_gradients(network, x, y, CategoricalCrossEntropy())) > 1e-2


def test_check_gradients_missing_penalty_gradient_is_found(monkeypatch):
    monkeypatch.setattr(Penalty, "value_and_gradient", Penalty.value)
    network, x, y = make_problem("deep")
    errors = check_gradients(network, x, y, CategoricalCrossEntropy(), penalty=Penalty(l2=0.1))
    assert find_largest_error([e for e in errors if e.parameter == "W"]) > 1e-3
    assert find_largest_error([e for e in errors if e.parameter == "b"]) <= 1e-6


def test_check_gradients_constant_batch_statistics_are_found(monkeypatch):
    original = BatchNorm.backward

    def ignore_batch(self, gradient, *, to_inputs):
        self._training = False  # as if μ and σ² were constants
        return original(self, gradient, to_inputs=to_inputs)

    monkeypatch.setattr(BatchNorm, "backward", ignore_batch)
    network, x, y = make_problem("batch norm")
    assert find_largest_error(check_gradients(network, x, y, CategoricalCrossEntropy())) > 1e-2


def test_check_gradients_float32_network_raises(rng):
    network = Network(2, [Dense(1)], rng=rng)
    x, y = np.ones((1, 2), np.float32), np.ones((1, 1), np.float32)
    with pytest.raises(ValueError, match="expected a float64 network; got float32"):
        check_gradients(network, x, y, MeanSquaredError())
