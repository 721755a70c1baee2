import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import log_loss, mean_squared_error

from trainer.nn import (
    ACTIVATIONS,
    LOSSES,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    check_pairing,
)

N, K = 12, 5
ALL = [
    MeanSquaredError(),
    MeanSquaredError(0.5),
    MeanAbsoluteError(),
    Huber(),
    Huber(0.3),
    Poisson(),
    BinaryCrossEntropy(),
    BinaryCrossEntropy(0.2),
    CategoricalCrossEntropy(),
    CategoricalCrossEntropy(0.2),
]


def case(loss, rng):
    logits = rng.normal(size=(N, K))
    targets = {
        "poisson": lambda: rng.poisson(2, (N, K)).astype(float),
        "binary_cross_entropy": lambda: rng.integers(0, 2, (N, K)).astype(float),
        "categorical_cross_entropy": lambda: rng.integers(0, K, N),
    }
    return logits, targets.get(loss.name, lambda: rng.normal(size=(N, K)))()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("loss", "key", "targets"),
    [
        (MeanSquaredError(), "mse", "values"),
        (MeanAbsoluteError(), "mae", "values"),
        (Huber(0.7), "huber", "values"),
        (Poisson(), "poisson", "counts"),
        (BinaryCrossEntropy(), "binary_cross_entropy", "marks"),
        (CategoricalCrossEntropy(), "categorical_cross_entropy", "classes"),
        (CategoricalCrossEntropy(0.1), "smoothed", "classes"),
    ],
)
def test_value_and_gradient_are_pytorchs(loss, key, targets, weighted, torch):
    given = torch["losses"]
    expected = given["losses"][f"{key} {'weighted' if weighted else 'plain'}"]
    weights = given["weights"] if weighted else None
    gradient = np.empty_like(given["logits"])
    value = loss.value_and_gradient(given["logits"], given[targets], gradient, weights)
    assert value == pytest.approx(expected["value"], rel=1e-12)
    np.testing.assert_allclose(gradient, expected["gradient"], rtol=1e-12, atol=1e-16)


def test_mean_squared_error_is_scikit_learns(rng):
    logits, targets = case(MeanSquaredError(), rng)
    expected = mean_squared_error(targets, logits)
    assert MeanSquaredError().value(logits, targets) == pytest.approx(expected, rel=1e-14)


def test_cross_entropies_are_scikit_learns(rng):
    logits, targets = case(CategoricalCrossEntropy(), rng)
    expected = log_loss(targets, softmax(logits, axis=1), labels=range(K))
    assert CategoricalCrossEntropy().value(logits, targets) == pytest.approx(expected, rel=1e-12)
    z, y = logits[:, :1], (targets[:, None] > 2).astype(float)
    expected = log_loss(y[:, 0], expit(z[:, 0]))
    assert BinaryCrossEntropy().value(z, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradient_is_the_slope_of_the_value(loss, rng):
    logits, targets = case(loss, rng)
    weights = rng.random(N)
    gradient = np.empty_like(logits)
    loss.value_and_gradient(logits, targets, gradient, weights)
    h = 1e-6
    for at in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[at] += h
        down[at] -= h
        slope = (loss.value(up, targets, weights) - loss.value(down, targets, weights)) / (2 * h)
        assert gradient[at] == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_whole_weights_count_rows_as_often(loss, rng):
    logits, targets = case(loss, rng)
    times = rng.integers(0, 4, N)
    repeated = loss.value(np.repeat(logits, times, axis=0), np.repeat(targets, times, axis=0))
    assert loss.value(logits, targets, times.astype(float)) == pytest.approx(repeated, rel=1e-13)
    assert loss.value(logits, targets, np.full(N, 7.0)) == pytest.approx(
        loss.value(logits, targets), rel=1e-13
    )


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_rows_without_weight_teach_nothing(loss, rng):
    logits, targets = case(loss, rng)
    gradient = np.full_like(logits, np.nan)
    assert loss.value_and_gradient(logits, targets, gradient, np.zeros(N)) == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_a_loss_serves_batches_and_outputs_of_any_size(loss, rng):
    logits, targets = case(loss, rng)
    whole = loss.value(logits, targets)
    loss.value(logits[:3], targets[:3])
    narrow = targets[:, :2] if targets.ndim == 2 else targets % 2
    loss.value(logits[:5, :2].copy(), narrow[:5])
    assert loss.value(logits, targets) == whole
    single = loss.value(logits.astype(np.float32), targets)
    assert single == pytest.approx(whole, rel=1e-5)


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


def test_counts_beyond_every_float_are_infinite_without_a_warning():
    for dtype, largest in ((np.float32, 88.7), (np.float64, 709.7)):
        few, many = Poisson().answers(np.array([[largest, largest + 1]], dtype))[0]
        assert np.isfinite(few)
        assert many == np.inf


def test_each_row_is_shifted_by_its_own_maximum():
    # shifted by the batch's, the second row would vanish
    logits = np.array([[1000.0, 1001.0], [-1000.0, -1001.0]])
    expected = softmax(logits, axis=1)
    loss, gradient = CategoricalCrossEntropy(), np.empty_like(logits)
    np.testing.assert_allclose(loss.answers(logits), expected, rtol=1e-15)
    value = loss.value_and_gradient(logits, np.array([1, 0]), gradient)
    assert value == pytest.approx(np.log(1 + np.exp(-1)))
    np.testing.assert_allclose(gradient, (expected - np.eye(2)[[1, 0]]) / 2, rtol=1e-12)


def test_links_make_answers_of_logits(rng):
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    for loss, link in (
        (BinaryCrossEntropy(), expit),
        (CategoricalCrossEntropy(), lambda z: softmax(z, axis=1)),
        (Poisson(), np.exp),
        (MeanSquaredError(), lambda z: z),
    ):
        np.testing.assert_allclose(loss.answers(logits), link(logits), rtol=1e-6)
        assert loss.answers(logits).dtype == np.float32
        assert not np.shares_memory(loss.answers(logits), logits)
        assert loss.answers(logits[:0]).shape == (0, 3)


def test_huber_is_squared_within_delta_and_absolute_beyond():
    d = np.array([[0.5], [-0.5], [10], [-10]])
    values = [Huber(1.0).value(row[None], np.zeros((1, 1))) for row in d]
    assert values == [0.125, 0.125, 9.5, 9.5]


def test_smoothing_asks_for_less_than_certainty():
    logits = np.array([[20.0, 0.0, 0.0]])
    assert CategoricalCrossEntropy(0.1).value(logits, np.array([0])) > 1
    with pytest.raises(ValueError, match=r"label smoothing in \[0, 1\); got 1"):
        CategoricalCrossEntropy(1)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_the_lowest_loss_is_a_minimum_and_no_logits_are_below(loss, rng):
    _, targets = case(loss, rng)
    ideal = loss.ideal_logits(targets, K)
    gradient = np.empty_like(ideal)
    assert loss.value_and_gradient(ideal, targets, gradient) == loss.compute_minimum(targets, K)
    assert np.abs(gradient).max() < 1e-12 or loss.name == "mae"  # whose slope jumps there
    for away in (1e-3, 0.3, 4.0):
        other = loss.value(ideal + away * rng.normal(size=ideal.shape), targets)
        assert other >= loss.compute_minimum(targets, K)
    certain = getattr(loss, "label_smoothing", 0) == 0 and loss.name != "poisson"
    assert (loss.compute_minimum(targets, K) < 1e-12) is certain


@pytest.mark.parametrize("name", LOSSES)
def test_logits_fit_every_loss(name):
    check_pairing(LOSSES[name](), "identity")


@pytest.mark.parametrize(
    ("loss", "activation", "right"),
    [
        ("mse", "sigmoid", "for classes use binary_cross_entropy"),
        ("mae", "sigmoid", "for classes use binary_cross_entropy"),
        ("binary_cross_entropy", "sigmoid", "whose sigmoid is applied inside it"),
        ("categorical_cross_entropy", "relu", "whose softmax is applied inside it"),
        ("poisson", "relu", "whose exp is applied inside it; got a last layer with relu"),
    ],
)
def test_a_wrong_pairing_is_refused_with_the_right_one(loss, activation, right):
    with pytest.raises(ValueError, match=right):
        check_pairing(LOSSES[loss](), activation)


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"sigmoid"}))
def test_values_may_come_out_of_other_activations(activation):
    check_pairing(MeanSquaredError(), activation)


def test_targets_that_do_not_fit_are_named(rng):
    categorical, binary = CategoricalCrossEntropy(), BinaryCrossEntropy()
    for loss, targets, message in (
        (categorical, np.array([0, 3]), "from 0 to 2, one per output; got 0 to 3"),
        (categorical, np.array([-1, 2]), "got -1 to 2"),
        (categorical, np.array([0.0, 1.0]), r"integers of shape \(n,\); got float64"),
        (categorical, np.zeros((2, 3), int), r"of shape \(2, 3\)"),
        (binary, np.full((2, 3), 2.0), "targets between 0 and 1.*got 2.0 to 2.0"),
        (binary, np.zeros((2, 1)), r"floats of shape \(n, 3\)"),
        (MeanSquaredError(), np.zeros((2, 3), int), "got int64"),
        (MeanSquaredError(), np.full((2, 3), np.nan), "finite targets"),
        (Poisson(), np.full((2, 3), -1.0), "none below 0; got -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            loss.check_targets(targets, 3)


def test_a_loss_that_has_seen_many_rows_is_small_when_pickled(rng):
    for loss, targets in (
        (CategoricalCrossEntropy(), rng.integers(0, 5, 20_000)),
        (BinaryCrossEntropy(), rng.integers(0, 2, (20_000, 5)).astype(float)),
    ):
        loss.value(rng.normal(size=(20_000, 5)), targets)
        assert len(pickle.dumps(loss)) < 1000


@pytest.mark.slow
def test_batches_of_every_size_leave_no_more_than_the_largest(rng):
    loss = CategoricalCrossEntropy()
    tracemalloc.start()
    loss.value(rng.normal(size=(2000, 3)), rng.integers(0, 3, 2000))
    before = tracemalloc.get_traced_memory()[0]
    for n in range(1, 2000, 20):
        loss.value(np.zeros((n, 3)), np.zeros(n, int))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 1_000_000  # views; an array for each would be 6 MB
