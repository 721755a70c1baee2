import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from tests.manifests import make_manifest
from trainer.data.tables import DataError
from trainer.evaluate.file_evaluation import FileEvaluator
from trainer.evaluate.metrics import compute_metrics


def create_batch(target, name="y"):
    array = target if isinstance(target, pa.Array) else pa.array(target)
    return pa.RecordBatch.from_arrays([array], names=[name])


def create_answers(classes, labels, rng=None):
    """Return answers with these labels and random probabilities."""
    rng = rng or np.random.default_rng(0)
    p = rng.dirichlet(np.ones(len(classes)), len(labels)).astype(np.float32)
    return {"label": np.array(labels, np.array(classes).dtype), "probabilities": p}


def create_regression_manifest(targets=("y",)):
    data = {
        "source": "",
        "fingerprint": "",
        "target": list(targets),
        "rows": {"train": 1, "validation": 1, "test": 1},
    }
    return make_manifest({"r2": 1}, classes=None, data=data)


def test_file_evaluator_several_batches_equals_compute_metrics(rng):
    truth, labels = rng.integers(0, 2, 90), rng.integers(0, 2, 90)
    answers = create_answers([0, 1], labels, rng)
    evaluator = FileEvaluator(make_manifest({"accuracy": 1}))
    for start, stop in ((0, 40), (40, 60), (60, 90)):
        rows = slice(start, stop)
        evaluator.add(create_batch(truth[rows]), {name: a[rows] for name, a in answers.items()})
    result = evaluator.compute_result()
    assert result.metrics == compute_metrics("binary", truth, answers, np.array([0, 1]))
    assert result.metrics["positive_recall"] == metrics.recall_score(truth, labels)
    assert (result.rows, result.evaluated_rows) == (90, 90)
    assert result.shares == pytest.approx([1 - truth.mean(), truth.mean()])


def test_file_evaluator_uses_positive_class_of_manifest(rng):
    truth, labels = rng.choice(["bad", "good"], 50), rng.choice(["bad", "good"], 50)
    manifest = make_manifest({"accuracy": 1}, classes=("bad", "good"), positive="bad")
    evaluator = FileEvaluator(manifest)
    evaluator.add(create_batch(truth), create_answers(["bad", "good"], labels))
    expected = metrics.recall_score(truth, labels, pos_label="bad")
    assert evaluator.compute_result().metrics["positive_recall"] == expected


def test_file_evaluator_unknown_class_in_second_batch_is_named_with_its_row():
    evaluator = FileEvaluator(make_manifest({"accuracy": 1}))
    evaluator.add(create_batch([0, 1]), create_answers([0, 1], [0, 1]))
    with pytest.raises(DataError, match=r"target 'y'; got '2' \(1\), the first in row 4;"):
        evaluator.add(create_batch([1, 2]), create_answers([0, 1], [0, 1]))


def test_file_evaluator_file_without_target_is_refused_with_its_columns():
    evaluator = FileEvaluator(make_manifest({"accuracy": 1}))
    with pytest.raises(DataError, match="expected the target 'y' among the columns.*got 'x'; add"):
        evaluator.add(create_batch([0, 1], "x"), create_answers([0, 1], [0, 1]))


def test_file_evaluator_file_without_rows_is_refused():
    with pytest.raises(DataError, match="expected rows"):
        FileEvaluator(make_manifest({"accuracy": 1})).compute_result()


def test_file_evaluator_class_never_predicted_is_listed():
    evaluator = FileEvaluator(make_manifest({"accuracy": 1}, classes=("a", "b", "c")))
    answers = create_answers(["a", "b", "c"], ["a", "c", "c"])
    evaluator.add(create_batch(["a", "b", "a"]), answers)
    assert evaluator.compute_result().never_answered == ["b"]


def test_file_evaluator_too_many_rows_keeps_a_random_sample(rng):
    # Every second row is of class 1 and predicted wrongly, so that a sample of every other row
    # would have an accuracy of 0 or 1.
    max_rows, n = 500, 20_000
    truth = np.arange(n) % 2
    answers = create_answers([0, 1], np.zeros(n, int), rng)
    evaluator = FileEvaluator(make_manifest({"accuracy": 1}), max_rows=max_rows)
    max_kept = 0
    for start in range(0, n, 250):
        rows = slice(start, start + 250)
        evaluator.add(create_batch(truth[rows]), {name: a[rows] for name, a in answers.items()})
        max_kept = max(max_kept, sum(len(arrays[0]) for arrays in evaluator._kept))
    result = evaluator.compute_result()
    assert max_kept <= 2 * max_rows + 250
    assert (result.rows, result.evaluated_rows) == (n, max_rows)
    assert result.metrics["accuracy"] == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(max_rows))


def test_file_evaluator_many_classes_keeps_fewer_rows(monkeypatch):
    monkeypatch.setattr("trainer.evaluate.file_evaluation.MAX_KEPT_PROBABILITIES", 30)
    evaluator = FileEvaluator(make_manifest({"accuracy": 1}, classes=("a", "b", "c")))
    labels = ["a", "b", "c"] * 3
    for _ in range(5):
        evaluator.add(create_batch(labels), create_answers(["a", "b", "c"], labels))
    assert evaluator.compute_result().evaluated_rows == 10


@pytest.mark.parametrize("spell", [list, lambda values: [f" {v!r}" for v in values]])
def test_file_evaluator_regression_is_in_units_of_the_target(spell, rng):
    truth = rng.normal(size=40) * 1e6 + 1e7
    value = (truth + rng.normal(size=40)).astype(np.float32)
    evaluator = FileEvaluator(create_regression_manifest())
    evaluator.add(create_batch(spell(truth.tolist())), {"value": value[:, None]})
    result = evaluator.compute_result().metrics
    assert result["mae"] == pytest.approx(metrics.mean_absolute_error(truth, value))
    assert result["r2"] == pytest.approx(metrics.r2_score(truth, value))


def test_file_evaluator_several_targets_are_found_by_name(rng):
    truth = rng.normal(size=(20, 2))
    evaluator = FileEvaluator(create_regression_manifest(("a", "b")))
    rows = pa.RecordBatch.from_arrays([pa.array(truth[:, 1]), pa.array(truth[:, 0])], ["b", "a"])
    evaluator.add(rows, {"value": truth})
    assert evaluator.compute_result().metrics["mae"] == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (["1", "high"], "got 'high' in row 2"),
        (["1", ""], "got none in row 2"),
        ([1.0, np.inf], "got none in row 2"),
    ],
)
def test_file_evaluator_target_that_is_no_number_is_refused_with_its_row(target, message):
    evaluator = FileEvaluator(create_regression_manifest())
    with pytest.raises(DataError, match=message):
        evaluator.add(create_batch(target), {"value": np.zeros((2, 1))})
