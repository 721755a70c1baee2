"""Answers and the truth in a file."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from tests.manifests import make_manifest
from trainer.data.tables import DataError
from trainer.evaluate.file_evaluation import FileEvaluator
from trainer.evaluate.metrics import compute_metrics


def batch(target, name="y"):
    array = target if isinstance(target, pa.Array) else pa.array(target)
    return pa.RecordBatch.from_arrays([array], names=[name])


def answers(classes, labels, rng=None):
    """Answers of those labels, and some probabilities."""
    rng = rng or np.random.default_rng(0)
    p = rng.dirichlet(np.ones(len(classes)), len(labels)).astype(np.float32)
    return {"label": np.array(labels, np.array(classes).dtype), "probabilities": p}


def truth_of(target, classes=(0, 1)):
    """Whether each row is read as the second class: the recall of that label, row by row."""
    known = list(classes)
    out = []
    for row in range(len(target)):
        truth = FileEvaluator(make_manifest({"accuracy": 1}, classes=known))
        truth.add(batch(target).slice(row, 1), answers(known, [known[1]]))
        out.append(truth.result().metrics["accuracy"] == 1)
    return out


def test_metrics_are_those_of_measure_whatever_the_batches(rng):
    truth, label = rng.integers(0, 2, 90), rng.integers(0, 2, 90)
    answered = answers([0, 1], label, rng)
    found = FileEvaluator(make_manifest({"accuracy": 1}))
    for start in (0, 40, 60):
        rows = slice(start, {0: 40, 40: 60, 60: 90}[start])
        found.add(batch(truth[rows]), {name: a[rows] for name, a in answered.items()})
    result = found.result()
    assert result.metrics == compute_metrics("binary", truth, answered, np.array([0, 1]))
    assert result.metrics["positive_recall"] == metrics.recall_score(truth, label)
    assert (result.rows, result.judged) == (90, 90)
    assert result.shares == pytest.approx([1 - truth.mean(), truth.mean()])


def test_metrics_speak_of_the_positive_class_of_the_manifest(rng):
    truth, label = rng.choice(["bad", "good"], 50), rng.choice(["bad", "good"], 50)
    made = make_manifest({"accuracy": 1}, classes=("bad", "good"), positive="bad")
    found = FileEvaluator(made)
    found.add(batch(truth), answers(["bad", "good"], label))
    expected = metrics.recall_score(truth, label, pos_label="bad")
    assert found.result().metrics["positive_recall"] == expected


@pytest.mark.parametrize(
    ("classes", "target"),
    [
        ((0, 1), pa.array([0, 1])),
        ((0, 1), pa.array([0.0, 1.0])),
        ((0, 1), pa.array([False, True])),
        ((0, 1), pa.array(["0", "1"])),
        ((0, 1), pa.array([" 0.0", "1.00 "])),
        ((0, 1), pa.array(["00", "01"])),
        ((0, 1), pa.array(["False", "TRUE"])),
        ((0, 1), pa.array(["0", "1"]).dictionary_encode()),
        (("False", "True"), pa.array(["false", "true"])),
        (("false", "true"), pa.array([False, True])),
        (("false", "true"), pa.array([0, 1])),
        (("1", "2"), pa.array([1.0, 2.0])),
        (("1", "2"), pa.array(["1.0", "2.0"])),
        (("-1", "0"), pa.array([-1.0, -0.0])),
        (("caf\u00e9", "the"), pa.array(["cafe\u0301", "the "])),
        (("None", "Some"), pa.array(["None", "Some"])),
    ],
    ids=str,
)
def test_classes_are_read_however_they_are_spelled(classes, target):
    assert truth_of(target, classes) == [False, True]


@pytest.mark.parametrize("target", [pa.array([1, 2]), pa.array(["1", "x"]), pa.array(["1", "YES"])])
def test_a_class_the_model_does_not_know_is_named_with_its_row(target):
    found = FileEvaluator(make_manifest({"accuracy": 1}))
    found.add(batch([0, 1]), answers([0, 1], [0, 1]))
    with pytest.raises(
        DataError,
        match=r"knows, 0, 1, in the target 'y'; got '(2|x|YES)' \(1\), the first in row 4;",
    ):
        found.add(batch(target), answers([0, 1], [0, 1]))


@pytest.mark.parametrize(
    "target", [pa.array([1, None]), pa.array(["1", " "]), pa.array(["1", "NA"])]
)
def test_a_gap_in_the_target_is_refused_with_its_row(target):
    found = FileEvaluator(make_manifest({"accuracy": 1}))
    with pytest.raises(DataError, match="got 1 gap, the first in row 2; fill"):
        found.add(batch(target), answers([0, 1], [0, 1]))


def test_a_file_without_the_target_is_refused_with_its_columns():
    found = FileEvaluator(make_manifest({"accuracy": 1}))
    with pytest.raises(DataError, match="expected the target 'y' among the columns.*got 'x'; add"):
        found.add(batch([0, 1], "x"), answers([0, 1], [0, 1]))


def test_a_file_without_rows_is_refused():
    with pytest.raises(DataError, match="expected rows"):
        FileEvaluator(make_manifest({"accuracy": 1})).result()


def test_a_class_never_answered_is_listed():
    found = FileEvaluator(make_manifest({"accuracy": 1}, classes=("a", "b", "c")))
    found.add(batch(["a", "b", "a"]), answers(["a", "b", "c"], ["a", "c", "c"]))
    assert found.result().never_answered == ["b"]


def test_of_more_rows_than_are_kept_a_fair_sample_is_measured(rng):
    # Every second row is of class 1 and answered wrongly: every other row of them would mislead.
    most, n = 500, 20_000
    truth = np.arange(n) % 2
    answered = answers([0, 1], np.zeros(n, int), rng)
    found = FileEvaluator(make_manifest({"accuracy": 1}), most=most)
    held = 0
    for start in range(0, n, 250):
        rows = slice(start, start + 250)
        found.add(batch(truth[rows]), {name: a[rows] for name, a in answered.items()})
        held = max(held, sum(len(part[0]) for part in found._kept))
    result = found.result()
    assert held <= 2 * most + 250
    assert (result.rows, result.judged) == (n, most)
    assert result.metrics["accuracy"] == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(most))


def test_of_very_many_classes_fewer_rows_are_kept(monkeypatch):
    monkeypatch.setattr("trainer.evaluate.file_evaluation.MAX_KEPT_NUMBERS", 30)
    found = FileEvaluator(make_manifest({"accuracy": 1}, classes=("a", "b", "c")))
    for _ in range(5):
        found.add(batch(["a", "b", "c"] * 3), answers(["a", "b", "c"], ["a", "b", "c"] * 3))
    assert found.result().judged == 10


def regression(targets=("y",)):
    data = {
        "source": "",
        "fingerprint": "",
        "target": list(targets),
        "rows": {"train": 1, "validation": 1, "test": 1},
    }
    return make_manifest({"r2": 1}, classes=None, data=data)


@pytest.mark.parametrize("spelled", [list, lambda values: [f" {v!r}" for v in values]])
def test_values_are_measured_in_their_own_units(spelled, rng):
    truth = rng.normal(size=40) * 1e6 + 1e7
    value = (truth + rng.normal(size=40)).astype(np.float32)
    found = FileEvaluator(regression())
    found.add(batch(spelled(truth.tolist())), {"value": value[:, None]})
    told = found.result().metrics
    assert told["mae"] == pytest.approx(metrics.mean_absolute_error(truth, value))
    assert told["r2"] == pytest.approx(metrics.r2_score(truth, value))


def test_several_targets_are_found_by_their_names(rng):
    truth = rng.normal(size=(20, 2))
    found = FileEvaluator(regression(("a", "b")))
    rows = pa.RecordBatch.from_arrays([pa.array(truth[:, 1]), pa.array(truth[:, 0])], ["b", "a"])
    found.add(rows, {"value": truth})
    assert found.result().metrics["mae"] == 0


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (["1", "high"], "got 'high' in row 2"),
        (["1", ""], "got none in row 2"),
        ([1.0, np.inf], "got none in row 2"),
    ],
)
def test_values_that_are_none_are_refused_with_their_row(target, said):
    with pytest.raises(DataError, match=said):
        FileEvaluator(regression()).add(batch(target), {"value": np.zeros((2, 1))})
