import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression

from trainer.data.sources import load_table
from trainer.data.splits import split_table
from trainer.evaluate import baselines
from trainer.evaluate.baselines import fit_baselines


def fit_on(name):
    table = load_table(name)
    split = split_table(table, validation=0.1, test=0.2, seed=0)
    return table, split, fit_baselines(table, split, seed=0)


@pytest.mark.slow
def test_baselines_classification_are_majority_logistic_regression_and_trees():
    table, split, fitted = fit_on("breast_cancer")
    assert list(fitted) == ["majority", "logistic_regression", "gradient_boosting"]
    benign_share = np.mean(table.target[split.test] == "benign")
    assert fitted["majority"].metrics["accuracy"] == pytest.approx(benign_share)
    assert fitted["majority"].metrics["roc_auc"] == 0.5
    assert fitted["logistic_regression"].metrics["roc_auc"] > 0.98
    assert {b.rows for b in fitted.values()} == {len(split.train)}
    trees = HistGradientBoostingClassifier(random_state=0)
    trees.fit(table.records.numbers[split.train].astype(float), table.target[split.train])
    score = trees.score(table.records.numbers[split.test].astype(float), table.target[split.test])
    assert fitted["gradient_boosting"].metrics["accuracy"] == pytest.approx(score)


@pytest.mark.parametrize("name", ["diabetes", "linnerud"])
def test_baselines_regression_support_several_targets(name):
    table, split, fitted = fit_on(name)
    assert list(fitted) == ["mean", "ridge", "gradient_boosting"]
    errors = table.target[split.test] - table.target[split.train].mean(axis=0)
    assert fitted["mean"].metrics["mae"] == pytest.approx(np.abs(errors).mean())
    assert all(np.isfinite(list(b.metrics.values())).all() for b in fitted.values())


def test_baselines_linear_data_ridge_beats_mean():
    table, split, fitted = fit_on("diabetes")
    assert fitted["ridge"].metrics["r2"] > fitted["mean"].metrics["r2"] + 0.2
    linear = LinearRegression().fit(table.records.numbers[split.train], table.target[split.train])
    expected = linear.score(table.records.numbers[split.test], table.target[split.test])
    assert fitted["ridge"].metrics["r2"] == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_baselines_too_many_rows_train_on_fewer(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_TRAINING_VALUES", 64 * 10 * 1100)
    _, split, fitted = fit_on("digits")
    assert len(split.train) > 1100
    assert {b.rows for b in fitted.values()} == {1100}


def test_baselines_class_without_training_rows_gets_probability_zero():
    class TwoClassEstimator:
        classes_ = np.array(["a", "c"])

        def predict_proba(self, rows):
            return np.tile([0.3, 0.7], (len(rows), 1))

    answers = baselines._predict(TwoClassEstimator(), [np.zeros((2, 1))], np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(answers["probabilities"], [[0.3, 0, 0.7]] * 2)
    assert answers["label"].tolist() == ["c", "c"]
