import warnings

import numpy as np
import pytest

from trainer.evaluate.threshold import ThresholdObjective, choose_threshold


def compute_score(objective, is_positive, p, t):
    """Return the score of a threshold, row by row; None if it does not meet the objective."""
    pairs = list(zip((p >= np.float32(t)).tolist(), is_positive.tolist(), strict=True))
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    fn, tn = pairs.count((False, True)), pairs.count((False, False))
    recall = tp / (tp + fn)
    precision = tp / (tp + fp) if tp else 0
    if objective.name == "f1":
        return 2 * precision * recall / (precision + recall) if tp else 0
    if objective.name == "balanced_accuracy":
        return (recall + tn / (tn + fp)) / 2
    if objective.name == "accuracy":
        return (tp + tn) / len(p)
    if objective.name == "cost":
        return -(objective.numbers[0] * fp + objective.numbers[1] * fn)
    if objective.name == "recall@precision":
        return recall if precision >= objective.numbers[0] else None
    return precision if recall >= objective.numbers[0] else None


def find_best_score(objective, is_positive, p):
    """Return the best score of any threshold, by trying all of them."""
    thresholds = np.nextafter(np.unique(np.append(p, np.float32(0))), np.float32(1))
    thresholds = np.concatenate([thresholds, p, np.float32([1e-9])])
    scores = [compute_score(objective, is_positive, p, t) for t in thresholds if 0 < t < 1]
    return max(s for s in scores if s is not None)


OBJECTIVES = [
    "f1",
    "balanced_accuracy",
    "accuracy",
    "recall@precision=0.7",
    "precision@recall=0.6",
    "cost=1:5",
    "cost=2.5:0.5",
]


@pytest.mark.parametrize("digits", [1, 8])  # many ties, no ties
@pytest.mark.parametrize("text", OBJECTIVES)
def test_choose_threshold_is_as_good_as_any_other(text, digits, rng):
    objective = ThresholdObjective.parse(text)
    for _ in range(20):
        p = np.round(rng.random(30), digits).astype(np.float32)
        is_positive = rng.random(30) < 0.2 + 0.6 * p
        is_positive[p == p.max()] = True  # so that some threshold has precision 1
        t = choose_threshold(objective, is_positive, p)
        assert 0 < t < 1
        assert compute_score(objective, is_positive, p, t) == pytest.approx(
            find_best_score(objective, is_positive, p), abs=1e-12
        )


def test_choose_threshold_is_midway_between_neighbouring_probabilities():
    p = np.float32([0.1, 0.25, 0.75, 0.9])
    assert (
        choose_threshold(
            ThresholdObjective.parse("accuracy"), np.array([False, False, True, True]), p
        )
        == 0.5
    )
    assert choose_threshold(
        ThresholdObjective.parse("f1"), np.array([False, True, True, True]), p
    ) == np.float32(0.175)


@pytest.mark.parametrize(
    "p", [[0.1, 0.25, 0.75, 0.9], [0.5, 0.5, 0.5, 0.5], [0.01, 0.2, 0.4, 0.98]]
)
def test_choose_threshold_very_unequal_costs_avoids_the_expensive_error(p):
    p, is_positive = np.float32(p), np.array([True, False, True, False])
    assert (p < choose_threshold(ThresholdObjective.parse("cost=1000:1"), is_positive, p)).all()
    assert (p >= choose_threshold(ThresholdObjective.parse("cost=1:1000"), is_positive, p)).all()


def test_choose_threshold_ties_takes_the_nearest_to_a_half():
    is_positive = np.array([False, True, False, True])
    for p, t in (([0.1, 0.2, 0.4, 0.8], 0.6), ([0.2, 0.6, 0.8, 0.9], 0.4)):
        assert choose_threshold(
            ThresholdObjective.parse("accuracy"), is_positive, np.float32(p)
        ) == pytest.approx(t)
        assert choose_threshold(
            ThresholdObjective.parse("balanced_accuracy"), is_positive, np.float32(p)
        ) == pytest.approx(t)


def test_choose_threshold_equal_recall_takes_the_highest_precision():
    p = np.float32([0.1, 0.4, 0.6, 0.95])
    is_positive = np.array([False, False, False, True])
    assert choose_threshold(
        ThresholdObjective.parse("recall@precision=0.25"), is_positive, p
    ) == pytest.approx(0.775)


def test_choose_threshold_adjacent_float32_separates_them():
    low = np.float32(0.3)
    for _ in range(4):
        high = np.nextafter(low, np.float32(1))
        t = choose_threshold(
            ThresholdObjective.parse("f1"), np.array([False, True]), np.array([low, high])
        )
        assert low < np.float32(t) <= high
        low = high


@pytest.mark.parametrize("text", OBJECTIVES[:3])
def test_choose_threshold_probabilities_0_and_1_is_between_them(text):
    p, is_positive = np.float32([0, 0, 1, 1]), np.array([True, False, True, False])
    assert choose_threshold(ThresholdObjective.parse(text), is_positive, p) == 0.5
    below_one = np.nextafter(np.float32(1), np.float32(0))  # no float32 lies between it and 1
    p, is_positive = (
        np.array([0.2, below_one, below_one], np.float32),
        np.array([True, False, False]),
    )
    assert choose_threshold(ThresholdObjective.parse(text), is_positive, p) < 1


def test_choose_threshold_expensive_false_negatives_lower_it(rng):
    p = rng.random(500).astype(np.float32)
    is_positive = rng.random(500) < p
    thresholds = [
        choose_threshold(ThresholdObjective.parse(f"cost={c}"), is_positive, p)
        for c in ("5:1", "1:1", "1:5")
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[2] == pytest.approx(1 / 6, abs=0.12)  # c_fp / (c_fp + c_fn) if calibrated


def test_choose_threshold_unreachable_objective_reports_best_value():
    p, is_positive = np.float32([0.1, 0.4, 0.6, 0.8]), np.array([True, False, True, False])
    with pytest.raises(
        ValueError, match="precision of at least 0.9 on the validation rows; got 0.5 at best"
    ):
        choose_threshold(ThresholdObjective.parse("recall@precision=0.9"), is_positive, p)
    p[0] = 0  # no threshold above 0 predicts this row positive
    with pytest.raises(
        ValueError, match="recall of at least 0.8 on the validation rows; got 0.5 at best"
    ):
        choose_threshold(ThresholdObjective.parse("precision@recall=0.8"), is_positive, p)


@pytest.mark.parametrize("is_positive", [[True, True], [False, False]])
def test_choose_threshold_rows_of_one_class_are_refused(is_positive):
    with pytest.raises(ValueError, match=r"rows of both classes .* got [02] positive ones of 2"):
        choose_threshold(ThresholdObjective("f1"), np.array(is_positive), np.float32([0.2, 0.4]))


@pytest.mark.parametrize(
    "text, objective",
    [
        ("f1", ThresholdObjective("f1")),
        ("recall@precision=.9", ThresholdObjective("recall@precision", (0.9,))),
        ("precision@recall=1", ThresholdObjective("precision@recall", (1.0,))),
        ("cost=1:2.5", ThresholdObjective("cost", (1.0, 2.5))),
    ],
)
def test_parse_valid_text_returns_objective(text, objective):
    assert ThresholdObjective.parse(text) == objective


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected an aim, one of f1, balanced_accuracy"),
        ("recall", "expected an aim, one of f1, balanced_accuracy"),
        ("f1=0.5", "expected an aim, one of f1, balanced_accuracy"),
        ("recall@precision", "expected a number in"),
        ("recall@precision=1.5", "expected a number in"),
        ("precision@recall=0", "expected a number in"),
        ("precision@recall=nan", "expected a number in"),
        ("precision@recall=0.5:0.5", "expected a number in"),
        ("cost=1", "the costs of a false positive and of a false negative"),
        ("cost=1:0", "the costs of a false positive and of a false negative"),
        ("cost=1:1e999", "the costs of a false positive and of a false negative"),
        ("cost=-1:5", "the costs of a false positive and of a false negative"),
    ],
)
def test_parse_invalid_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        ThresholdObjective.parse(text)
    assert repr(text) in str(refusal.value)


def test_choose_threshold_many_rows_has_no_warnings(rng):
    p = rng.random(200_000).astype(np.float32)
    with warnings.catch_warnings(action="error"):
        assert 0 < choose_threshold(ThresholdObjective.parse("f1"), rng.random(p.size) < p, p) < 1
