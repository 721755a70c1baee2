from dataclasses import replace

import numpy as np
import pytest
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score

from trainer.report import permutation_importance
from trainer.report.permutation_importance import SCORES, compute_importances


class Face:
    """The graph as scikit-learn asks it: rows of numbers in, R² out."""

    def __init__(self, judged):
        self.test_rows = judged

    def fit(self, X, y):
        raise AssertionError

    def score(self, X, y):
        answers = self.test_rows.session.run({"features": X.astype(np.float32)})
        return r2_score(y, answers["value"])


@pytest.mark.slow
def test_drops_are_those_of_scikit_learn_but_for_the_draws(made, monkeypatch):
    judged = made("diabetes").evidence.test_rows
    monkeypatch.setattr(permutation_importance, "REPEATS", 80)
    found = compute_importances(judged, np.random.default_rng(0))
    theirs = permutation_importance(
        Face(judged), judged.records.numbers, judged.truth, n_repeats=80, random_state=0
    )
    ours = {i.column: i for i in found.columns}
    for place, name in enumerate(judged.records.names):
        spread = theirs.importances_std[place]
        assert ours[name].drop == pytest.approx(
            theirs.importances_mean[place], abs=4 * spread * np.sqrt(2 / 80) + 1e-9
        )
        assert ours[name].spread == pytest.approx(spread, rel=0.5)
    ranked = [i.drop for i in found.columns]
    assert ranked == sorted(ranked, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tumours", "diabetes", "digits", "mixed", "physique"])
def test_the_leading_metric_is_that_of_the_manifest(made, kind):
    judged = made(kind).evidence.test_rows
    found = compute_importances(judged, np.random.default_rng(0))
    manifest = made(kind).bundle.manifest
    assert found.base == pytest.approx(manifest.metrics["test"][found.metric], abs=1e-5)
    assert found.base == SCORES[found.metric](judged, judged.answers)
    assert found.rows == len(judged)
    assert {i.column for i in found.columns} == {c.name for c in manifest.inputs}


def test_a_column_that_decides_is_told_from_one_that_does_not(made):
    found = compute_importances(made("mixed").evidence.test_rows, np.random.default_rng(0))
    names = [i.column for i in found.columns]
    assert set(names[:2]) == {"age", "a & <b>b</b>"}
    assert names[-1] == "joined"  # drawn apart from all else


@pytest.mark.slow
def test_a_column_of_one_value_is_worth_nothing_and_rows_are_left_as_they_were(made):
    judged = made("tumours").evidence.test_rows
    numbers = judged.records.numbers.copy()
    numbers[:, 3] = numbers[0, 3]
    records = replace(judged.records, numbers=numbers)
    flat = replace(judged, records=records, answers=judged.session.run(records.inputs()))
    before = numbers.copy()
    found = compute_importances(flat, np.random.default_rng(0))
    by_name = {i.column: i for i in found.columns}
    worthless = by_name[judged.records.names[3]]
    assert (worthless.drop, worthless.spread) == (0, 0)
    np.testing.assert_array_equal(numbers, before)


@pytest.mark.slow
def test_of_many_rows_some_are_taken(made, monkeypatch):
    monkeypatch.setattr(permutation_importance, "MOST_ROWS", 40)
    assert compute_importances(made("tumours").evidence.test_rows, np.random.default_rng(0)).rows == 40
