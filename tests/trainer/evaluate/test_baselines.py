import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression

from trainer.data.sources import load_table
from trainer.data.splits import split_table
from trainer.evaluate import baselines
from trainer.evaluate.baselines import fit_baselines


def judged(name):
    table = load_table(name)
    parts = split_table(table, validation=0.1, test=0.2, seed=0)
    return table, parts, fit_baselines(table, parts, seed=0)


@pytest.mark.slow
def test_baselines_of_classes_are_a_constant_a_line_and_trees():
    table, parts, found = judged("breast_cancer")
    assert list(found) == ["majority", "logistic_regression", "gradient_boosting"]
    benign = np.mean(table.target[parts.test] == "benign")
    assert found["majority"].metrics["accuracy"] == pytest.approx(benign)
    assert found["majority"].metrics["roc_auc"] == 0.5
    assert found["logistic_regression"].metrics["roc_auc"] > 0.98
    assert {b.rows for b in found.values()} == {len(parts.train)}
    trees = HistGradientBoostingClassifier(random_state=0)
    trees.fit(table.records.numbers[parts.train].astype(float), table.target[parts.train])
    score = trees.score(table.records.numbers[parts.test].astype(float), table.target[parts.test])
    assert found["gradient_boosting"].metrics["accuracy"] == pytest.approx(score)


@pytest.mark.parametrize("name", ["diabetes", "linnerud"])
def test_baselines_of_values_take_several_targets(name):
    table, parts, found = judged(name)
    assert list(found) == ["mean", "ridge", "gradient_boosting"]
    gap = table.target[parts.test] - table.target[parts.train].mean(axis=0)
    assert found["mean"].metrics["mae"] == pytest.approx(np.abs(gap).mean())
    assert all(np.isfinite(list(b.metrics.values())).all() for b in found.values())


def test_a_line_beats_the_mean_where_there_is_one():
    table, parts, found = judged("diabetes")
    assert found["ridge"].metrics["r2"] > found["mean"].metrics["r2"] + 0.2
    line = LinearRegression().fit(table.records.numbers[parts.train], table.target[parts.train])
    expected = line.score(table.records.numbers[parts.test], table.target[parts.test])
    assert found["ridge"].metrics["r2"] == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_of_very_many_rows_they_learn_from_fewer(monkeypatch):
    monkeypatch.setattr(baselines, "LARGEST", 64 * 10 * 1100)
    _, parts, found = judged("digits")
    assert len(parts.train) > 1100
    assert {b.rows for b in found.values()} == {1100}


def test_a_class_of_which_no_row_was_taken_is_never_answered():
    class Knows:
        classes_ = np.array(["a", "c"])

        def predict_proba(self, rows):
            return np.tile([0.3, 0.7], (len(rows), 1))

    answers = baselines._answers(Knows(), [np.zeros((2, 1))], np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(answers["probabilities"], [[0.3, 0, 0.7]] * 2)
    assert answers["label"].tolist() == ["c", "c"]
