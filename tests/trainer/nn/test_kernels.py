import sys
import tracemalloc

import numpy as np
import pytest

from trainer.nn import (
    AdamW,
    CategoricalCrossEntropy,
    Dense,
    Dropout,
    FlatCosine,
    Network,
    Swish,
    WeightAverage,
    kernels,
)
from trainer.training.batches import TrainingRows
from trainer.training.checkpoint import Checkpoint
from trainer.training.loop import Callback, TrainingDivergedError, TrainingRun
from trainer.training.update import UpdateRule

pytestmark = pytest.mark.slow  # loading Numba takes a second

N_ROWS, BATCH_ROWS, N_INPUTS, EPOCHS = 500, 64, 6, 40


def compute_sigmoid(z):
    """Return σ(z) in float64 by its definition."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z.astype(np.float64)))


def run_swish(z):
    s, a = np.empty_like(z), np.empty_like(z)
    kernels.compile_swish()(z, s, a)
    return s, a


def test_kernels_numba_is_installed():
    assert kernels.AVAILABLE  # the tests need the extra `fast`


def test_swish_kernel_relative_error_is_below_documented_one():
    z = np.concatenate([np.linspace(-87, 90, 2_000_003), np.linspace(-1, 1, 500_001)])
    z = z.astype(np.float32)
    s, a = run_swish(z)
    exact = compute_sigmoid(z)
    assert np.abs(s / exact - 1).max() < 3e-7
    np.testing.assert_allclose(a, z * exact, rtol=4e-7)


def test_swish_kernel_without_numba_has_same_polynomial(monkeypatch):
    class PlainNumba:
        @staticmethod
        def njit(**options):
            return lambda function: function

    monkeypatch.setitem(sys.modules, "numba", PlainNumba)
    plain = kernels.compile_swish.__wrapped__()
    z = np.linspace(-87, 90, 1001).astype(np.float32)
    s, a = np.empty_like(z), np.empty_like(z)
    plain(z, s, a)
    np.testing.assert_allclose(run_swish(z), (s, a), rtol=3e-7)


def test_swish_kernel_extreme_z_does_not_overflow():
    largest = np.finfo(np.float32).max
    z = np.array([-largest, -1e10, -200, -88, 0, 200, 1e10, largest], np.float32)
    s, a = run_swish(z)
    np.testing.assert_allclose(s, compute_sigmoid(z), atol=2e-38)
    assert s[4] == 0.5
    np.testing.assert_array_equal(a[4:], [0, 200, np.float32(1e10), largest])
    assert np.isfinite(a).all()


@pytest.mark.parametrize("n", [1, 8, 31, 64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_kernels_pass_on_nan_and_infinity(n, bad):
    for i in range(n):
        z = np.ones(n, np.float32)
        z[i] = bad
        _, a = run_swish(z)
        assert np.flatnonzero(~np.isfinite(a)).tolist() == [i]
        gradient = z.copy()
        kernels.compile_swish_backward()(gradient, np.full_like(z, 0.5), np.ones_like(z))
        assert np.flatnonzero(~np.isfinite(gradient)).tolist() == [i]
        average = np.zeros(n, np.float32)
        kernels.compile_average()(average, z, np.float32(0.1))
        assert np.flatnonzero(~np.isfinite(average)).tolist() == [i]
        mask, out = np.empty_like(z), np.empty_like(z)
        for draw in (0, 9):  # dropped inputs too: NaN · 0 and ∞ · 0 are NaN
            draws = np.full(n, draw, np.uint16)
            kernels.compile_dropout()(z, draws, np.uint16(5), np.float32(2), mask, out)
            assert np.flatnonzero(~np.isfinite(out)).tolist() == [i]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (128, 128)])
def test_swish_compiled_matches_numpy(shape, rng):
    plain, compiled = Swish(), Swish()
    compiled.is_compiled = True
    z = (rng.normal(size=shape) * 5).astype(np.float32)
    results = []
    for activation in (plain, compiled):
        a, gradient = np.empty_like(z), z[::-1].copy()
        activation.value(z, a)
        activation.backward(gradient, z, a)
        results.append((a, gradient))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_swish_compiled_of_other_dtype_uses_numpy(dtype, rng, monkeypatch):
    monkeypatch.setattr(kernels, "compile_swish", None)  # must not be called
    monkeypatch.setattr(kernels, "compile_swish_backward", None)
    activation = Swish()
    activation.is_compiled = True
    z = rng.normal(size=(3, 4)).astype(dtype)
    a, gradient = np.empty_like(z), np.ones_like(z)
    activation.value(z, a)
    activation.backward(gradient, z, a)
    np.testing.assert_allclose(a.real, z.real * compute_sigmoid(z.real), rtol=1e-12)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_swish_derivative_of_other_z_than_last_is_right(is_compiled, rng):
    activation = Swish()
    activation.is_compiled = is_compiled
    first, second = rng.normal(size=(2, 3, 4)).astype(np.float32)
    a, out = np.empty_like(first), np.empty_like(first)
    for z in (first, second):
        activation.value(z, a)
    for z in (first, second, first):
        s = compute_sigmoid(z)
        activation.derivative(z, z * s, out)
        np.testing.assert_allclose(out, s + z * s * (1 - s), rtol=1e-5, atol=1e-6)


def test_dropout_compiled_matches_numpy_in_all_bits(rng):
    x = rng.normal(size=(128, 40)).astype(np.float32)
    results = []
    for is_compiled in (False, True):
        layer = Dropout(0.15)
        Network(40, [layer, Dense(1)], rng=np.random.default_rng(3))
        layer.set_compiled(is_compiled)
        outs = [layer.forward(x, training=True).copy() for _ in range(3)]
        results.append((*outs, layer.backward(x.copy(), to_inputs=True)))
    np.testing.assert_array_equal(results[1], results[0])


def test_average_compiled_matches_numpy(rng):
    path = rng.normal(size=(20, 1001)).astype(np.float32)
    averages = []
    for is_compiled in (False, True):
        average = WeightAverage(0.9)
        average.is_compiled = is_compiled
        for parameters in path:
            average.update(parameters)
        averages.append(average.average)
    np.testing.assert_allclose(averages[1], averages[0], rtol=1e-5, atol=1e-6)


def make_run(callbacks=(), epochs=EPOCHS, rate=0.01):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(N_ROWS, N_INPUTS)).astype(np.float32)
    rows = TrainingRows(x, (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(np.int64))
    layers = [Dense(24, "swish"), Dropout(0.2), Dense(24, "swish"), Dropout(0.2), Dense(2)]
    update = UpdateRule(
        AdamW(rate, beta2=0.95, weight_decay=0.02),
        average=WeightAverage(0.99),
        regularization_schedule=FlatCosine(),
        has_layer_rates=True,
    )
    return TrainingRun(
        Network(N_INPUTS, layers, rng=rng),
        CategoricalCrossEntropy(0.1),
        update,
        rows,
        epochs=epochs,
        batch_size=BATCH_ROWS,
        rng=rng,
        validation=rows,
        callbacks=callbacks,
    )


@pytest.fixture
def every_run(monkeypatch):
    """Use the compiled loops in every run, however short."""
    monkeypatch.setattr(kernels, "MIN_WORK", 1)


class ListKernels(Callback):
    """Callback that records which parts use compiled loops."""

    def on_start(self, run):
        self.flags = {run.update.optimizer.is_compiled, run.update.average.is_compiled}
        for layer in run.network.layers:
            if layer.has_kernel:
                self.flags.add(layer.is_compiled)


def test_training_compiled_matches_numpy_after_320_steps(monkeypatch):
    runs = []
    for min_work, is_compiled in ((1, True), (10**12, False)):
        monkeypatch.setattr(kernels, "MIN_WORK", min_work)
        recorder = ListKernels()
        run = make_run([recorder])
        run.run()
        assert recorder.flags == {is_compiled}
        assert run.steps == 320
        runs.append(run)
    one, other = (run.network.parameters for run in runs)
    assert (one != other).any()
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)
    losses = [[epoch.validation_loss for epoch in run.history] for run in runs]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert losses[0][-1] < losses[0][0] - 0.1


@pytest.mark.usefixtures("every_run")
def test_training_compiled_killed_run_resumes_to_same_bits(tmp_path):
    class KilledError(Exception):
        pass

    class KillAt(Callback):
        def on_step(self, run):
            if run.steps == 11:
                raise KilledError

    whole = make_run(epochs=3)
    whole.run()
    file = tmp_path / "checkpoint.npz"
    with pytest.raises(KilledError):
        make_run([KillAt(), Checkpoint(file, every_n_steps=2)], epochs=3).run()
    recorder = ListKernels()
    resumed = make_run([recorder, Checkpoint(file)], epochs=3)
    resumed.run()
    assert recorder.flags == {True}
    np.testing.assert_array_equal(resumed.network.parameters, whole.network.parameters)
    assert resumed.history == whole.history


@pytest.mark.usefixtures("every_run")
def test_training_compiled_diverges_raises():
    with pytest.raises(TrainingDivergedError), np.errstate(all="ignore"):
        make_run(rate=1e30).run()


@pytest.mark.usefixtures("every_run")
def test_run_end_returns_to_numpy():
    run = make_run(epochs=1)
    run.run()
    assert not any(layer.is_compiled for layer in run.network.layers)
    assert run.update.optimizer.is_compiled is None
    assert not run.update.average.is_compiled


@pytest.mark.parametrize("available", [True, False])
def test_kernels_worthwhile_depends_on_parameters_and_steps(available, monkeypatch):
    monkeypatch.setattr(kernels, "AVAILABLE", available)
    enough = kernels.MIN_WORK // 1000
    assert kernels.are_worthwhile(1000, enough) is available
    assert kernels.are_worthwhile(enough, 1000) is available
    assert not kernels.are_worthwhile(1000, enough - 1)


@pytest.mark.usefixtures("every_run")
def test_update_network_without_kernels_leaves_choice_to_optimizer():
    network = Network(3, [Dense(4, "relu"), Dense(2)], rng=np.random.default_rng(0))
    update = UpdateRule(AdamW(0.1))
    update.choose_kernels(network, 10**9)
    assert update.optimizer.is_compiled is None


@pytest.mark.parametrize("is_compiled", [False, True])
def test_training_step_of_balanced_network_allocates_no_array(is_compiled, rng):
    layers = [Dense(256, "swish"), Dropout(0.2), Dense(256, "swish"), Dropout(0.2), Dense(10)]
    network = Network(256, layers, rng=np.random.default_rng(0))
    update = UpdateRule(AdamW(0.01), average=WeightAverage(0.9), has_layer_rates=True)
    update.start(network)
    update.choose_kernels(network, 10**9 if is_compiled else 1)
    x, y = rng.normal(size=(256, 256)).astype(np.float32), rng.integers(0, 10, 256)
    loss = CategoricalCrossEntropy(0.1)

    def step():
        update.step(network, loss, x, y, None, step_index=0, n_steps=10)

    step()
    step()
    tracemalloc.start()
    step()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(5):
        step()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A layer's output or a weight matrix has 256 KB. The rest are the 32 KB of random words, and
    # 32 KB per operand that NumPy allocates during operations that broadcast or convert.
    assert peak - before < 200_000
    assert after - before < 10_000
