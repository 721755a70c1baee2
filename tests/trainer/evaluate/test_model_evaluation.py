from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.data.sources import load_table
from trainer.data.tables import DataError
from trainer.evaluate import model_evaluation
from trainer.evaluate.model_evaluation import Evaluation


def create_doubling_model(slice_sizes, limit=np.inf):
    """Return a model that answers twice the first column, and infinity from a limit on."""

    def answers(records):
        slice_sizes.append(len(records))
        x = records.numbers[:, :1].astype(np.float64)
        return {"value": np.where(x < limit, 2 * x, np.inf).astype(np.float32)}

    return SimpleNamespace(task="regression", classes=None, positive_index=1, answers=answers)


def test_evaluation_many_rows_are_answered_in_slices(monkeypatch):
    monkeypatch.setattr(model_evaluation, "SLICE", 10)
    table, rows, slice_sizes = load_table("diabetes"), np.arange(100, 125)[::-1].copy(), []
    evaluated = Evaluation.from_model(create_doubling_model(slice_sizes), table, rows)
    assert slice_sizes == [10, 10, 5]
    np.testing.assert_array_equal(evaluated.answers["value"], 2 * table.records.numbers[rows, :1])
    np.testing.assert_array_equal(evaluated.truth, table.target[rows])
    assert evaluated.groups is None
    slice_sizes.clear()
    evaluated = Evaluation.from_model(create_doubling_model(slice_sizes), table, rows[:20])
    assert len(evaluated.truth) == sum(slice_sizes) == 20


def test_evaluation_table_with_groups_has_groups_of_its_rows():
    table = load_table("diabetes")
    table = replace(table, groups=np.arange(len(table)) // 2)
    evaluated = Evaluation.from_model(create_doubling_model([]), table, np.array([7, 2, 3]))
    assert evaluated.groups.tolist() == [3, 1, 1]


def test_evaluation_too_many_rows_uses_a_part(monkeypatch):
    monkeypatch.setattr(model_evaluation, "MAX_EVALUATED_ROWS", 30)
    for n_rows in (31, 30):
        evaluated = Evaluation.from_model(
            create_doubling_model([]), load_table("diabetes"), np.arange(n_rows)
        )
        assert len(evaluated.truth) == 30


def test_evaluation_answer_overflows_names_the_row():
    table, rows = load_table("diabetes"), np.arange(50, 60)
    largest = int(rows[table.records.numbers[rows, 0].argmax()])
    limit = table.records.numbers[largest, 0]
    with pytest.raises(DataError, match=f"got row {largest + 1}, whose answer overflows"):
        Evaluation.from_model(create_doubling_model([], limit), table, rows)
