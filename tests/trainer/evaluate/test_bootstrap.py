import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import r2_score

from tests.growth import assert_linear
from trainer.evaluate import bootstrap
from trainer.evaluate.bootstrap import compute_drops, compute_interval, compute_intervals
from trainer.evaluate.metrics import compute_metrics


def compute_drop_interval(*args, **options):
    return compute_interval(compute_drops(*args, **options))


def draw_answers(rng, n, k):
    """Return classes, and answers with calibrated probabilities."""
    p = rng.dirichlet(np.ones(k), n)
    truth = np.minimum((rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1), k - 1)
    return truth, {"label": p.argmax(axis=1), "probabilities": p.astype(np.float32)}


@pytest.mark.parametrize("k", [2, 4])
def test_intervals_classification_contain_every_metric(k, rng):
    truth, answers = draw_answers(rng, 500, k)
    metrics = compute_metrics("multiclass", truth, answers, np.arange(k))
    intervals = compute_intervals("multiclass", truth, answers, np.arange(k), rng=rng)
    assert list(intervals) == list(metrics)
    for name, (low, high) in intervals.items():
        # Resamples of a calibrated model have a higher calibration error.
        assert low < high, name
        assert low < metrics[name] < high or name.endswith("calibration_error"), name


def test_intervals_regression_contain_every_metric(rng):
    truth = rng.normal(size=(400, 2))
    answers = {"value": truth + 0.5 * rng.normal(size=truth.shape)}
    metrics = compute_metrics("regression", truth, answers, None)
    intervals = compute_intervals("regression", truth, answers, None, rng=rng)
    assert list(intervals) == list(metrics)
    assert all(low < metrics[name] < high for name, (low, high) in intervals.items())


def test_intervals_mean_absolute_error_equals_normal_interval(rng):
    truth = np.zeros((2000, 1))
    errors = rng.exponential(size=truth.shape)
    low, high = compute_intervals("regression", truth, {"value": errors}, None, rng=rng)["mae"]
    margin = 1.96 * errors.std() / np.sqrt(2000)
    assert low == pytest.approx(errors.mean() - margin, abs=0.1 * margin)
    assert high == pytest.approx(errors.mean() + margin, abs=0.1 * margin)


@pytest.mark.slow
def test_intervals_contain_true_accuracy_in_95_percent(rng):
    # A classifier with an accuracy of 0.8, evaluated on 300 rows many times.
    n_covered = 0
    for _ in range(200):
        truth = rng.integers(0, 2, 300)
        label = np.where(rng.random(300) < 0.8, truth, 1 - truth)
        answers = {"label": label, "probabilities": np.eye(2)[label] * 0.6 + 0.2}
        intervals = compute_intervals(
            "binary", truth, answers, np.arange(2), rng=rng, resamples=300
        )
        low, high = intervals["accuracy"]
        n_covered += low <= 0.8 <= high
    assert 0.90 <= n_covered / 200 <= 0.99


def test_draw_counts_are_multinomial(rng):
    counts = bootstrap._draw_counts(50, 4000, rng)
    assert (counts.sum(axis=0) == 50).all()
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.08)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)
    assert np.corrcoef(counts[:2])[0, 1] == pytest.approx(-1 / 49, abs=0.05)


def test_intervals_same_seed_gives_same_intervals(rng):
    truth, answers = draw_answers(rng, 90, 3)

    def compute_with(seed):
        rng = np.random.default_rng(seed)
        return compute_intervals("multiclass", truth, answers, np.arange(3), rng=rng, resamples=250)

    assert compute_with(1) == compute_with(1) != compute_with(2)


def test_intervals_rare_class_skips_resamples_and_absent_class_the_metric(rng):
    truth, answers = draw_answers(rng, 60, 2)
    truth[:] = 0
    intervals = compute_intervals("binary", truth, answers, np.arange(2), rng=rng)
    metrics = compute_metrics("binary", truth, answers, np.arange(2))
    assert metrics["precision"] == 0.5  # 1 for one class and 0 for the other, in every resample
    assert set(intervals) == set(metrics) - {"precision"}
    assert "roc_auc" not in intervals
    truth[7] = 1  # missing in every third resample
    low, high = compute_intervals("binary", truth, answers, np.arange(2), rng=rng)["roc_auc"]
    assert 0 <= low <= high <= 1


def test_intervals_constant_metric_has_none(rng):
    truth = np.repeat([0, 1], [55, 5])
    answers = {"label": np.zeros(60, int), "probabilities": np.tile([0.8, 0.2], (60, 1))}
    metrics = compute_metrics("binary", truth, answers, np.arange(2))
    intervals = compute_intervals("binary", truth, answers, np.arange(2), rng=rng)
    assert metrics["positive_recall"] == metrics["positive_f1"] == 0  # also in every resample
    assert not intervals.keys() & {
        "positive_precision",
        "positive_recall",
        "positive_f1",
        "roc_auc",
    }
    assert intervals["accuracy"][0] < metrics["accuracy"] < intervals["accuracy"][1]


@pytest.mark.slow
@pytest.mark.parametrize("n, k", [(10_000, 10), (16_000, 2)])
def test_intervals_many_rows_take_linear_time_and_little_memory(n, k, rng):
    def estimate(rows):
        truth, answers = draw_answers(rng, rows, k)
        return lambda: compute_intervals(
            "multiclass", truth, answers, np.arange(k), rng=rng, resamples=60
        )

    assert_linear(estimate, n // 2)
    truth, answers = draw_answers(rng, n, k)
    tracemalloc.start()
    compute_intervals("multiclass", truth, answers, np.arange(k), rng=rng, resamples=60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_intervals_too_much_work_reduces_resamples_to_200_at_least(rng, monkeypatch):
    drawn_resamples = []
    draw_counts = bootstrap._draw_counts

    def record_and_draw(n, resamples, rng):
        drawn_resamples.append(resamples)
        return draw_counts(n, resamples, rng)

    monkeypatch.setattr(bootstrap, "_draw_counts", record_and_draw)
    truth, answers = draw_answers(rng, 50, 2)
    for max_work, expected in ((10**9, 1000), (50 * 6 * 400, 400), (1, 200)):
        monkeypatch.setattr(bootstrap, "MAX_WORK", max_work)
        drawn_resamples.clear()
        compute_intervals("binary", truth, answers, np.arange(2), rng=rng)
        assert sum(drawn_resamples) == expected


def test_intervals_groups_are_wider(rng):
    groups = np.repeat(np.arange(20), 50)
    is_right = np.repeat(np.arange(20) < 14, 50)  # all rows of a group are right, or all are wrong
    truth = rng.integers(0, 2, 1000)
    label = np.where(is_right, truth, 1 - truth)
    p = np.where(label == 1, 0.8, 0.2)
    answers = {"label": label, "probabilities": np.column_stack([1 - p, p]).astype(np.float32)}
    classes = np.array([0, 1])
    alone = compute_intervals("binary", truth, answers, classes, rng=rng)["accuracy"]
    grouped = compute_intervals("binary", truth, answers, classes, rng=rng, groups=groups)[
        "accuracy"
    ]
    assert alone[1] - alone[0] < 0.07
    # 1.96 standard errors of 20 draws with probability 0.7, on both sides.
    assert grouped[1] - grouped[0] == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 20), rel=0.15)


def draw_two_answers(rng, n=400):
    """Return classes and answers of two classifiers; the second one has more errors."""
    truth = rng.integers(0, 2, n)
    first = np.where(rng.random(n) < 0.85, truth, 1 - truth)
    second = np.where(rng.random(n) < 0.04, 1 - truth, first)
    answers = tuple(
        {"label": label, "probabilities": (np.eye(2)[label] * 0.6 + 0.2).astype(np.float32)}
        for label in (first, second)
    )
    return truth, answers


def test_drops_accuracy_equals_normal_interval(rng):
    truth, (first, second) = draw_two_answers(rng, 2000)
    low, high = compute_drop_interval(
        "binary", truth, (first, second), np.arange(2), "accuracy", rng=rng, resamples=2000
    )
    drops = (first["label"] == truth).astype(float) - (second["label"] == truth)
    margin = 1.96 * drops.std() / np.sqrt(2000)
    assert low == pytest.approx(drops.mean() - margin, abs=0.1 * margin)
    assert high == pytest.approx(drops.mean() + margin, abs=0.1 * margin)


def test_drops_same_rows_are_narrower_than_intervals(rng):
    truth, (first, second) = draw_two_answers(rng)
    classes = np.arange(2)
    low, high = compute_drop_interval(
        "binary", truth, (first, second), classes, "accuracy", rng=rng
    )
    alone = compute_intervals("binary", truth, first, classes, rng=rng)["accuracy"]
    assert high - low < 0.7 * (alone[1] - alone[0])
    assert low <= np.mean(first["label"] == truth) - np.mean(second["label"] == truth) <= high


@pytest.mark.parametrize("metric", ["accuracy", "f1", "roc_auc", "log_loss"])
def test_drops_equal_answers_are_zero(metric, rng):
    truth, (first, _) = draw_two_answers(rng)
    assert compute_drop_interval(
        "binary", truth, (first, first), np.arange(2), metric, rng=rng
    ) == (
        0,
        0,
    )


@pytest.mark.slow
def test_drops_regression_equals_scikit_learn_with_weights(rng):
    truth = rng.normal(size=(80, 1))
    first, second = (truth + scale * rng.normal(size=(80, 1)) for scale in (0.3, 0.5))
    low, high = compute_drop_interval(
        "regression",
        truth,
        ({"value": first}, {"value": second}),
        None,
        "r2",
        rng=np.random.default_rng(5),
        resamples=300,
    )
    counts = bootstrap._draw_counts(80, 300, np.random.default_rng(5))
    drops = [
        r2_score(truth, first, sample_weight=c) - r2_score(truth, second, sample_weight=c)
        for c in counts.T
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(drops, [0.025, 0.975])))


def test_drops_resamples_without_a_class_are_left_out(rng):
    truth, (first, second) = draw_two_answers(rng, 60)
    truth[:] = 0
    truth[7] = 1
    low, high = compute_drop_interval(
        "binary", truth, (first, second), np.arange(2), "roc_auc", rng=rng
    )
    assert -1 <= low <= high <= 1


def test_drops_groups_are_wider(rng):
    truth, (first, _) = draw_two_answers(rng, 400)
    groups = np.repeat(np.arange(20), 20)
    worse_labels = np.where(groups < 3, 1 - truth, first["label"])
    second = {
        "label": worse_labels,
        "probabilities": (np.eye(2)[worse_labels] * 0.6 + 0.2).astype("f4"),
    }
    args = ("binary", truth, (first, second), np.arange(2), "accuracy")
    alone, grouped = (compute_drop_interval(*args, rng=rng, groups=g) for g in (None, groups))
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_drops_same_seed_gives_same_interval(rng):
    truth, answers = draw_two_answers(rng)

    def compute_with(seed):
        return compute_drop_interval(
            "binary",
            truth,
            answers,
            np.arange(2),
            "accuracy",
            rng=np.random.default_rng(seed),
            resamples=200,
        )

    assert compute_with(1) == compute_with(1) != compute_with(2)
