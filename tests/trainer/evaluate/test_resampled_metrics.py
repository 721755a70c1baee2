import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluate.metrics import compute_metrics
from trainer.evaluate.resampled_metrics import create_resampled_metrics


def answered(rng, n, k, names=None, *, ties=False):
    """A truth, answers to it and the classes; some rows confidently wrong."""
    p = rng.dirichlet(np.full(k, 0.5), n)
    if ties:
        p = np.round(p, 1) + 0.05
        p /= p.sum(axis=1, keepdims=True)
    classes = np.arange(k) if names is None else np.array(names)
    truth = classes[np.where(rng.random(n) < 0.6, p.argmax(axis=1), rng.integers(0, k, n))]
    label = classes[np.where(rng.random(n) < 0.9, p.argmax(axis=1), rng.integers(0, k, n))]
    return truth, {"label": label, "probabilities": p.astype(np.float32)}, classes


def drawn(rng, n, resamples):
    return rng.multinomial(n, np.full(n, 1 / n), resamples).T.astype(np.int32)


def repeated(count, truth, answers):
    return np.repeat(truth, count, axis=0), {
        name: np.repeat(array, count, axis=0) for name, array in answers.items()
    }


def assert_as_repeated(task, truth, answers, classes, counts, positive=1):
    found = create_resampled_metrics(task, truth, answers, classes, positive)(counts)
    for i, count in enumerate(counts.T):
        expected = compute_metrics(task, *repeated(count, truth, answers), classes, positive)
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, rel=1e-10, abs=1e-10), name
        missing = [name for name in found if name not in expected]
        assert np.isnan([found[name][i] for name in missing]).all()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k, names", [(2, None), (3, ["no", "or", "yes"]), (6, None)])
def test_metrics_of_classes_are_those_of_the_repeated_rows(k, names, ties, rng):
    truth, answers, classes = answered(rng, 80, k, names, ties=ties)
    task = "binary" if k == 2 else "multiclass"
    assert_as_repeated(task, truth, answers, classes, drawn(rng, 80, 12))


@pytest.mark.parametrize("positive", [0, 1])
def test_recount_speaks_of_the_positive_class(positive, rng):
    truth, answers, classes = answered(rng, 40, 2)
    counts = drawn(rng, 40, 6)
    counts[truth == 0, 0] = 0
    counts[truth == 1, 1] = 0
    counts[answers["label"] == 1, 2] = 0
    counts[answers["label"] == 0, 3] = 0
    assert_as_repeated("binary", truth, answers, classes, counts, positive)


def test_areas_are_scikit_learns_with_weights(rng):
    truth, answers, classes = answered(rng, 60, 2, ties=True)
    counts, score = drawn(rng, 60, 12), answers["probabilities"][:, 1].astype(np.float64)
    score /= answers["probabilities"].astype(np.float64).sum(axis=1)
    found = create_resampled_metrics("binary", truth, answers, classes)(counts)
    for i, count in enumerate(counts.T):
        for name, function in (
            ("roc_auc", metrics.roc_auc_score),
            ("pr_auc", metrics.average_precision_score),
        ):
            expected = function(truth, score, sample_weight=count)
            assert found[name][i] == pytest.approx(expected, abs=1e-12)


def test_a_resample_that_lost_a_class_has_the_metrics_of_its_rows_but_no_areas(rng):
    truth, answers, classes = answered(rng, 30, 4)
    counts = drawn(rng, 30, 3)
    counts[truth == 2, 0] = 0  # though it may be answered
    counts[(truth == 1) | (answers["label"] == 1), 1] = 0
    counts[:, 2] = 0
    counts[4, 2] = 30  # one row alone
    for one in range(3):
        assert_as_repeated("multiclass", truth, answers, classes, counts[:, [one]])
    areas = create_resampled_metrics("multiclass", truth, answers, classes)(counts[:, [0]])[
        "roc_auc"
    ]
    assert np.isnan(areas).all()


def test_certain_answers_that_are_wrong_cost_what_scikit_learn_says(rng):
    p = np.eye(2, dtype=np.float32)[[0, 0, 1, 1, 0]]
    answers = {"label": p.argmax(axis=1), "probabilities": p}
    assert_as_repeated(
        "binary", np.array([0, 1, 1, 0, 0]), answers, np.arange(2), np.ones((5, 1), np.int32)
    )


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_metrics_of_values_are_those_of_the_repeated_rows(targets, offset, rng):
    truth = rng.normal(size=(70, targets)) * [1, 10, 100][:targets] + offset
    answers = {"value": (truth + rng.normal(size=truth.shape)).astype(np.float32)}
    counts = drawn(rng, 70, 12)
    assert_as_repeated("regression", truth, answers, None, counts)
    found = create_resampled_metrics("regression", truth, answers, None)(counts)
    expected = metrics.r2_score(truth, answers["value"], sample_weight=counts[:, 0])
    assert found["r2"][0] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("miss, r2", [(0.0, 1.0), (0.5, 0.0)])
def test_values_all_alike_are_explained_or_not_as_scikit_learn_says(miss, r2):
    truth = np.array([[0.5]] * 4 + [[3.0]])
    counts = np.array([[2, 1, 1, 1, 0]], np.int32).T
    found = create_resampled_metrics("regression", truth, {"value": truth + miss}, None)(counts)
    assert found["r2"][0] == metrics.r2_score(truth[:4], truth[:4] + miss) == r2
