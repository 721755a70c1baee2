import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss, log_loss, mean_squared_error

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


def make_case(loss, rng):
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
def test_loss_value_and_gradient_match_pytorch(loss, key, targets, weighted, torch):
    data = torch["losses"]
    expected = data["losses"][f"{key} {'weighted' if weighted else 'plain'}"]
    weights = data["weights"] if weighted else None
    gradient = np.empty_like(data["logits"])
    value = loss.value_and_gradient(data["logits"], data[targets], gradient, weights)
    assert value == pytest.approx(expected["value"], rel=1e-12)
    np.testing.assert_allclose(gradient, expected["gradient"], rtol=1e-12, atol=1e-16)


def test_mean_squared_error_matches_scikit_learn(rng):
    logits, targets = make_case(MeanSquaredError(), rng)
    expected = mean_squared_error(targets, logits)
    assert MeanSquaredError().value(logits, targets) == pytest.approx(expected, rel=1e-14)


def test_cross_entropies_match_scikit_learn(rng):
    logits, targets = make_case(CategoricalCrossEntropy(), rng)
    expected = log_loss(targets, softmax(logits, axis=1), labels=range(K))
    assert CategoricalCrossEntropy().value(logits, targets) == pytest.approx(expected, rel=1e-12)
    z, y = logits[:, :1], (targets[:, None] > 2).astype(float)
    expected = log_loss(y[:, 0], expit(z[:, 0]))
    assert BinaryCrossEntropy().value(z, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_loss_gradient_matches_finite_difference(loss, rng):
    logits, targets = make_case(loss, rng)
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
def test_loss_integer_weights_equal_repeated_rows(loss, rng):
    logits, targets = make_case(loss, rng)
    counts = rng.integers(0, 4, N)
    repeated = loss.value(np.repeat(logits, counts, axis=0), np.repeat(targets, counts, axis=0))
    assert loss.value(logits, targets, counts.astype(float)) == pytest.approx(repeated, rel=1e-13)
    assert loss.value(logits, targets, np.full(N, 7.0)) == pytest.approx(
        loss.value(logits, targets), rel=1e-13
    )


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_loss_zero_weights_give_zero_gradient(loss, rng):
    logits, targets = make_case(loss, rng)
    gradient = np.full_like(logits, np.nan)
    assert loss.value_and_gradient(logits, targets, gradient, np.zeros(N)) == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_loss_batch_size_or_dtype_changes_value_is_right(loss, rng):
    logits, targets = make_case(loss, rng)
    whole = loss.value(logits, targets)
    loss.value(logits[:3], targets[:3])
    narrow = targets[:, :2] if targets.ndim == 2 else targets % 2
    loss.value(logits[:5, :2].copy(), narrow[:5])
    assert loss.value(logits, targets) == whole
    float32_value = loss.value(logits.astype(np.float32), targets)
    assert float32_value == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("k", [2, 10, 26])
def test_categorical_cross_entropy_equal_logits_is_ln_k(k):
    value = CategoricalCrossEntropy().value(np.zeros((3, k)), np.array([0, 1, k - 1]))
    assert value == pytest.approx(np.log(k), rel=1e-15)


def test_cross_entropies_huge_logits_stay_accurate():
    logits = np.array([[1e4, 0.0]])
    categorical = CategoricalCrossEntropy()
    assert categorical.value(logits, np.array([1])) == pytest.approx(1e4)
    assert categorical.value(logits, np.array([0])) == 0
    binary = BinaryCrossEntropy()
    assert binary.value(np.array([[-1e4]]), np.array([[1.0]])) == pytest.approx(1e4)
    assert binary.value(np.array([[1e4]]), np.array([[1.0]])) == 0


def test_poisson_answers_overflow_is_infinite():
    for dtype, largest in ((np.float32, 88.7), (np.float64, 709.7)):
        few, many = Poisson().answers(np.array([[largest, largest + 1]], dtype))[0]
        assert np.isfinite(few)
        assert many == np.inf


def test_categorical_cross_entropy_subtracts_maximum_of_each_row():
    # With the maximum of the batch, the second row would underflow.
    logits = np.array([[1000.0, 1001.0], [-1000.0, -1001.0]])
    expected = softmax(logits, axis=1)
    loss, gradient = CategoricalCrossEntropy(), np.empty_like(logits)
    np.testing.assert_allclose(loss.answers(logits), expected, rtol=1e-15)
    value = loss.value_and_gradient(logits, np.array([1, 0]), gradient)
    assert value == pytest.approx(np.log(1 + np.exp(-1)))
    np.testing.assert_allclose(gradient, (expected - np.eye(2)[[1, 0]]) / 2, rtol=1e-12)


def test_loss_answers_apply_link_function(rng):
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


@pytest.mark.parametrize("weighted", [False, True])
def test_squared_error_of_classes_is_the_brier_score_of_scikit_learn(weighted, rng):
    weights = rng.uniform(0.1, 3, N) if weighted else None
    logits, classes = 2 * rng.normal(size=(N, K)), rng.integers(0, K, N)
    several = brier_score_loss(
        classes,
        softmax(logits, axis=1),
        sample_weight=weights,
        labels=range(K),
        scale_by_half=False,
    )
    for smoothing in (0, 0.2):  # which is for the loss only
        value = CategoricalCrossEntropy(smoothing).squared_error(logits, classes, weights)
        assert value == pytest.approx(several, rel=1e-12)
    marks = rng.integers(0, 2, (N, 1)).astype(float)
    two = brier_score_loss(marks[:, 0], expit(logits[:, 0]), sample_weight=weights)
    value = BinaryCrossEntropy(0.1).squared_error(logits[:, :1], marks, weights)
    assert value == pytest.approx(two, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "loss", [MeanSquaredError(), MeanAbsoluteError(), Huber(), Poisson()], ids=str
)
def test_squared_error_of_values_matches_scikit_learn(loss, weighted, rng):
    weights = rng.uniform(0.1, 3, N) if weighted else None
    logits, targets = rng.normal(size=(N, K)), rng.uniform(1, 3, (N, K))
    values = np.exp(logits) if loss.name == "poisson" else logits
    # The targets are added up, not averaged.
    expected = K * mean_squared_error(targets, values, sample_weight=weights)
    assert loss.squared_error(logits, targets, weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_squared_error_leaves_logits_and_targets_unchanged(loss, rng):
    logits, targets = make_case(loss, rng)
    before = logits.copy(), targets.copy()
    loss.squared_error(logits, targets)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(targets, before[1])


def test_squared_error_many_float32_rows_is_summed_in_float64(rng):
    logits = np.full((200_000, 1), 0.1, np.float32)
    value = MeanSquaredError().squared_error(logits, np.zeros((200_000, 1), np.float32))
    assert value == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-6)


def test_huber_is_quadratic_then_linear():
    d = np.array([[0.5], [-0.5], [10], [-10]])
    values = [Huber(1.0).value(row[None], np.zeros((1, 1))) for row in d]
    assert values == [0.125, 0.125, 9.5, 9.5]


def test_label_smoothing_certain_prediction_has_loss():
    logits = np.array([[20.0, 0.0, 0.0]])
    assert CategoricalCrossEntropy(0.1).value(logits, np.array([0])) > 1
    with pytest.raises(ValueError, match=r"label smoothing in \[0, 1\); got 1"):
        CategoricalCrossEntropy(1)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_compute_minimum_no_logits_have_smaller_loss(loss, rng):
    _, targets = make_case(loss, rng)
    ideal = loss.ideal_logits(targets, K)
    gradient = np.empty_like(ideal)
    assert loss.value_and_gradient(ideal, targets, gradient) == loss.compute_minimum(targets, K)
    assert np.abs(gradient).max() < 1e-12 or loss.name == "mae"  # whose slope jumps there
    for distance in (1e-3, 0.3, 4.0):
        other = loss.value(ideal + distance * rng.normal(size=ideal.shape), targets)
        assert other >= loss.compute_minimum(targets, K)
    is_certain = getattr(loss, "label_smoothing", 0) == 0 and loss.name != "poisson"
    assert (loss.compute_minimum(targets, K) < 1e-12) is is_certain


@pytest.mark.parametrize("name", LOSSES)
def test_check_pairing_identity_is_accepted(name):
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
def test_check_pairing_wrong_activation_raises_with_advice(loss, activation, right):
    with pytest.raises(ValueError, match=right):
        check_pairing(LOSSES[loss](), activation)


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"sigmoid"}))
def test_check_pairing_mean_squared_error_other_activations_are_accepted(activation):
    check_pairing(MeanSquaredError(), activation)


def test_check_targets_invalid_targets_raises(rng):
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


def test_loss_pickle_contains_no_buffers(rng):
    for loss, targets in (
        (CategoricalCrossEntropy(), rng.integers(0, 5, 20_000)),
        (BinaryCrossEntropy(), rng.integers(0, 2, (20_000, 5)).astype(float)),
    ):
        loss.value(rng.normal(size=(20_000, 5)), targets)
        assert len(pickle.dumps(loss)) < 1000


@pytest.mark.slow
def test_loss_many_batch_sizes_reuse_buffers(rng):
    loss = CategoricalCrossEntropy()
    tracemalloc.start()
    loss.value(rng.normal(size=(2000, 3)), rng.integers(0, 3, 2000))
    before = tracemalloc.get_traced_memory()[0]
    for n in range(1, 2000, 20):
        loss.value(np.zeros((n, 3)), np.zeros(n, int))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 1_000_000  # views; an array for each would be 6 MB
