from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.data.sources import load_table
from trainer.data.tables import DataError
from trainer.evaluate import evaluation
from trainer.evaluate.evaluation import Evaluation


def doubling(asked, limit=np.inf):
    """A model that answers twice the first column, and infinity from a limit up."""

    def answers(records):
        asked.append(len(records))
        x = records.numbers[:, :1].astype(np.float64)
        return {"value": np.where(x < limit, 2 * x, np.inf).astype(np.float32)}

    return SimpleNamespace(task="regression", classes=None, positive=1, answers=answers)


def test_rows_are_answered_in_slices_that_do_not_show(monkeypatch):
    monkeypatch.setattr(evaluation, "SLICE", 10)
    table, rows, asked = load_table("diabetes"), np.arange(100, 125)[::-1].copy(), []
    found = Evaluation.from_model(doubling(asked), table, rows)
    assert asked == [10, 10, 5]
    np.testing.assert_array_equal(found.answers["value"], 2 * table.records.numbers[rows, :1])
    np.testing.assert_array_equal(found.truth, table.target[rows])
    assert found.groups is None
    asked.clear()
    assert len(Evaluation.from_model(doubling(asked), table, rows[:20]).truth) == sum(asked) == 20


def test_groups_are_those_of_the_rows():
    table = load_table("diabetes")
    table = replace(table, groups=np.arange(len(table)) // 2)
    found = Evaluation.from_model(doubling([]), table, np.array([7, 2, 3]))
    assert found.groups.tolist() == [3, 1, 1]


def test_of_more_rows_than_tell_more_some_are_judged(monkeypatch):
    monkeypatch.setattr(evaluation, "MOST_JUDGED", 30)
    assert (
        len(Evaluation.from_model(doubling([]), load_table("diabetes"), np.arange(31)).truth) == 30
    )
    assert (
        len(Evaluation.from_model(doubling([]), load_table("diabetes"), np.arange(30)).truth) == 30
    )


def test_an_answer_that_overflows_names_the_row_of_the_table():
    table, rows = load_table("diabetes"), np.arange(50, 60)
    largest = int(rows[table.records.numbers[rows, 0].argmax()])
    limit = table.records.numbers[largest, 0]
    with pytest.raises(DataError, match=f"got row {largest + 1}, whose answer overflows"):
        Evaluation.from_model(doubling([], limit), table, rows)
