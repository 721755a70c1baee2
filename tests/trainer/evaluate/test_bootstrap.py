import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import r2_score

from tests.growth import assert_linear
from trainer.evaluate import bootstrap
from trainer.evaluate.bootstrap import compute_drops, compute_interval, compute_intervals
from trainer.evaluate.metrics import compute_metrics


def interval_of_drop(*given, **choices):
    return compute_interval(compute_drops(*given, **choices))


def answered(rng, n, k):
    """Calibrated probabilities and what came true."""
    p = rng.dirichlet(np.ones(k), n)
    truth = np.minimum((rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1), k - 1)
    return truth, {"label": p.argmax(axis=1), "probabilities": p.astype(np.float32)}


@pytest.mark.parametrize("k", [2, 4])
def test_every_metric_of_classes_has_an_interval_around_it(k, rng):
    truth, answers = answered(rng, 500, k)
    found = compute_metrics("multiclass", truth, answers, np.arange(k))
    between = compute_intervals("multiclass", truth, answers, np.arange(k), rng=rng)
    assert list(between) == list(found)
    for name, (low, high) in between.items():
        # A resample is never better calibrated than a calibrated model.
        assert low < high, name
        assert low < found[name] < high or name.endswith("calibration_error"), name


def test_every_metric_of_values_has_an_interval_around_it(rng):
    truth = rng.normal(size=(400, 2))
    answers = {"value": truth + 0.5 * rng.normal(size=truth.shape)}
    found = compute_metrics("regression", truth, answers, None)
    between = compute_intervals("regression", truth, answers, None, rng=rng)
    assert list(between) == list(found)
    assert all(low < found[name] < high for name, (low, high) in between.items())


def test_of_a_mean_it_is_the_textbooks(rng):
    truth = np.zeros((2000, 1))
    errors = rng.exponential(size=truth.shape)
    low, high = compute_intervals("regression", truth, {"value": errors}, None, rng=rng)["mae"]
    margin = 1.96 * errors.std() / np.sqrt(2000)
    assert low == pytest.approx(errors.mean() - margin, abs=0.1 * margin)
    assert high == pytest.approx(errors.mean() + margin, abs=0.1 * margin)


@pytest.mark.slow
def test_nineteen_in_twenty_hold_the_truth(rng):
    # Of a classifier that is right four times out of five, judged on 300 rows again and again.
    held = 0
    for _ in range(200):
        truth = rng.integers(0, 2, 300)
        label = np.where(rng.random(300) < 0.8, truth, 1 - truth)
        answers = {"label": label, "probabilities": np.eye(2)[label] * 0.6 + 0.2}
        between = compute_intervals("binary", truth, answers, np.arange(2), rng=rng, resamples=300)
        low, high = between["accuracy"]
        held += low <= 0.8 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_rows_are_drawn_with_replacement_as_often_as_there_are_rows(rng):
    counts = bootstrap._draw(50, 4000, rng)
    assert (counts.sum(axis=0) == 50).all()
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.08)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)
    assert np.corrcoef(counts[:2])[0, 1] == pytest.approx(-1 / 49, abs=0.05)


def test_a_seed_decides_it(rng):
    truth, answers = answered(rng, 90, 3)

    def once(seed):
        rng = np.random.default_rng(seed)
        return compute_intervals("multiclass", truth, answers, np.arange(3), rng=rng, resamples=250)

    assert once(1) == once(1) != once(2)


def test_a_rare_class_leaves_out_resamples_and_an_absent_one_the_metric(rng):
    truth, answers = answered(rng, 60, 2)
    truth[:] = 0
    between = compute_intervals("binary", truth, answers, np.arange(2), rng=rng)
    found = compute_metrics("binary", truth, answers, np.arange(2))
    assert found["precision"] == 0.5  # 1 of the one class and 0 of the other, in every resample
    assert set(between) == set(found) - {"precision"}
    assert "roc_auc" not in between
    truth[7] = 1  # which every third resample lacks
    low, high = compute_intervals("binary", truth, answers, np.arange(2), rng=rng)["roc_auc"]
    assert 0 <= low <= high <= 1


def test_intervals_metric_that_no_resample_changes_has_none(rng):
    truth = np.repeat([0, 1], [55, 5])
    answers = {"label": np.zeros(60, int), "probabilities": np.tile([0.8, 0.2], (60, 1))}
    found = compute_metrics("binary", truth, answers, np.arange(2))
    between = compute_intervals("binary", truth, answers, np.arange(2), rng=rng)
    assert found["positive_recall"] == found["positive_f1"] == 0  # and so in every resample
    assert not between.keys() & {"positive_precision", "positive_recall", "positive_f1", "roc_auc"}
    assert between["accuracy"][0] < found["accuracy"] < between["accuracy"][1]


@pytest.mark.slow
@pytest.mark.parametrize("n, k", [(10_000, 10), (16_000, 2)])
def test_many_rows_take_seconds_and_some_megabytes(n, k, rng):
    def estimate(rows):
        truth, answers = answered(rng, rows, k)
        return lambda: compute_intervals(
            "multiclass", truth, answers, np.arange(k), rng=rng, resamples=60
        )

    assert_linear(estimate, n // 2)
    truth, answers = answered(rng, n, k)
    tracemalloc.start()
    compute_intervals("multiclass", truth, answers, np.arange(k), rng=rng, resamples=60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_more_rows_have_fewer_resamples_but_never_fewer_than_200(rng, monkeypatch):
    drawn = []
    right = bootstrap._draw

    def counted(n, resamples, rng):
        drawn.append(resamples)
        return right(n, resamples, rng)

    monkeypatch.setattr(bootstrap, "_draw", counted)
    truth, answers = answered(rng, 50, 2)
    for longest, expected in ((10**9, 1000), (50 * 6 * 400, 400), (1, 200)):
        monkeypatch.setattr(bootstrap, "LONGEST", longest)
        drawn.clear()
        compute_intervals("binary", truth, answers, np.arange(2), rng=rng)
        assert sum(drawn) == expected


def test_rows_of_one_group_tell_less_than_as_many_of_their_own(rng):
    groups = np.repeat(np.arange(20), 50)
    right = np.repeat(np.arange(20) < 14, 50)  # each group right or wrong as a whole
    truth = rng.integers(0, 2, 1000)
    label = np.where(right, truth, 1 - truth)
    p = np.where(label == 1, 0.8, 0.2)
    answers = {"label": label, "probabilities": np.column_stack([1 - p, p]).astype(np.float32)}
    classes = np.array([0, 1])
    alone = compute_intervals("binary", truth, answers, classes, rng=rng)["accuracy"]
    grouped = compute_intervals("binary", truth, answers, classes, rng=rng, groups=groups)[
        "accuracy"
    ]
    assert alone[1] - alone[0] < 0.07
    # 1.96 standard errors of 20 draws with chance 0.7, to either side.
    assert grouped[1] - grouped[0] == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 20), rel=0.15)


def a_pair(rng, n=400):
    """Two classifiers' answers to the same rows, the second wrong where the first is, and more."""
    truth = rng.integers(0, 2, n)
    first = np.where(rng.random(n) < 0.85, truth, 1 - truth)
    second = np.where(rng.random(n) < 0.04, 1 - truth, first)
    answers = tuple(
        {"label": label, "probabilities": (np.eye(2)[label] * 0.6 + 0.2).astype(np.float32)}
        for label in (first, second)
    )
    return truth, answers


def test_of_a_fall_in_accuracy_it_is_the_textbooks(rng):
    truth, (first, second) = a_pair(rng, 2000)
    low, high = interval_of_drop(
        "binary", truth, (first, second), np.arange(2), "accuracy", rng=rng, resamples=2000
    )
    fall = (first["label"] == truth).astype(float) - (second["label"] == truth)
    margin = 1.96 * fall.std() / np.sqrt(2000)
    assert low == pytest.approx(fall.mean() - margin, abs=0.1 * margin)
    assert high == pytest.approx(fall.mean() + margin, abs=0.1 * margin)


def test_rows_are_drawn_in_pairs_so_that_a_fall_is_known_better_than_its_ends(rng):
    truth, (first, second) = a_pair(rng)
    classes = np.arange(2)
    low, high = interval_of_drop("binary", truth, (first, second), classes, "accuracy", rng=rng)
    alone = compute_intervals("binary", truth, first, classes, rng=rng)["accuracy"]
    assert high - low < 0.7 * (alone[1] - alone[0])
    assert low <= np.mean(first["label"] == truth) - np.mean(second["label"] == truth) <= high


@pytest.mark.parametrize("metric", ["accuracy", "f1", "roc_auc", "log_loss"])
def test_of_equal_answers_nothing_is_lost_whatever_the_metric(metric, rng):
    truth, (first, _) = a_pair(rng)
    assert interval_of_drop("binary", truth, (first, first), np.arange(2), metric, rng=rng) == (
        0,
        0,
    )


@pytest.mark.slow
def test_it_is_the_difference_of_metrics_of_each_resample(rng):
    # By scikit-learn, resample by resample, of values.
    truth = rng.normal(size=(80, 1))
    first, second = (truth + scale * rng.normal(size=(80, 1)) for scale in (0.3, 0.5))
    low, high = interval_of_drop(
        "regression",
        truth,
        ({"value": first}, {"value": second}),
        None,
        "r2",
        rng=np.random.default_rng(5),
        resamples=300,
    )
    counts = bootstrap._draw(80, 300, np.random.default_rng(5))
    falls = [
        r2_score(truth, first, sample_weight=c) - r2_score(truth, second, sample_weight=c)
        for c in counts.T
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(falls, [0.025, 0.975])))


def test_resamples_without_a_class_are_left_out_of_a_fall_too(rng):
    truth, (first, second) = a_pair(rng, 60)
    truth[:] = 0
    truth[7] = 1
    low, high = interval_of_drop("binary", truth, (first, second), np.arange(2), "roc_auc", rng=rng)
    assert -1 <= low <= high <= 1


def test_a_fall_among_groups_is_known_less_well(rng):
    truth, (first, _) = a_pair(rng, 400)
    groups = np.repeat(np.arange(20), 20)
    worse = np.where(groups < 3, 1 - truth, first["label"])
    second = {"label": worse, "probabilities": (np.eye(2)[worse] * 0.6 + 0.2).astype("f4")}
    args = ("binary", truth, (first, second), np.arange(2), "accuracy")
    alone, grouped = (interval_of_drop(*args, rng=rng, groups=g) for g in (None, groups))
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_a_seed_decides_the_interval_of_a_fall(rng):
    truth, answers = a_pair(rng)

    def once(seed):
        return interval_of_drop(
            "binary",
            truth,
            answers,
            np.arange(2),
            "accuracy",
            rng=np.random.default_rng(seed),
            resamples=200,
        )

    assert once(1) == once(1) != once(2)
