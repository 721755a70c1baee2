import copy
import math
import sys

import numpy as np
import pytest

from trainer.nn import OPTIMIZERS, SGD, Adam, AdamW, Momentum, Nadam, Nesterov, RMSprop, kernels
from trainer.nn.optimizers import BLOCK

AS_PYTORCH = {
    "sgd": SGD(0.05),
    "momentum": Momentum(0.05, momentum=0.8),
    "nesterov": Nesterov(0.05, momentum=0.8),
    "rmsprop": RMSprop(0.05, decay=0.9, epsilon=1e-8),
    "adam": Adam(0.05, beta1=0.8, beta2=0.95, epsilon=1e-6),
    "adamw": AdamW(0.05, beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1),
    "nadam": Nadam(0.05, beta1=0.8, beta2=0.95, epsilon=1e-6, momentum_decay=0.01),
}
ALL = pytest.mark.parametrize("name", OPTIMIZERS)


def run_optimizer(optimizer, theta, curvature, steps=10):
    """Return the parameters after each step on a quadratic loss with different curvatures."""
    path, gradient = [], np.empty_like(theta)
    for _ in range(steps):
        np.multiply(curvature, theta, out=gradient)
        optimizer.step(theta, gradient)
        path.append(theta.copy())
    return np.array(path)


@ALL
def test_optimizer_ten_steps_match_pytorch(name, torch):
    data = torch["optimizers"]
    path = run_optimizer(copy.deepcopy(AS_PYTORCH[name]), data["start"].copy(), data["curvature"])
    np.testing.assert_allclose(path, data["paths"][name], rtol=1e-12, atol=1e-13)


def test_adam_matches_paper():
    g, theta, m, v = 3.0, 1.0, 0.0, 0.0
    adam, ours = Adam(0.1, beta1=0.8, beta2=0.9, epsilon=0.01), np.array([1.0])
    for t in range(1, 11):
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * g**2
        theta -= 0.1 * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.9**t)) + 0.01)
        adam.step(ours, np.array([g]))
        assert ours[0] == pytest.approx(theta, rel=1e-13)
        g = -g / 2


@ALL
def test_optimizer_blocks_do_not_change_result(name, rng, monkeypatch):
    monkeypatch.setattr(kernels, "AVAILABLE", False)
    n = BLOCK * 2 + 77
    theta, curvature = rng.normal(size=n), rng.uniform(0.1, 3, n)
    whole = run_optimizer(copy.deepcopy(AS_PYTORCH[name]), theta.copy(), curvature, 3)[-1]
    parts = [
        run_optimizer(
            copy.deepcopy(AS_PYTORCH[name]), theta[i : i + 999].copy(), curvature[i : i + 999], 3
        )
        for i in range(0, n, 999)
    ]
    expected = np.concatenate([part[-1] for part in parts])
    np.testing.assert_allclose(whole, expected, rtol=1e-10, atol=1e-13)


@pytest.fixture
def updates(monkeypatch):
    """Return the recorded updates in order: `compiled` or `plain`."""
    calls = []

    def record_call(name, update):
        return lambda *arguments: (calls.append(name), update(*arguments))[1]

    compiled = kernels.compile_adam
    monkeypatch.setattr(
        kernels, "compile_adam", lambda **options: record_call("compiled", compiled(**options))
    )
    monkeypatch.setattr(Adam, "_update", record_call("plain", Adam._update))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_compiled_update_matches_numpy(name, dtype, rng, monkeypatch, updates):
    n = kernels.MIN_SIZE + 13
    assert n <= BLOCK  # one plain update a step
    theta, curvature = rng.normal(size=n).astype(dtype), rng.uniform(0.1, 3, n).astype(dtype)
    assert kernels.AVAILABLE  # the tests need the extra `fast`
    compiled = run_optimizer(copy.deepcopy(AS_PYTORCH[name]), theta.copy(), curvature)
    assert updates == ["compiled"] * 10
    updates.clear()
    monkeypatch.setattr(kernels, "AVAILABLE", False)
    plain = run_optimizer(copy.deepcopy(AS_PYTORCH[name]), theta.copy(), curvature)
    assert updates == ["plain"] * 10
    assert compiled.dtype == plain.dtype == dtype
    digits = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(compiled, plain, rtol=digits, atol=digits)


class FakeNumba:
    """A Numba that compiles nothing and has no writable cache folder."""

    @staticmethod
    def njit(*, cache=False, **options):
        assert options == {"fastmath": True, "error_model": "numpy"}
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_kernel_without_cache_matches_pytorch(name, torch, monkeypatch):
    kernel = kernels.compile_adam.__wrapped__  # without the cache of the function
    monkeypatch.setitem(sys.modules, "numba", FakeNumba)
    monkeypatch.setattr(kernels, "compile_adam", kernel)
    monkeypatch.setattr(kernels, "MIN_SIZE", 1)
    data = torch["optimizers"]
    monkeypatch.setattr(Adam, "_update", None)  # must not be called
    path = run_optimizer(copy.deepcopy(AS_PYTORCH[name]), data["start"].copy(), data["curvature"])
    np.testing.assert_allclose(path, data["paths"][name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("more, expected", [(-1, "plain"), (0, "compiled")])
def test_adam_short_vector_or_complex_uses_numpy(more, expected, monkeypatch, updates):
    monkeypatch.setattr(kernels, "MIN_SIZE", 8)
    record = lambda *_: updates.append("compiled")  # noqa: E731
    monkeypatch.setattr(kernels, "compile_adam", lambda **_: record)
    theta = np.ones(8 + more)
    Adam(0.1).step(theta, np.ones(8 + more))
    assert updates == [expected]
    # The kernel does not support the complex numbers of a gradient check.
    updates.clear()
    Adam(0.1).step(np.ones(8, complex), np.ones(8, complex))
    assert updates == ["plain"]


@pytest.mark.parametrize(
    "plain, other",
    [
        (SGD(0.05), Momentum(0.05, momentum=0)),
        (SGD(0.05), Nesterov(0.05, momentum=0)),
        (Adam(0.05), AdamW(0.05, weight_decay=0)),
        # With β₁ = 0 Dozat's momentum schedule is 0, and the update is that of Adam.
        (Adam(0.05, beta1=0), Nadam(0.05, beta1=0, beta2=0.999)),
        # Without decay all steps have the length of the learning rate: g / |g|.
        (RMSprop(0.05, decay=0), Adam(0.05, beta1=0, beta2=0)),
    ],
    ids=repr,
)
def test_optimizer_zero_decay_equals_simpler_rule(plain, other, rng):
    theta, curvature = rng.normal(size=9), rng.uniform(0.1, 3, 9)
    paths = [run_optimizer(copy.deepcopy(one), theta.copy(), curvature) for one in (plain, other)]
    np.testing.assert_allclose(paths[1], paths[0], rtol=1e-9)


@ALL
def test_optimizer_step_descends_by_learning_rate(name, rng):
    theta = rng.normal(size=5)
    gradient = theta.copy()
    before = (theta**2).sum()
    OPTIMIZERS[name](0.01).step(theta, gradient)
    assert (theta**2).sum() < before
    assert 0 < np.abs(gradient - theta).max() <= 0.05


@ALL
def test_optimizer_step_leaves_gradient_unchanged(name, rng):
    theta, gradient = rng.normal(size=50), rng.normal(size=50)
    copied = gradient.copy()
    optimizer = OPTIMIZERS[name](0.01)
    for _ in range(3):
        optimizer.step(theta, gradient)
    np.testing.assert_array_equal(gradient, copied)


@ALL
def test_optimizer_float32_stays_float32(name):
    theta = np.ones(3, np.float32)
    OPTIMIZERS[name](0.1).step(theta, np.ones(3, np.float32))
    assert theta.dtype == np.float32
    assert (theta < 1).all()


@ALL
@pytest.mark.parametrize("before", [0, 1, 7])
def test_optimizer_restore_continues_bit_identical(name, before, rng):
    theta, curvature = rng.normal(size=9), rng.uniform(0.1, 3, 9)
    first = copy.deepcopy(AS_PYTORCH[name])
    if before:
        theta = run_optimizer(first, theta, curvature, before)[-1]
    state = {key: array.copy() for key, array in first.state().items()}
    second = copy.deepcopy(AS_PYTORCH[name])
    second.learning_rate = 123.0  # overwritten by the state
    second.restore(state)
    expected = run_optimizer(first, theta.copy(), curvature)
    np.testing.assert_array_equal(run_optimizer(second, theta.copy(), curvature), expected)


def test_optimizer_restore_other_state_raises():
    with pytest.raises(ValueError, match=r"expected the state of SGD\(0.1\); got"):
        SGD(0.1).restore({"steps": np.array(1), "velocity": np.ones(3)})


@ALL
def test_optimizer_copy_is_independent(name, rng):
    theta, curvature = rng.normal(size=9), rng.uniform(0.1, 3, 9)
    first = copy.deepcopy(AS_PYTORCH[name])
    theta = run_optimizer(first, theta, curvature, 2)[-1]
    second = copy.deepcopy(first)
    expected = run_optimizer(first, theta.copy(), curvature)
    np.testing.assert_array_equal(run_optimizer(second, theta.copy(), curvature), expected)


def test_optimizer_invalid_arguments_raises():
    for rate in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="learning rate above 0"):
            SGD(rate)
    for make, message in (
        (lambda: Momentum(momentum=1), r"momentum in \[0, 1\); got 1"),
        (lambda: RMSprop(decay=-0.1), r"decay in \[0, 1\)"),
        (lambda: Adam(beta1=1), r"beta1 in \[0, 1\)"),
        (lambda: Nadam(beta2=1.5), r"beta2 in \[0, 1\)"),
        (lambda: AdamW(weight_decay=-1), "weight decay of at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
