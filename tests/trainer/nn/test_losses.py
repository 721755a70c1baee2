import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss, mean_squared_error

from trainer.nn import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquaredError

N, K = 12, 5


def case(loss, rng):
    logits = rng.normal(size=(N, 1 if loss == BinaryCrossEntropy else K))
    if loss == CategoricalCrossEntropy:
        return logits, rng.integers(0, K, N)
    if loss == BinaryCrossEntropy:
        return logits, rng.integers(0, 2, (N, 1)).astype(float)
    return logits, rng.normal(size=(N, K))


ALL = [MeanSquaredError, BinaryCrossEntropy, CategoricalCrossEntropy]


def test_mean_squared_error_is_scikit_learns(rng):
    logits, targets = case(MeanSquaredError, rng)
    expected = mean_squared_error(targets, logits)
    assert MeanSquaredError().value(logits, targets) == pytest.approx(expected, rel=1e-14)


def test_binary_cross_entropy_is_scikit_learns(rng):
    logits, targets = case(BinaryCrossEntropy, rng)
    expected = log_loss(targets[:, 0], expit(logits[:, 0]))
    assert BinaryCrossEntropy().value(logits, targets) == pytest.approx(expected, rel=1e-12)


def test_categorical_cross_entropy_is_scikit_learns(rng):
    logits, targets = case(CategoricalCrossEntropy, rng)
    expected = log_loss(targets, softmax(logits, axis=1), labels=range(K))
    assert CategoricalCrossEntropy().value(logits, targets) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ALL)
def test_gradient_is_the_slope_of_the_value(loss, rng):
    logits, targets = case(loss, rng)
    gradient = np.empty_like(logits)
    loss().value_and_gradient(logits, targets, out=gradient)
    h = 1e-6
    for at in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[at] += h
        down[at] -= h
        slope = (loss().value(up, targets) - loss().value(down, targets)) / (2 * h)
        assert gradient[at] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("loss", ALL)
def test_both_ways_to_the_value_agree(loss, rng):
    logits, targets = case(loss, rng)
    together = loss().value_and_gradient(logits, targets, out=np.empty_like(logits))
    assert together == pytest.approx(loss().value(logits, targets), rel=1e-14)


@pytest.mark.parametrize("loss", ALL)
def test_a_batch_written_twice_has_the_same_loss(loss, rng):
    logits, targets = case(loss, rng)
    twice = loss().value(np.tile(logits, (2, 1)), np.concatenate([targets, targets]))
    assert twice == pytest.approx(loss().value(logits, targets), rel=1e-14)


@pytest.mark.parametrize("k", [2, 10, 26])
def test_equally_likely_classes_cost_ln_k(k):
    value = CategoricalCrossEntropy().value(np.zeros((3, k)), np.array([0, 1, k - 1]))
    assert value == pytest.approx(np.log(k), rel=1e-15)


def test_huge_logits_neither_overflow_nor_lose_the_loss():
    logits = np.array([[1e4, 0.0]])
    categorical = CategoricalCrossEntropy()
    assert categorical.value(logits, np.array([1])) == pytest.approx(1e4)
    assert categorical.value(logits, np.array([0])) == 0
    binary = BinaryCrossEntropy()
    assert binary.value(np.array([[-1e4]]), np.array([[1.0]])) == pytest.approx(1e4)
    assert binary.value(np.array([[1e4]]), np.array([[1.0]])) == 0


def test_each_row_is_shifted_by_its_own_maximum():
    # shifted by the batch's, the second row would vanish
    logits = np.array([[1000.0, 1001.0], [-1000.0, -1001.0]])
    expected = softmax(logits, axis=1)
    loss, gradient = CategoricalCrossEntropy(), np.empty_like(logits)
    np.testing.assert_allclose(loss.answers(logits), expected, rtol=1e-15)
    value = loss.value_and_gradient(logits, np.array([1, 0]), out=gradient)
    assert value == pytest.approx(np.log(1 + np.exp(-1)))
    np.testing.assert_allclose(gradient, (expected - np.eye(2)[[1, 0]]) / 2, rtol=1e-12)


def test_links_are_sigmoid_and_softmax(rng):
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(BinaryCrossEntropy().answers(logits), expit(logits), rtol=1e-6)
    np.testing.assert_allclose(
        CategoricalCrossEntropy().answers(logits), softmax(logits, axis=1), rtol=1e-6
    )
    np.testing.assert_array_equal(MeanSquaredError().answers(logits), logits)


@pytest.mark.parametrize("loss", ALL)
def test_no_rows_have_no_answers(loss):
    assert loss().answers(np.empty((0, 3), np.float32)).shape == (0, 3)
