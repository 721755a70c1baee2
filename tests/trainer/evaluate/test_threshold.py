import warnings

import numpy as np
import pytest

from trainer.evaluate.threshold import ThresholdObjective, choose_threshold


def score(aim, positive, p, t):
    """Row by row; None where the aim is not met."""
    pairs = list(zip((p >= np.float32(t)).tolist(), positive.tolist(), strict=True))
    hits, false_alarms = pairs.count((True, True)), pairs.count((True, False))
    misses, rejections = pairs.count((False, True)), pairs.count((False, False))
    recall = hits / (hits + misses)
    precision = hits / (hits + false_alarms) if hits else 0
    if aim.name == "f1":
        return 2 * precision * recall / (precision + recall) if hits else 0
    if aim.name == "balanced_accuracy":
        return (recall + rejections / (rejections + false_alarms)) / 2
    if aim.name == "accuracy":
        return (hits + rejections) / len(p)
    if aim.name == "cost":
        return -(aim.numbers[0] * false_alarms + aim.numbers[1] * misses)
    if aim.name == "recall@precision":
        return recall if precision >= aim.numbers[0] else None
    return precision if recall >= aim.numbers[0] else None


def by_trying(aim, positive, p):
    """The best score of any threshold there is."""
    tried = np.nextafter(np.unique(np.append(p, np.float32(0))), np.float32(1))
    tried = np.concatenate([tried, p, np.float32([1e-9])])
    scores = [score(aim, positive, p, t) for t in tried if 0 < t < 1]
    return max(s for s in scores if s is not None)


AIMS = [
    "f1",
    "balanced_accuracy",
    "accuracy",
    "recall@precision=0.7",
    "precision@recall=0.6",
    "cost=1:5",
    "cost=2.5:0.5",
]


@pytest.mark.parametrize("digits", [1, 8])  # with many ties, and with none
@pytest.mark.parametrize("text", AIMS)
def test_no_other_threshold_does_better(text, digits, rng):
    aim = ThresholdObjective.parse(text)
    for _ in range(20):
        p = np.round(rng.random(30), digits).astype(np.float32)
        positive = rng.random(30) < 0.2 + 0.6 * p
        positive[p == p.max()] = True  # so that a precision can be had
        t = choose_threshold(aim, positive, p)
        assert 0 < t < 1
        assert score(aim, positive, p, t) == pytest.approx(by_trying(aim, positive, p), abs=1e-12)


def test_it_lies_midway_between_the_probabilities_it_parts():
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
def test_where_alarms_or_misses_cost_too_much_there_are_none(p):
    p, positive = np.float32(p), np.array([True, False, True, False])
    assert (p < choose_threshold(ThresholdObjective.parse("cost=1000:1"), positive, p)).all()
    assert (p >= choose_threshold(ThresholdObjective.parse("cost=1:1000"), positive, p)).all()


def test_of_as_good_ones_the_nearest_to_a_half_is_taken():
    positive = np.array([False, True, False, True])
    for p, t in (([0.1, 0.2, 0.4, 0.8], 0.6), ([0.2, 0.6, 0.8, 0.9], 0.4)):
        assert choose_threshold(
            ThresholdObjective.parse("accuracy"), positive, np.float32(p)
        ) == pytest.approx(t)
        assert choose_threshold(
            ThresholdObjective.parse("balanced_accuracy"), positive, np.float32(p)
        ) == pytest.approx(t)


def test_as_much_recall_is_had_with_the_most_precision():
    p = np.float32([0.1, 0.4, 0.6, 0.95])
    positive = np.array([False, False, False, True])
    assert choose_threshold(
        ThresholdObjective.parse("recall@precision=0.25"), positive, p
    ) == pytest.approx(0.775)


def test_neighbouring_numbers_are_parted():
    low = np.float32(0.3)
    for _ in range(4):
        high = np.nextafter(low, np.float32(1))
        t = choose_threshold(
            ThresholdObjective.parse("f1"), np.array([False, True]), np.array([low, high])
        )
        assert low < np.float32(t) <= high
        low = high


@pytest.mark.parametrize("text", AIMS[:3])
def test_probabilities_of_0_and_1_stay_what_they_are(text):
    p, positive = np.float32([0, 0, 1, 1]), np.array([True, False, True, False])
    assert choose_threshold(ThresholdObjective.parse(text), positive, p) == 0.5
    almost = np.nextafter(np.float32(1), np.float32(0))  # nothing lies between it and 1
    p, positive = np.array([0.2, almost, almost], np.float32), np.array([True, False, False])
    assert choose_threshold(ThresholdObjective.parse(text), positive, p) < 1


def test_dearer_misses_lower_it(rng):
    p = rng.random(500).astype(np.float32)
    positive = rng.random(500) < p
    found = [
        choose_threshold(ThresholdObjective.parse(f"cost={c}"), positive, p)
        for c in ("5:1", "1:1", "1:5")
    ]
    assert found == sorted(found, reverse=True)
    assert found[2] == pytest.approx(1 / 6, abs=0.12)  # of calibrated probabilities, c / (c + d)


def test_an_aim_out_of_reach_says_how_near_one_comes():
    p, positive = np.float32([0.1, 0.4, 0.6, 0.8]), np.array([True, False, True, False])
    with pytest.raises(
        ValueError, match="precision of at least 0.9 on the validation rows; got 0.5 at best"
    ):
        choose_threshold(ThresholdObjective.parse("recall@precision=0.9"), positive, p)
    p[0] = 0  # which no threshold above 0 reaches
    with pytest.raises(
        ValueError, match="recall of at least 0.8 on the validation rows; got 0.5 at best"
    ):
        choose_threshold(ThresholdObjective.parse("precision@recall=0.8"), positive, p)


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_rows_of_one_class_are_refused(positive):
    with pytest.raises(ValueError, match=r"rows of both classes .* got [02] positive ones of 2"):
        choose_threshold(ThresholdObjective("f1"), np.array(positive), np.float32([0.2, 0.4]))


@pytest.mark.parametrize(
    "text, aim",
    [
        ("f1", ThresholdObjective("f1")),
        ("recall@precision=.9", ThresholdObjective("recall@precision", (0.9,))),
        ("precision@recall=1", ThresholdObjective("precision@recall", (1.0,))),
        ("cost=1:2.5", ThresholdObjective("cost", (1.0, 2.5))),
    ],
)
def test_aims_are_read(text, aim):
    assert ThresholdObjective.parse(text) == aim


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
        ("cost=1", "what a false positive and a false negative cost"),
        ("cost=1:0", "what a false positive and a false negative cost"),
        ("cost=1:1e999", "what a false positive and a false negative cost"),
        ("cost=-1:5", "what a false positive and a false negative cost"),
    ],
)
def test_what_is_no_aim_is_refused(text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        ThresholdObjective.parse(text)
    assert repr(text) in str(refusal.value)


def test_many_rows_take_no_time(rng):
    p = rng.random(200_000).astype(np.float32)
    with warnings.catch_warnings(action="error"):
        assert 0 < choose_threshold(ThresholdObjective.parse("f1"), rng.random(p.size) < p, p) < 1
