from dataclasses import replace

import numpy as np
import pytest
from sklearn.inspection import permutation_importance as compute_by_sklearn
from sklearn.metrics import r2_score

from trainer.report import permutation_importance
from trainer.report.permutation_importance import SCORES, compute_importances


class GraphEstimator:
    """The graph as an estimator of scikit-learn, scored by R²."""

    def __init__(self, evaluated):
        self.test_rows = evaluated

    def fit(self, X, y):
        raise AssertionError

    def score(self, X, y):
        answers = self.test_rows.session.run({"features": X.astype(np.float32)})
        return r2_score(y, answers["value"])


@pytest.mark.slow
def test_compute_importances_matches_scikit_learn(train_example, monkeypatch):
    evaluated = train_example("diabetes").inputs.test_rows
    monkeypatch.setattr(permutation_importance, "REPEATS", 80)
    result = compute_importances(evaluated, np.random.default_rng(0))
    expected = compute_by_sklearn(
        GraphEstimator(evaluated),
        evaluated.records.numbers,
        evaluated.truth,
        n_repeats=80,
        random_state=0,
    )
    by_name = {i.column: i for i in result.columns}
    for index, name in enumerate(evaluated.records.names):
        spread = expected.importances_std[index]
        assert by_name[name].drop == pytest.approx(
            expected.importances_mean[index], abs=4 * spread * np.sqrt(2 / 80) + 1e-9
        )
        assert by_name[name].spread == pytest.approx(spread, rel=0.5)
    ranked = [i.drop for i in result.columns]
    assert ranked == sorted(ranked, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tumours", "diabetes", "digits", "mixed", "physique"])
def test_compute_importances_base_is_metric_of_manifest(train_example, kind):
    evaluated = train_example(kind).inputs.test_rows
    result = compute_importances(evaluated, np.random.default_rng(0))
    manifest = train_example(kind).bundle.manifest
    assert result.base == pytest.approx(manifest.metrics["test"][result.metric], abs=1e-5)
    assert result.base == SCORES[result.metric](evaluated, evaluated.answers)
    assert result.rows == len(evaluated)
    assert {i.column for i in result.columns} == {c.name for c in manifest.inputs}


def test_compute_importances_relevant_columns_come_first(train_example):
    result = compute_importances(train_example("mixed").inputs.test_rows, np.random.default_rng(0))
    names = [i.column for i in result.columns]
    assert set(names[:2]) == {"age", "a & <b>b</b>"}
    assert names[-1] == "joined"  # independent of the target


@pytest.mark.slow
def test_compute_importances_constant_column_is_zero(train_example):
    evaluated = train_example("tumours").inputs.test_rows
    numbers = evaluated.records.numbers.copy()
    numbers[:, 3] = numbers[0, 3]
    records = replace(evaluated.records, numbers=numbers)
    constant = replace(evaluated, records=records, answers=evaluated.session.run(records.inputs()))
    before = numbers.copy()
    result = compute_importances(constant, np.random.default_rng(0))
    by_name = {i.column: i for i in result.columns}
    importance = by_name[evaluated.records.names[3]]
    assert (importance.drop, importance.spread) == (0, 0)
    np.testing.assert_array_equal(numbers, before)


@pytest.mark.slow
def test_compute_importances_many_rows_are_sampled(train_example, monkeypatch):
    monkeypatch.setattr(permutation_importance, "MAX_ROWS", 40)
    assert (
        compute_importances(
            train_example("tumours").inputs.test_rows, np.random.default_rng(0)
        ).rows
        == 40
    )
