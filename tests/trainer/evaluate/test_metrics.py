import numpy as np
import pytest
from sklearn import metrics

from trainer.evaluate import Evaluation, compute_metrics, get_main_metric
from trainer.evaluate.metrics import find_never_predicted


def evaluate(task, truth, classes=None, **answers):
    return Evaluation(task, truth, answers, classes).compute_metrics()


def test_compute_metrics_binary_equals_hand_computed():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]], np.float32)
    values = evaluate(
        "binary",
        np.array([0, 0, 1, 1]),
        np.array([0, 1]),
        label=np.array([0, 1, 1, 0]),
        probabilities=p,
    )
    assert values["accuracy"] == 0.5
    assert values["balanced_accuracy"] == 0.5
    assert values["f1"] == 0.5
    assert values["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.2]).mean(), rel=1e-6)
    assert values["roc_auc"] == 0.75


def test_compute_metrics_f1_is_macro_averaged():
    truth, label = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 0])
    values = evaluate(
        "binary",
        truth,
        np.array([0, 1]),
        label=label,
        probabilities=np.tile(np.float32([0.6, 0.4]), (5, 1)),
    )
    assert values["f1"] == pytest.approx((8 / 9 + 0) / 2)


def test_compute_metrics_multiclass_areas_are_one_vs_rest():
    values = evaluate(
        "multiclass",
        np.array(["a", "b", "c"]),
        np.array(["a", "b", "c"]),
        label=np.array(["a", "b", "b"]),
        probabilities=np.eye(3, dtype=np.float32),
    )
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["roc_auc"] == values["pr_auc"] == 1  # each class is most probable in its own row


def test_compute_metrics_regression_equals_hand_computed():
    values = evaluate(
        "regression",
        np.array([[1.0], [2.0], [3.0]]),
        value=np.array([[1.0], [2.0], [5.0]], np.float32),
    )
    assert values["mae"] == pytest.approx(2 / 3)
    assert values["rmse"] == pytest.approx(np.sqrt(4 / 3))
    assert values["r2"] == pytest.approx(1 - 4 / 2)


def test_compute_metrics_probabilities_equals_scikit_learn(rng):
    for k in (2, 4):
        p = rng.dirichlet(np.ones(k), 300)
        truth = np.array([rng.choice(k, p=row) for row in p])
        classes = np.arange(k)
        label = p.argmax(axis=1)
        values = compute_metrics("multiclass", truth, {"label": label, "probabilities": p}, classes)
        scores = p[:, 1] if k == 2 else p
        assert values["brier"] == pytest.approx(metrics.brier_score_loss(truth, scores))
        assert values["log_loss"] == pytest.approx(metrics.log_loss(truth, p))
        auc = metrics.roc_auc_score(truth, scores, multi_class="ovr")
        assert values["roc_auc"] == pytest.approx(auc)
        assert values["precision"] == pytest.approx(
            metrics.precision_score(truth, label, average="macro")
        )


def test_compute_metrics_calibration_error_equals_hand_computed():
    # Eight answers with probability 0.9, six of them correct; two with 0.6, both correct.
    p = np.array([[0.9, 0.1]] * 8 + [[0.6, 0.4]] * 2)
    truth = np.array([0] * 6 + [1] * 2 + [0] * 2)
    answers = {"label": np.zeros(10, int), "probabilities": p}
    values = compute_metrics("binary", truth, answers, np.array([0, 1]))
    assert values["calibration_error"] == pytest.approx((8 * 0.15 + 2 * 0.4) / 10)


def test_compute_metrics_calibrated_model_has_small_calibration_error(rng):
    p = rng.uniform(0, 1, 50_000)
    truth = (rng.uniform(size=p.size) < p).astype(int)
    answers = {"label": (p > 0.5).astype(int), "probabilities": np.column_stack([1 - p, p])}
    values = compute_metrics("binary", truth, answers, np.array([0, 1]))
    assert values["calibration_error"] < 0.01


def test_compute_metrics_one_class_present_has_no_areas():
    answers = {"label": np.zeros(3, int), "probabilities": np.tile([0.7, 0.3], (3, 1))}
    values = compute_metrics("binary", np.zeros(3, int), answers, np.array([0, 1]))
    assert "roc_auc" not in values
    assert get_main_metric("binary", values) == "accuracy"
    assert all(np.isfinite(list(values.values())))


def test_compute_metrics_low_answers_have_asymmetric_pinball_losses():
    truth, low_answers = np.array([[10.0]] * 4), {"value": np.array([[6.0]] * 4)}
    values = compute_metrics("regression", truth, low_answers, None)
    assert values["pinball_90"] == pytest.approx(0.9 * 4)
    assert values["pinball_10"] == pytest.approx(0.1 * 4)


@pytest.mark.parametrize("positive", [0, 1])
def test_compute_metrics_two_classes_adds_positive_class_metrics(positive, rng):
    truth, label = (rng.random(200) < 0.2).astype(int), (rng.random(200) < 0.3).astype(int)
    p = rng.dirichlet([1, 1], 200)
    answers = {"label": label, "probabilities": p}
    values = compute_metrics("binary", truth, answers, np.array([0, 1]), positive)
    for name, function in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert values[f"positive_{name}"] == function(truth, label, pos_label=positive)
        assert values[name] == pytest.approx(function(truth, label, average="macro"))
    area = metrics.average_precision_score(truth == positive, p[:, positive])
    assert values["pr_auc"] == pytest.approx(area)


def test_compute_metrics_positive_class_never_predicted_scores_zero():
    answers = {"label": np.zeros(4, int), "probabilities": np.tile([0.9, 0.1], (4, 1))}
    values = compute_metrics("binary", np.array([0, 0, 0, 1]), answers, np.array([0, 1]))
    assert [values[f"positive_{name}"] for name in ("precision", "recall", "f1")] == [0, 0, 0]


def test_compute_metrics_no_positive_row_omits_positive_class_metrics():
    answers = {"label": np.array([0, 1]), "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]])}
    values = compute_metrics("binary", np.zeros(2, int), answers, np.array([0, 1]))
    assert not [name for name in values if name.startswith("positive")]


def test_compute_metrics_multiclass_omits_positive_class_metrics(rng):
    answers = {"label": np.array([0, 1, 2]), "probabilities": rng.dirichlet([1, 1, 1], 3)}
    values = compute_metrics("multiclass", np.array([0, 1, 2]), answers, np.arange(3))
    assert not [name for name in values if name.startswith("positive")]


@pytest.mark.parametrize(("answer", "r2"), [(2.0, 1.0), (2.5, 0.0)])
def test_compute_metrics_one_regression_row_has_finite_metrics(answer, r2):
    values = compute_metrics("regression", np.array([[2.0]]), {"value": np.array([[answer]])}, None)
    assert values["r2"] == r2
    assert all(np.isfinite(list(values.values())))


def test_find_never_predicted_returns_only_classes_with_rows():
    classes = np.array(["a", "b", "c", "d"])
    truth, label = np.array(["a", "b", "b", "c"]), np.array(["a", "c", "a", "c"])
    assert find_never_predicted(truth, label, classes) == ["b"]  # d has no rows


def test_compute_metrics_two_classes_ranks_by_probability_of_second(rng):
    truth = np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 1])
    p = np.arange(10) / 10
    values = compute_metrics(
        "binary",
        truth,
        {"label": (p >= 0.5).astype(int), "probabilities": np.column_stack([1 - p, p])},
        np.arange(2),
    )
    # The positive rows rank first and third, with precisions of 1 and 2/3.
    assert values["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["roc_auc"] == pytest.approx(15 / 16)
