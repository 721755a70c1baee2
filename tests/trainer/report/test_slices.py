from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from trainer.data.records import Column, Records
from trainer.report.slices import (
    MIN_ROWS,
    compute_interval,
    compute_row_scores,
    compute_wilson_interval,
    find_slices,
)


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
    p = np.where(label == "yes", 0.8, 0.2)
    return replace(
        train_example("tumours").inputs.test_rows,
        records=Records(columns, numbers, dates, codes),
        truth=truth,
        answers={"label": label, "probabilities": np.stack([1 - p, p], axis=1)},
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
    assert result[0].score == pytest.approx(-0.5 * np.log(0.8) - 0.5 * np.log(0.2))
    assert result[0].correct == 40
    assert [s.score for s in result] == sorted((s.score for s in result), reverse=True)
    assert all(s.rows >= MIN_ROWS for s in result)
    is_new = evaluated.records.numbers[:, 1] == 1
    truth, label = evaluated.truth[is_new], evaluated.answers["label"][is_new]
    part = by_name["new", "true"]
    assert part.score == pytest.approx(
        metrics.log_loss(truth, evaluated.probabilities[is_new], labels=["no", "yes"])
    )
    assert part.correct == np.count_nonzero(truth == label)
    assert part.positives == np.count_nonzero(truth == "yes")
    assert part.found == np.count_nonzero((truth == "yes") & (label == "yes"))


@pytest.mark.parametrize(("n_correct", "n"), [(0, 50), (50, 50), (47, 60), (1, 2)])
def test_compute_wilson_interval_matches_scipy(n_correct, n):
    expected = stats.binomtest(n_correct, n).proportion_ci(method="wilson")
    low, high = compute_wilson_interval(n_correct / n, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_compute_interval_mean_is_normal(rng):
    scores = rng.exponential(size=300)
    mean, low, high = compute_interval(scores)
    expected = stats.norm.interval(0.95, scores.mean(), stats.sem(scores))
    assert (mean, low, high) == pytest.approx((scores.mean(), *expected), rel=1e-6)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.repeat([0, 4, 5, 7, 8, 10, 11, 21], 50), ["0 to 4", "over 4 to 7", "over 7 to 10"]),
        (
            1 + np.repeat([0, 1, 2, 3, 4, 5, 6, 7], 50) * 1e-5,
            ["1 to 1.00001", "over 1.00001 to 1.00003", "over 1.00003 to 1.00005"],
        ),
    ],
)
def test_find_slices_quarters_do_not_overlap(evaluated, values, names):
    numbers = values[:, None].astype(np.float32)
    rows = replace(evaluated, records=Records((Column("visits"),), numbers))
    result = {s.value: s.rows for s in find_slices(rows)}
    assert set(names) < set(result)
    assert set(result.values()) == {100}


def test_find_slices_quarters_of_dates_have_days(evaluated):
    day = 86400.0
    dates = (np.repeat(np.arange(8), 50) * 100 * day + 1.5e9)[:, None]
    rows = replace(
        evaluated,
        records=Records((Column("joined", "date"),), np.zeros((400, 0), np.float32), dates),
    )
    names = {s.value for s in find_slices(rows)}
    assert names == {
        "2017-07-14 to 2017-10-22",
        "after 2017-10-22 to 2018-05-10",
        "after 2018-05-10 to 2018-11-26",
        "after 2018-11-26 to 2019-06-14",
    }


def test_find_slices_rare_class_missed_is_worst_although_accuracy_is_high(evaluated):
    # In "hidden", the 4 % of the rare class are missed with confidence; in "noisy", accuracy is
    # lower, because the model is wrong but close.
    codes = np.repeat([0, 1], 200)[:, None].astype(np.int32)
    truth, p = np.full(400, "no", dtype="<U3"), np.full(400, 0.3)
    truth[:8], p[:200] = "yes", 1e-9
    p[200:220] = 0.51
    rows = replace(
        evaluated,
        records=Records(
            (Column("kind", "category", ("hidden", "noisy")),),
            np.zeros((400, 0), np.float32),
            np.zeros((400, 0)),
            codes,
        ),
        truth=truth,
        answers={
            "label": np.where(p > 0.5, "yes", "no"),
            "probabilities": np.stack([1 - p, p], axis=1),
        },
    )
    worst, other = find_slices(rows)
    assert (worst.value, worst.correct, worst.found, worst.positives) == ("hidden", 192, 0, 8)
    assert (other.value, other.correct) == ("noisy", 180)


@pytest.mark.parametrize("kind", ["tumours", "digits"])
def test_compute_row_scores_mean_is_log_loss_of_metrics(train_example, kind):
    example = train_example(kind)
    expected = example.bundle.manifest.metrics["test"]["log_loss"]
    scores = compute_row_scores(example.inputs.test_rows)
    assert scores.mean() == pytest.approx(expected, rel=1e-4)


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
