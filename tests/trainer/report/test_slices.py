from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from trainer.data.records import Column, Records
from trainer.report.slices import MIN_ROWS, compute_interval, find_slices


@pytest.fixture
def evaluated(train_example, rng):
    """Return rows of a classifier, with wrong answers mostly in the category b."""
    n = 400
    numbers = np.stack([rng.normal(size=n), rng.random(n) < 0.5], axis=1).astype(np.float32)
    numbers[:60, 0] = np.nan
    codes = np.zeros((n, 1), np.int32)
    codes[100:180], codes[180:200], codes[200:] = 1, 2, -1
    dates = np.full((n, 1), 1.6e9)
    columns = (
        Column("size"),
        Column("kind", "category", ("a", "b", "few")),
        Column("new", "boolean"),
        Column("day", "date"),
    )
    truth = np.array(["no", "yes"])[rng.integers(0, 2, n)]
    label = truth.copy()
    wrong = np.r_[110:150, 0:6]  # mostly of kind b, some without a size
    label[wrong] = np.where(truth[wrong] == "no", "yes", "no")
    return replace(
        train_example("tumours").inputs.test_rows,
        records=Records(columns, numbers, dates, codes),
        truth=truth,
        answers={"label": label},
        classes=np.array(["no", "yes"]),
    )


def test_find_slices_returns_categories_quarters_and_gaps(evaluated):
    result = find_slices(evaluated)
    by_name = {(s.column, s.value): s for s in result}
    assert by_name["kind", "a"].rows == 100
    assert by_name["kind", "b"].rows == 80
    assert by_name["kind", "missing"].rows == 200
    assert ("kind", "few") not in by_name  # of 20 rows
    assert by_name["size", "missing"].rows == 60
    assert by_name["new", "true"].rows + by_name["new", "false"].rows == 400
    assert not any(s.column == "day" for s in result)  # the same day throughout
    quarters = [s.rows for s in result if s.column == "size" and s.value != "missing"]
    assert quarters == [85] * 4
    assert (result[0].column, result[0].value) == ("kind", "b")
    assert result[0].score == 0.5
    assert [s.score for s in result] == sorted(s.score for s in result)
    assert all(s.rows >= MIN_ROWS for s in result)
    n_correct = evaluated.answers["label"] == evaluated.truth
    assert by_name["new", "true"].score == n_correct[evaluated.records.numbers[:, 1] == 1].mean()


@pytest.mark.parametrize(("n_correct", "n"), [(0, 50), (50, 50), (47, 60), (1, 2)])
def test_compute_interval_accuracy_is_wilson(evaluated, n_correct, n):
    scores = np.r_[np.ones(n_correct), np.zeros(n - n_correct)]
    expected = stats.binomtest(n_correct, n).proportion_ci(method="wilson")
    mean, low, high = compute_interval(evaluated, scores)
    assert mean == n_correct / n
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_compute_interval_error_is_normal(train_example, rng):
    scores = rng.exponential(size=300)
    mean, low, high = compute_interval(train_example("diabetes").inputs.test_rows, scores)
    expected = stats.norm.interval(0.95, scores.mean(), stats.sem(scores))
    assert (mean, low, high) == pytest.approx((scores.mean(), *expected), rel=1e-6)


def test_find_slices_regression_largest_error_comes_first(train_example, rng):
    n = 200
    numbers = np.repeat([0.0, 1.0], n // 2)[:, None].astype(np.float32)
    value = np.where(numbers == 1, 5.0, 0.5).astype(np.float32)
    evaluated = replace(
        train_example("diabetes").inputs.test_rows,
        records=Records((Column("big", "boolean"),), numbers),
        truth=np.zeros((n, 1)),
        answers={"value": value},
    )
    result = find_slices(evaluated)
    assert [(s.value, s.score) for s in result] == [("true", 5.0), ("false", 0.5)]
