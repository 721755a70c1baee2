import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluate.metrics import compute_metrics
from trainer.evaluate.resampled_metrics import create_resampled_metrics


def draw_answers(rng, n, k, names=None, *, ties=False):
    """Return targets, answers with some confident errors, and classes."""
    p = rng.dirichlet(np.full(k, 0.5), n)
    if ties:
        p = np.round(p, 1) + 0.05
        p /= p.sum(axis=1, keepdims=True)
    classes = np.arange(k) if names is None else np.array(names)
    truth = classes[np.where(rng.random(n) < 0.6, p.argmax(axis=1), rng.integers(0, k, n))]
    label = classes[np.where(rng.random(n) < 0.9, p.argmax(axis=1), rng.integers(0, k, n))]
    return truth, {"label": label, "probabilities": p.astype(np.float32)}, classes


def draw_counts(rng, n, resamples):
    return rng.multinomial(n, np.full(n, 1 / n), resamples).T.astype(np.int32)


def repeat_rows(count, truth, answers):
    return np.repeat(truth, count, axis=0), {
        name: np.repeat(array, count, axis=0) for name, array in answers.items()
    }


def assert_equal_to_repeated_rows(task, truth, answers, classes, counts, positive=1):
    metrics_by_name = create_resampled_metrics(task, truth, answers, classes, positive)(counts)
    for i, count in enumerate(counts.T):
        expected = compute_metrics(task, *repeat_rows(count, truth, answers), classes, positive)
        for name, value in expected.items():
            assert metrics_by_name[name][i] == pytest.approx(value, rel=1e-10, abs=1e-10), name
        missing = [name for name in metrics_by_name if name not in expected]
        assert np.isnan([metrics_by_name[name][i] for name in missing]).all()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k, names", [(2, None), (3, ["no", "or", "yes"]), (6, None)])
def test_resampled_metrics_classification_equals_repeated_rows(k, names, ties, rng):
    truth, answers, classes = draw_answers(rng, 80, k, names, ties=ties)
    task = "binary" if k == 2 else "multiclass"
    assert_equal_to_repeated_rows(task, truth, answers, classes, draw_counts(rng, 80, 12))


@pytest.mark.parametrize("positive", [0, 1])
def test_resampled_metrics_positive_class_equals_repeated_rows(positive, rng):
    truth, answers, classes = draw_answers(rng, 40, 2)
    counts = draw_counts(rng, 40, 6)
    counts[truth == 0, 0] = 0
    counts[truth == 1, 1] = 0
    counts[answers["label"] == 1, 2] = 0
    counts[answers["label"] == 0, 3] = 0
    assert_equal_to_repeated_rows("binary", truth, answers, classes, counts, positive)


def test_resampled_metrics_areas_equal_scikit_learn_with_weights(rng):
    truth, answers, classes = draw_answers(rng, 60, 2, ties=True)
    counts, score = draw_counts(rng, 60, 12), answers["probabilities"][:, 1].astype(np.float64)
    score /= answers["probabilities"].astype(np.float64).sum(axis=1)
    metrics_by_name = create_resampled_metrics("binary", truth, answers, classes)(counts)
    for i, count in enumerate(counts.T):
        for name, function in (
            ("roc_auc", metrics.roc_auc_score),
            ("pr_auc", metrics.average_precision_score),
        ):
            expected = function(truth, score, sample_weight=count)
            assert metrics_by_name[name][i] == pytest.approx(expected, abs=1e-12)


def test_resampled_metrics_resample_without_a_class_has_no_areas(rng):
    truth, answers, classes = draw_answers(rng, 30, 4)
    counts = draw_counts(rng, 30, 3)
    counts[truth == 2, 0] = 0  # class 2 may still be predicted
    counts[(truth == 1) | (answers["label"] == 1), 1] = 0
    counts[:, 2] = 0
    counts[4, 2] = 30  # a single row
    for index in range(3):
        assert_equal_to_repeated_rows("multiclass", truth, answers, classes, counts[:, [index]])
    areas = create_resampled_metrics("multiclass", truth, answers, classes)(counts[:, [0]])[
        "roc_auc"
    ]
    assert np.isnan(areas).all()


def test_resampled_metrics_wrong_certain_answers_equals_scikit_learn(rng):
    p = np.eye(2, dtype=np.float32)[[0, 0, 1, 1, 0]]
    answers = {"label": p.argmax(axis=1), "probabilities": p}
    assert_equal_to_repeated_rows(
        "binary", np.array([0, 1, 1, 0, 0]), answers, np.arange(2), np.ones((5, 1), np.int32)
    )


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_resampled_metrics_regression_equals_repeated_rows(targets, offset, rng):
    truth = rng.normal(size=(70, targets)) * [1, 10, 100][:targets] + offset
    answers = {"value": (truth + rng.normal(size=truth.shape)).astype(np.float32)}
    counts = draw_counts(rng, 70, 12)
    assert_equal_to_repeated_rows("regression", truth, answers, None, counts)
    metrics_by_name = create_resampled_metrics("regression", truth, answers, None)(counts)
    expected = metrics.r2_score(truth, answers["value"], sample_weight=counts[:, 0])
    assert metrics_by_name["r2"][0] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("error, r2", [(0.0, 1.0), (0.5, 0.0)])
def test_resampled_metrics_equal_targets_has_r2_of_scikit_learn(error, r2):
    truth = np.array([[0.5]] * 4 + [[3.0]])
    counts = np.array([[2, 1, 1, 1, 0]], np.int32).T
    metrics_by_name = create_resampled_metrics("regression", truth, {"value": truth + error}, None)(
        counts
    )
    assert metrics_by_name["r2"][0] == metrics.r2_score(truth[:4], truth[:4] + error) == r2
