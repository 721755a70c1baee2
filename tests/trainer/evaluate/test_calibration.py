import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from trainer.evaluate.calibration import SPREAD, Calibration, fit_calibration
from trainer.evaluate.metrics import compute_metrics


def multiclass(rng, n=20_000, k=4, scale=1.0, shift=0.0):
    """Logits that are `scale` times surer than the truth is, moved by `shift` before."""
    honest = 2 * rng.normal(size=(n, k))
    truth = (honest + rng.gumbel(size=(n, k))).argmax(axis=1)  # of probabilities softmax(honest)
    return (scale * (honest - shift)).astype(np.float32), truth


def binary(rng, n=20_000, scale=1.0, shift=0.0):
    honest = 2 * rng.normal(size=(n, 1))
    truth = (rng.random(n) < expit(honest[:, 0])).astype(np.int64)
    return (scale * (honest - shift)).astype(np.float32), truth


MAKERS = {"binary": binary, "multiclass": multiclass}


def cost(logits, truth, task, temperature, bias):
    """What is to be least: minus the log posterior, as its definition says."""
    z = logits.astype(np.float64) / temperature + bias
    if task == "binary":
        z = np.column_stack([np.zeros(len(z)), z])
    nll = -log_softmax(z, axis=1)[np.arange(len(z)), truth].sum()
    away = [1 / temperature - 1, *bias]
    return nll + np.square(away).sum() / (2 * SPREAD**2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 8.0])
@pytest.mark.parametrize("task", MAKERS)
def test_it_finds_how_much_too_sure_the_logits_are(task, scale, rng):
    logits, truth = MAKERS[task](rng, scale=scale)
    found = fit_calibration(logits, truth, task)
    assert found.temperature == pytest.approx(scale, rel=0.05)
    assert found.bias == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("task", MAKERS)
def test_it_finds_how_far_the_logits_are_moved(task, rng):
    shift = 1.5 if task == "binary" else np.array([-1.5, 0.5, 0.5, 0.5])
    logits, truth = MAKERS[task](rng, scale=2.0, shift=shift)
    found = fit_calibration(logits, truth, task)
    assert found.temperature == pytest.approx(2, rel=0.05)
    assert found.bias == pytest.approx(np.atleast_1d(shift), abs=0.1)


def test_of_two_classes_it_is_platts_scaling(rng):
    logits, truth = binary(rng, scale=3.0, shift=1.0)
    line = LogisticRegression(C=np.inf).fit(logits, truth)
    found = fit_calibration(logits, truth, "binary")
    assert 1 / found.temperature == pytest.approx(line.coef_[0, 0], rel=0.01)
    assert found.bias == pytest.approx(line.intercept_, abs=0.01)


@pytest.mark.parametrize("task", MAKERS)
def test_no_others_are_likelier(task, rng):
    for scale in (0.5, 1.0, 3.0):
        logits, truth = MAKERS[task](rng, n=60, scale=scale)
        t, bias = fit_calibration(logits, truth, task)
        least = cost(logits, truth, task, t, bias)
        for other in np.geomspace(0.05, 20, 100):
            assert least <= cost(logits, truth, task, other, bias) + 1e-6
        for _ in range(100):
            moved = bias + rng.normal(scale=0.1, size=bias.shape)
            assert least <= cost(logits, truth, task, t, moved) + 1e-6


def judged(logits, truth, found):
    p = softmax(logits / found.temperature + found.bias, axis=1)
    answers = {"label": p.argmax(axis=1), "probabilities": p}
    return compute_metrics("multiclass", truth, answers, np.arange(p.shape[1]))


def test_it_mends_the_calibration_error_of_each_class(rng):
    logits, truth = multiclass(rng, scale=4.0, shift=np.array([-2.0, 0, 0, 2.0]))
    found = fit_calibration(logits, truth, "multiclass")
    before, after = (judged(logits, truth, of) for of in (Calibration(1, np.zeros(4)), found))
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
def test_weights_of_the_classes_are_expected_to_have_moved_the_logits(task, logits, weights, bias):
    # Rows of the class that is the likeliest anyway say nothing against it.
    rows, truth = np.array(logits * 3, np.float32), np.zeros(3, int)
    found = fit_calibration(rows, truth, task, class_weights=np.array(weights))
    assert found.temperature == 1
    assert found.bias == pytest.approx(bias)


@pytest.mark.parametrize("task", MAKERS)
def test_a_class_without_rows_is_not_given_up(task, rng):
    logits, truth = MAKERS[task](rng, n=40)
    last = 1 if task == "binary" else 3
    known = truth != last
    found = fit_calibration(logits[known], truth[known], task)
    assert np.isfinite(found.bias).all()
    assert found.bias[-1] > -3
    assert 0.05 <= found.temperature <= 20


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_rows_say_little(n, rng):
    logits, truth = binary(rng, n=n, scale=2.0)
    found = fit_calibration(logits, truth, "binary")
    assert 0.2 <= found.temperature <= 5
    assert np.abs(found.bias).max() < 1.5


def test_rows_that_are_all_answered_rightly_do_not_make_it_surer():
    logits, truth = np.array([[2.0], [-1.0], [3.0]], np.float32), np.array([1, 0, 0])
    found = fit_calibration(logits[:2], truth[:2], "binary")
    assert (found.temperature, found.bias.tolist()) == (1, [0])
    assert fit_calibration(logits, truth, "binary").temperature > 1


def test_an_answer_without_classes_has_none():
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
def test_logits_of_another_shape_are_refused(task, shape):
    with pytest.raises(ValueError, match=rf"expected {task} logits of shape \(n, .*got \(3"):
        fit_calibration(np.zeros(shape), np.zeros(3, int), task)
