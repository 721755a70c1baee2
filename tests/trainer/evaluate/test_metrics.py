import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluate import Evaluation, compute_metrics, get_main_metric
from trainer.evaluate.metrics import find_never_predicted


def judged(task, truth, classes=None, **answers):
    return Evaluation(task, truth, answers, classes).compute_metrics()


def test_classification_by_hand():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]], np.float32)
    found = judged(
        "binary",
        np.array([0, 0, 1, 1]),
        np.array([0, 1]),
        label=np.array([0, 1, 1, 0]),
        probabilities=p,
    )
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == 0.5
    assert found["f1"] == 0.5
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.2]).mean(), rel=1e-6)
    assert found["roc_auc"] == 0.75


def test_f1_weighs_every_class_alike():
    truth, label = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 0])
    found = judged(
        "binary",
        truth,
        np.array([0, 1]),
        label=label,
        probabilities=np.tile(np.float32([0.6, 0.4]), (5, 1)),
    )
    assert found["f1"] == pytest.approx((8 / 9 + 0) / 2)


def test_several_classes_are_ranked_one_against_the_rest():
    found = judged(
        "multiclass",
        np.array(["a", "b", "c"]),
        np.array(["a", "b", "c"]),
        label=np.array(["a", "b", "b"]),
        probabilities=np.eye(3, dtype=np.float32),
    )
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["roc_auc"] == found["pr_auc"] == 1  # each class is most probable where it is true


def test_regression_by_hand():
    found = judged(
        "regression",
        np.array([[1.0], [2.0], [3.0]]),
        value=np.array([[1.0], [2.0], [5.0]], np.float32),
    )
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt(4 / 3))
    assert found["r2"] == pytest.approx(1 - 4 / 2)


def test_probabilities_are_judged_as_scikit_learn_does(rng):
    for k in (2, 4):
        p = rng.dirichlet(np.ones(k), 300)
        truth = np.array([rng.choice(k, p=row) for row in p])
        classes = np.arange(k)
        label = p.argmax(axis=1)
        found = compute_metrics("multiclass", truth, {"label": label, "probabilities": p}, classes)
        given = p[:, 1] if k == 2 else p
        assert found["brier"] == pytest.approx(metrics.brier_score_loss(truth, given))
        assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, p))
        auc = metrics.roc_auc_score(truth, given, multi_class="ovr")
        assert found["roc_auc"] == pytest.approx(auc)
        assert found["precision"] == pytest.approx(
            metrics.precision_score(truth, label, average="macro")
        )


def test_the_calibration_error_is_of_confidence_against_accuracy():
    # Eight answers of 0.9, six of them right; two of 0.6, both right.
    p = np.array([[0.9, 0.1]] * 8 + [[0.6, 0.4]] * 2)
    truth = np.array([0] * 6 + [1] * 2 + [0] * 2)
    answers = {"label": np.zeros(10, int), "probabilities": p}
    found = compute_metrics("binary", truth, answers, np.array([0, 1]))
    assert found["calibration_error"] == pytest.approx((8 * 0.15 + 2 * 0.4) / 10)


def test_a_calibrated_model_has_next_to_none(rng):
    p = rng.uniform(0, 1, 50_000)
    truth = (rng.uniform(size=p.size) < p).astype(int)
    answers = {"label": (p > 0.5).astype(int), "probabilities": np.column_stack([1 - p, p])}
    found = compute_metrics("binary", truth, answers, np.array([0, 1]))
    assert found["calibration_error"] < 0.01


def test_rows_of_one_class_alone_have_no_ranking():
    answers = {"label": np.zeros(3, int), "probabilities": np.tile([0.7, 0.3], (3, 1))}
    found = compute_metrics("binary", np.zeros(3, int), answers, np.array([0, 1]))
    assert "roc_auc" not in found
    assert get_main_metric("binary", found) == "accuracy"
    assert all(np.isfinite(list(found.values())))


def test_pinball_losses_lean_to_either_side():
    truth, low = np.array([[10.0]] * 4), {"value": np.array([[6.0]] * 4)}
    found = compute_metrics("regression", truth, low, None)
    assert found["pinball_90"] == pytest.approx(0.9 * 4)
    assert found["pinball_10"] == pytest.approx(0.1 * 4)


@pytest.mark.parametrize("positive", [0, 1])
def test_measure_two_classes_gives_the_positive_classs_own_figures(positive, rng):
    truth, label = (rng.random(200) < 0.2).astype(int), (rng.random(200) < 0.3).astype(int)
    p = rng.dirichlet([1, 1], 200)
    answers = {"label": label, "probabilities": p}
    found = compute_metrics("binary", truth, answers, np.array([0, 1]), positive)
    for name, function in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert found[f"positive_{name}"] == function(truth, label, pos_label=positive)
        assert found[name] == pytest.approx(function(truth, label, average="macro"))
    area = metrics.average_precision_score(truth == positive, p[:, positive])
    assert found["pr_auc"] == pytest.approx(area)


def test_measure_positive_class_never_answered_scores_zero():
    answers = {"label": np.zeros(4, int), "probabilities": np.tile([0.9, 0.1], (4, 1))}
    found = compute_metrics("binary", np.array([0, 0, 0, 1]), answers, np.array([0, 1]))
    assert [found[f"positive_{name}"] for name in ("precision", "recall", "f1")] == [0, 0, 0]


def test_measure_no_row_of_the_positive_class_leaves_its_figures_out():
    answers = {"label": np.array([0, 1]), "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]])}
    found = compute_metrics("binary", np.zeros(2, int), answers, np.array([0, 1]))
    assert not [name for name in found if name.startswith("positive")]


def test_measure_more_than_two_classes_has_no_positive_one(rng):
    answers = {"label": np.array([0, 1, 2]), "probabilities": rng.dirichlet([1, 1, 1], 3)}
    found = compute_metrics("multiclass", np.array([0, 1, 2]), answers, np.arange(3))
    assert not [name for name in found if name.startswith("positive")]


@pytest.mark.parametrize(("answer", "r2"), [(2.0, 1.0), (2.5, 0.0)])
def test_measure_one_row_of_values_has_finite_metrics(answer, r2):
    found = compute_metrics("regression", np.array([[2.0]]), {"value": np.array([[answer]])}, None)
    assert found["r2"] == r2
    assert all(np.isfinite(list(found.values())))


def test_never_answered_names_classes_with_rows_that_no_answer_is():
    classes = np.array(["a", "b", "c", "d"])
    truth, label = np.array(["a", "b", "b", "c"]), np.array(["a", "c", "a", "c"])
    assert find_never_predicted(truth, label, classes) == ["b"]  # there is no row of d


def test_two_classes_are_ranked_by_the_second_alone(rng):
    truth = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 1])
    p = np.arange(10) / 10
    found = compute_metrics(
        "binary",
        truth,
        {"label": (p >= 0.5).astype(int), "probabilities": np.column_stack([1 - p, p])},
        np.arange(2),
    )
    # The positives are first and third from the top: a precision of 1 and of 2/3.
    assert found["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["roc_auc"] == pytest.approx(15 / 16)
