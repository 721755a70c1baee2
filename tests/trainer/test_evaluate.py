from types import SimpleNamespace

import numpy as np
import pytest

from trainer.evaluate import evaluate


def judged(task, truth, classes=None, **answers):
    model = SimpleNamespace(task=task, classes=classes, answers=lambda features: answers)
    table = SimpleNamespace(features=np.zeros((len(truth), 1)), target=truth)
    return evaluate(model, table, np.arange(len(truth)))


def test_classification_by_hand():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.8, 0.2]], np.float32)
    found = judged(
        "binary", np.array([0, 0, 1, 1]), np.array([0, 1]),
        label=np.array([0, 1, 1, 0]), probabilities=p,
    )  # fmt: skip
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == 0.5
    assert found["f1_macro"] == 0.5
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.7, 0.2]).mean(), rel=1e-6)
    assert found["roc_auc"] == 0.75


def test_f1_weighs_every_class_alike():
    truth, label = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 0])
    found = judged(
        "binary", truth, np.array([0, 1]), label=label,
        probabilities=np.tile(np.float32([0.6, 0.4]), (5, 1)),
    )  # fmt: skip
    assert found["f1_macro"] == pytest.approx((8 / 9 + 0) / 2)


def test_multiclass_has_no_single_roc():
    found = judged(
        "multiclass", np.array(["a", "b", "c"]), np.array(["a", "b", "c"]),
        label=np.array(["a", "b", "b"]), probabilities=np.eye(3, dtype=np.float32),
    )  # fmt: skip
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert "roc_auc" not in found


def test_regression_by_hand():
    found = judged(
        "regression", np.array([[1.0], [2.0], [3.0]]),
        value=np.array([[1.0], [2.0], [5.0]], np.float32),
    )  # fmt: skip
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt(4 / 3))
    assert found["r2"] == pytest.approx(1 - 4 / 2)
