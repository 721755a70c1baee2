import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from trainer.evaluate.metrics import measure
from trainer.evaluate.temperature import fit_temperature


def multiclass(rng, n=20_000, k=4, scale=1.0):
    """Logits that are `scale` times surer than the truth is."""
    honest = 2 * rng.normal(size=(n, k))
    truth = (honest + rng.gumbel(size=(n, k))).argmax(axis=1)  # of probabilities softmax(honest)
    return (scale * honest).astype(np.float32), truth


def binary(rng, n=20_000, scale=1.0):
    honest = 2 * rng.normal(size=(n, 1))
    truth = (rng.random(n) < expit(honest[:, 0])).astype(np.int64)
    return (scale * honest).astype(np.float32), truth


MAKERS = {"binary": binary, "multiclass": multiclass}


def nll(logits, truth, task, t, weights=None):
    z = logits.astype(np.float64) / t
    if task == "binary":
        z = np.column_stack([-z / 2, z / 2])
    return np.average(-log_softmax(z, axis=1)[np.arange(len(z)), truth], weights=weights)


@pytest.mark.parametrize("scale", [0.2, 1.0, 1.7, 8.0])
@pytest.mark.parametrize("task", MAKERS)
def test_it_finds_how_much_too_sure_the_logits_are(task, scale, rng):
    logits, truth = MAKERS[task](rng, scale=scale)
    assert fit_temperature(logits, truth, task) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("task", MAKERS)
def test_no_other_temperature_is_likelier(task, rng):
    for scale in (0.5, 1.0, 3.0):
        logits, truth = MAKERS[task](rng, n=60, scale=scale)
        t = fit_temperature(logits, truth, task)
        least = min(nll(logits, truth, task, other) for other in np.geomspace(0.05, 20, 400))
        assert nll(logits, truth, task, t) <= least + 1e-9
        assert nll(logits, truth, task, t) <= nll(logits, truth, task, 1)


def test_it_mends_the_calibration_error_and_no_answer_changes(rng):
    logits, truth = multiclass(rng, scale=4.0)

    def judged(t):
        p = softmax(logits / t, axis=1)
        return measure("multiclass", truth, {"label": p.argmax(axis=1), "probabilities": p},
                       np.arange(4))  # fmt: skip

    before, after = judged(1), judged(fit_temperature(logits, truth, "multiclass"))
    assert before["calibration_error"] > 0.1
    assert after["calibration_error"] < 0.02
    assert after["accuracy"] == before["accuracy"]


@pytest.mark.parametrize("task", MAKERS)
def test_a_row_counts_as_often_as_its_weight_says(task, rng):
    logits, truth = MAKERS[task](rng, n=300, scale=2.0)
    weights = rng.integers(0, 4, 300)
    repeated = fit_temperature(logits.repeat(weights, axis=0), truth.repeat(weights), task)
    assert fit_temperature(logits, truth, task, weights) == pytest.approx(repeated, rel=1e-4)


@pytest.mark.parametrize("task, logits, truth, t", [
    ("multiclass", [[0.0, 500.0, 1.0]], [0], 20),  # never right: the less sure the better
    ("multiclass", [[3.0, 3.0, 3.0]] * 2, [0, 1], 1),  # it makes no difference
])  # fmt: skip
def test_it_stays_within_bounds_and_at_1_without_reason(task, logits, truth, t):
    found = fit_temperature(np.array(logits, np.float32), np.array(truth), task)
    assert found == pytest.approx(t, rel=1e-4)
    assert 0.05 <= found <= 20


def test_rows_that_are_all_answered_rightly_do_not_make_it_surer():
    logits, truth = np.array([[2.0], [-1.0], [3.0]], np.float32), np.array([1, 0, 0])
    right = np.array([1.0, 2.0, 0.0])  # the last, which is wrong, does not count
    assert fit_temperature(logits[:2], truth[:2], "binary") == 1
    assert fit_temperature(logits, truth, "binary", right) == 1
    assert fit_temperature(logits, truth, "binary") > 1


def test_an_answer_without_classes_has_none():
    with pytest.raises(ValueError, match="expected a classification .* got regression"):
        fit_temperature(np.zeros((3, 1)), np.zeros(3, int), "regression")


@pytest.mark.parametrize("task, shape", [
    ("binary", (3, 2)), ("multiclass", (3, 1)), ("multiclass", (3,)),
])  # fmt: skip
def test_logits_of_another_shape_are_refused(task, shape):
    with pytest.raises(ValueError, match=rf"expected {task} logits of shape \(n, .*got \(3"):
        fit_temperature(np.zeros(shape), np.zeros(3, int), task)
