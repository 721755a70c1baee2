"""Learning rates of single parameters: their factors, and the steps of Adam and AdamW by them."""

import copy
import math

import numpy as np
import pytest

from trainer.nn import (
    OPTIMIZERS,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    Dropout,
    Embedding,
    Network,
    compute_parameter_rates,
    kernels,
)
from trainer.nn.optimizers import BLOCK


def list_factors(network, vector):
    """Return the values of a vector of all parameters by parameter array, as lists."""
    network.gradients[...] = vector  # whose views have the layout of the parameters
    return [
        (p.name, np.unique(p.gradient).tolist())
        for layer in network.layers
        for p in layer.parameters()
    ]


def test_compute_parameter_rates_weights_have_one_over_root_of_inputs():
    layers = [Dense(9, "relu"), Dropout(0.1), Dense(25, "relu"), Dense(2)]
    network = Network(16, layers, rng=np.random.default_rng(0), dtype=np.float64)
    rates, decay = compute_parameter_rates(network)
    assert list_factors(network, rates) == [
        ("W", [1 / 4]),
        ("b", [0.1]),
        ("W", [1 / 3]),
        ("b", [0.1]),
        ("W", [1 / 5]),
        ("b", [0.1]),
    ]
    assert list_factors(network, decay) == [("W", [1]), ("b", [0])] * 3


def test_compute_parameter_rates_other_parameters_have_a_tenth_and_no_decay():
    layers = [Embedding([6], [3]), Dense(4), BatchNorm("relu"), Dense(2)]
    network = Network(2, layers, rng=np.random.default_rng(0), dtype=np.float64)
    rates, decay = compute_parameter_rates(network)
    names = [name for name, _ in list_factors(network, rates)]
    assert names == ["table_0", "W", "b", "gamma", "beta", "W", "b"]
    assert [v for n, v in list_factors(network, rates) if n != "W"] == [[0.1]] * 5
    assert list_factors(network, decay) == [(n, [float(n == "W")]) for n in names]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compute_parameter_rates_are_new_vectors_of_the_parameters(dtype):
    network = Network(3, [Dense(4), Dense(2)], rng=np.random.default_rng(0), dtype=dtype)
    before = network.parameters.copy()
    rates, decay = compute_parameter_rates(network)
    network.gradients.fill(7)
    for vector in (rates, decay):
        assert (vector.shape, vector.dtype) == (network.parameters.shape, dtype)
        assert vector.max() <= 1
    np.testing.assert_array_equal(network.parameters, before)


def take_reference_step(state, theta, g, rates, decay, options):
    """Make one step of AdamW in parameter groups of one parameter each, by the published formula.

    Loshchilov and Hutter 2019, algorithm 2, with the rate η r of the group in the step of Adam. The
    decay of a group with k = 1 is η λ, as the rate of its group does not change it.
    """
    state["t"] += 1
    t, (b1, b2) = state["t"], (options["beta1"], options["beta2"])
    for i in range(len(theta)):
        state["m"][i] = b1 * state["m"][i] + (1 - b1) * g[i]
        state["v"][i] = b2 * state["v"][i] + (1 - b2) * g[i] ** 2
        m, v = state["m"][i] / (1 - b1**t), state["v"][i] / (1 - b2**t)
        decayed = theta[i] * (1 - options["rate"] * options["weight_decay"] * decay[i])
        theta[i] = decayed - options["rate"] * rates[i] * m / (math.sqrt(v) + options["epsilon"])


OPTIONS = {"rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6, "weight_decay": 0.3}


def make_optimizer(name):
    options = {k: OPTIONS[k] for k in ("beta1", "beta2", "epsilon")}
    if name == "adamw":
        options["weight_decay"] = OPTIONS["weight_decay"]
    return OPTIMIZERS[name](OPTIONS["rate"], **options)


@pytest.fixture(params=["numpy", "compiled"])
def use_kernel(request, monkeypatch):
    """Compute all updates by NumPy, or all by the compiled kernel."""
    monkeypatch.setattr(kernels, "AVAILABLE", request.param == "compiled")
    monkeypatch.setattr(kernels, "MIN_SIZE", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("use_kernel")
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_with_parameter_rates_matches_formula(name, rng):
    theta, curvature = rng.normal(size=30), rng.uniform(0.1, 3, 30)
    rates, decay = rng.uniform(0.05, 1, 30), (np.arange(30) % 3 > 0).astype(float)
    optimizer, expected = make_optimizer(name), theta.copy()
    optimizer.start(theta)
    optimizer.set_parameter_rates(rates, decay)
    state = {"t": 0, "m": np.zeros(30), "v": np.zeros(30)}
    options = OPTIONS | ({} if name == "adamw" else {"weight_decay": 0.0})
    for _ in range(10):
        optimizer.step(theta, curvature * theta)
        take_reference_step(state, expected, curvature * expected, rates, decay, options)
        np.testing.assert_allclose(theta, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_with_parameter_rates_compiled_matches_numpy(name, dtype, rng, monkeypatch):
    n = BLOCK + 13  # more than one block of NumPy
    theta, curvature = rng.normal(size=n).astype(dtype), rng.uniform(0.1, 3, n).astype(dtype)
    rates, decay = rng.uniform(0.05, 1, n).astype(dtype), rng.integers(0, 2, n).astype(dtype)
    results = []
    for is_compiled in (True, False):
        monkeypatch.setattr(kernels, "AVAILABLE", is_compiled)
        optimizer, p = make_optimizer(name), theta.copy()
        optimizer.start(p)
        optimizer.set_parameter_rates(rates, decay)
        for _ in range(5):
            optimizer.step(p, curvature * p)
        assert p.dtype == dtype
        results.append(p)
    digits = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(*results, rtol=digits, atol=digits)


@pytest.mark.slow
@pytest.mark.usefixtures("use_kernel")
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_with_rates_of_one_equals_the_plain_step(name, rng):
    theta, curvature = rng.normal(size=30), rng.uniform(0.1, 3, 30)
    plain, by_rates = theta.copy(), theta.copy()
    one, other = make_optimizer(name), make_optimizer(name)
    other.start(by_rates)
    other.set_parameter_rates(np.ones(30), np.ones(30))
    for _ in range(5):
        one.step(plain, curvature * plain)
        other.step(by_rates, curvature * by_rates)
    np.testing.assert_allclose(by_rates, plain, rtol=1e-13)


@pytest.mark.slow
@pytest.mark.usefixtures("use_kernel")
def test_adamw_decay_scale_scales_the_decay_only(rng):
    theta, g = rng.normal(size=20), rng.normal(size=20)

    def make_step(weight_decay, decay_scale, has_rates):
        optimizer, p = AdamW(0.05, weight_decay=weight_decay), theta.copy()
        optimizer.start(p)
        if has_rates:
            optimizer.set_parameter_rates(np.full(20, 0.5), np.ones(20))
        optimizer.decay_scale = decay_scale
        optimizer.step(p, g)
        return p

    for has_rates in (False, True):
        half = make_step(0.4, 0.5, has_rates)
        np.testing.assert_allclose(half, make_step(0.2, 1.0, has_rates), rtol=1e-14)
        np.testing.assert_allclose(
            make_step(0.4, 0.0, has_rates), make_step(0.0, 1.0, has_rates), rtol=1e-14
        )


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"adam", "adamw"}))
def test_set_parameter_rates_of_optimizer_without_them_raises_value_error(name):
    optimizer = OPTIMIZERS[name](0.1)
    assert not optimizer.has_parameter_rates
    with pytest.raises(ValueError, match="expected adam or adamw for rates of single parameters"):
        optimizer.set_parameter_rates(np.ones(3), np.ones(3))


def test_set_parameter_rates_state_restored_continues_bit_identical(rng):
    theta, curvature = rng.normal(size=30), rng.uniform(0.1, 3, 30)
    rates, decay = rng.uniform(0.05, 1, 30), np.ones(30)

    def start(p):
        optimizer = make_optimizer("adamw")
        optimizer.start(p)
        optimizer.set_parameter_rates(rates, decay)
        return optimizer

    whole = theta.copy()
    first = start(whole)
    for _ in range(3):
        first.step(whole, curvature * whole)
    resumed = whole.copy()
    second = start(resumed)
    second.restore(copy.deepcopy(first.state()))
    for optimizer, p in ((first, whole), (second, resumed)):
        for _ in range(3):
            optimizer.step(p, curvature * p)
    np.testing.assert_array_equal(resumed, whole)


def test_set_parameter_rates_copy_of_optimizer_has_none(rng):
    # A copy is for another network, whose parameters have rates of their own.
    theta, g = rng.normal(size=5), rng.normal(size=5)
    optimizer = Adam(0.1)
    optimizer.start(theta)
    optimizer.set_parameter_rates(np.full(5, 0.25), np.ones(5))
    plain, p, q = Adam(0.1), theta.copy(), theta.copy()
    copy.deepcopy(optimizer).step(p, g)
    plain.step(q, g)
    np.testing.assert_array_equal(p, q)
