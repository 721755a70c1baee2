import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from trainer.evaluate.calibration import PRIOR_STD, Calibration, fit_calibration
from trainer.evaluate.metrics import compute_metrics


def create_multiclass_logits(rng, n=20_000, k=4, scale=1.0, shift=0.0):
    """Return logits `(n, k)`, shifted and `scale` times too large, and classes `(n,)`."""
    calibrated = 2 * rng.normal(size=(n, k))
    truth = (calibrated + rng.gumbel(size=(n, k))).argmax(axis=1)  # drawn from softmax(calibrated)
    return (scale * (calibrated - shift)).astype(np.float32), truth


def create_binary_logits(rng, n=20_000, scale=1.0, shift=0.0):
    calibrated = 2 * rng.normal(size=(n, 1))
    truth = (rng.random(n) < expit(calibrated[:, 0])).astype(np.int64)
    return (scale * (calibrated - shift)).astype(np.float32), truth


CREATORS = {"binary": create_binary_logits, "multiclass": create_multiclass_logits}


def compute_cost(logits, truth, task, temperature, bias):
    """Return the negative log-posterior by its definition."""
    z = logits.astype(np.float64) / temperature + bias
    if task == "binary":
        z = np.column_stack([np.zeros(len(z)), z])
    nll = -log_softmax(z, axis=1)[np.arange(len(z)), truth].sum()
    deviations = [1 / temperature - 1, *bias]
    return nll + np.square(deviations).sum() / (2 * PRIOR_STD**2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 8.0])
@pytest.mark.parametrize("task", CREATORS)
def test_fit_calibration_scaled_logits_finds_temperature(task, scale, rng):
    logits, truth = CREATORS[task](rng, scale=scale)
    calibration = fit_calibration(logits, truth, task)
    assert calibration.temperature == pytest.approx(scale, rel=0.05)
    assert calibration.bias == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("task", CREATORS)
def test_fit_calibration_shifted_logits_finds_bias(task, rng):
    shift = 1.5 if task == "binary" else np.array([-1.5, 0.5, 0.5, 0.5])
    logits, truth = CREATORS[task](rng, scale=2.0, shift=shift)
    calibration = fit_calibration(logits, truth, task)
    assert calibration.temperature == pytest.approx(2, rel=0.05)
    assert calibration.bias == pytest.approx(np.atleast_1d(shift), abs=0.1)


def test_fit_calibration_two_classes_equals_platt_scaling(rng):
    logits, truth = create_binary_logits(rng, scale=3.0, shift=1.0)
    regression = LogisticRegression(C=np.inf).fit(logits, truth)
    calibration = fit_calibration(logits, truth, "binary")
    assert 1 / calibration.temperature == pytest.approx(regression.coef_[0, 0], rel=0.01)
    assert calibration.bias == pytest.approx(regression.intercept_, abs=0.01)


@pytest.mark.parametrize("task", CREATORS)
def test_fit_calibration_result_is_a_minimum(task, rng):
    for scale in (0.5, 1.0, 3.0):
        logits, truth = CREATORS[task](rng, n=60, scale=scale)
        t, bias = fit_calibration(logits, truth, task)
        minimum = compute_cost(logits, truth, task, t, bias)
        for other in np.geomspace(0.05, 20, 100):
            assert minimum <= compute_cost(logits, truth, task, other, bias) + 1e-6
        for _ in range(100):
            other_bias = bias + rng.normal(scale=0.1, size=bias.shape)
            assert minimum <= compute_cost(logits, truth, task, t, other_bias) + 1e-6


def evaluate(logits, truth, calibration):
    p = softmax(logits / calibration.temperature + calibration.bias, axis=1)
    answers = {"label": p.argmax(axis=1), "probabilities": p}
    return compute_metrics("multiclass", truth, answers, np.arange(p.shape[1]))


def test_fit_calibration_reduces_classwise_calibration_error(rng):
    logits, truth = create_multiclass_logits(rng, scale=4.0, shift=np.array([-2.0, 0, 0, 2.0]))
    calibration = fit_calibration(logits, truth, "multiclass")
    before, after = (evaluate(logits, truth, c) for c in (Calibration(1, np.zeros(4)), calibration))
    assert before["classwise_calibration_error"] > 0.1
    assert after["classwise_calibration_error"] < 0.02
    assert after["calibration_error"] < 0.02
    assert after["log_loss"] < before["log_loss"]


@pytest.mark.parametrize(
    ("task", "logits", "weights", "bias"),
    [
        ("binary", [[-20.0]], [0.5, 12.5], [np.log(0.5 / 12.5)]),
        ("multiclass", [[20.0, 0, 0]], [0.1, 1, 10], [np.log(10), 0, -np.log(10)]),
    ],
)
def test_fit_calibration_class_weights_set_the_prior_of_the_bias(task, logits, weights, bias):
    # The rows belong to the most probable class, so that the result is the centre of the prior.
    rows, truth = np.array(logits * 3, np.float32), np.zeros(3, int)
    calibration = fit_calibration(rows, truth, task, class_weights=np.array(weights))
    assert calibration.temperature == 1
    assert calibration.bias == pytest.approx(bias)


@pytest.mark.parametrize("task", CREATORS)
def test_fit_calibration_class_without_rows_has_finite_bias(task, rng):
    logits, truth = CREATORS[task](rng, n=40)
    last = 1 if task == "binary" else 3
    known = truth != last
    calibration = fit_calibration(logits[known], truth[known], task)
    assert np.isfinite(calibration.bias).all()
    assert calibration.bias[-1] > -3
    assert 0.05 <= calibration.temperature <= 20


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fit_calibration_few_rows_stays_near_the_prior(n, rng):
    logits, truth = create_binary_logits(rng, n=n, scale=2.0)
    calibration = fit_calibration(logits, truth, "binary")
    assert 0.2 <= calibration.temperature <= 5
    assert np.abs(calibration.bias).max() < 1.5


def test_fit_calibration_all_rows_correct_keeps_temperature_one():
    logits, truth = np.array([[2.0], [-1.0], [3.0]], np.float32), np.array([1, 0, 0])
    calibration = fit_calibration(logits[:2], truth[:2], "binary")
    assert (calibration.temperature, calibration.bias.tolist()) == (1, [0])
    assert fit_calibration(logits, truth, "binary").temperature > 1


def test_fit_calibration_regression_is_refused():
    with pytest.raises(ValueError, match="expected a classification .* got regression"):
        fit_calibration(np.zeros((3, 1)), np.zeros(3, int), "regression")


@pytest.mark.parametrize(
    "task, shape",
    [
        ("binary", (3, 2)),
        ("multiclass", (3, 1)),
        ("multiclass", (3,)),
    ],
)
def test_fit_calibration_wrong_shape_is_refused(task, shape):
    with pytest.raises(ValueError, match=rf"expected {task} logits of shape \(n, .*got \(3"):
        fit_calibration(np.zeros(shape), np.zeros(3, int), task)
