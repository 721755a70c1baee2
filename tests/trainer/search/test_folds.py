from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, check_cv

from trainer.data.sources import load_table
from trainer.data.tables import DataError
from trainer.search.folds import Folds


def list_folds(table, rows, count=3, seed=0):
    """Return the row numbers of the training and scored rows of each fold."""
    folds = list(Folds(table, count, seed).split(rows))
    return [(rows[training, 0], rows[scored, 0]) for training, scored in folds]


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_folds_each_row_is_scored_once(data, rows):
    table = load_table(data)
    folds = list_folds(table, rows)
    assert sorted(np.concatenate([scored for _, scored in folds])) == sorted(rows[:, 0])
    for training, scored in folds:
        assert sorted([*training, *scored]) == sorted(rows[:, 0])


def test_folds_of_classes_equal_scikit_learn(rows):
    table = load_table("iris")
    expected = StratifiedKFold(3, shuffle=True, random_state=5).split(
        rows, table.target[rows[:, 0]]
    )
    for (training, scored), indices in zip(list_folds(table, rows, seed=5), expected, strict=True):
        np.testing.assert_array_equal(training, rows[indices[0], 0])
        np.testing.assert_array_equal(scored, rows[indices[1], 0])


def test_folds_groups_are_not_split(rows):
    table = replace(load_table("iris"), groups=np.arange(150) // 4)
    for training, scored in list_folds(table, rows):
        assert len(training)
        assert len(scored)
        assert not set(table.groups[training]) & set(table.groups[scored])


def test_folds_of_times_train_on_earlier_rows(rows):
    times = np.random.default_rng(0).integers(0, 40, 150).astype(float)
    table = replace(load_table("iris"), times=times)
    folds = list_folds(table, rows)
    for training, scored in folds:
        assert times[training].max() < times[scored].min()
    assert all(len(a[0]) < len(b[0]) for a, b in pairwise(folds))


def test_folds_same_seed_same_folds(rows):
    table = load_table("iris")

    def join_scored(seed):
        return np.concatenate([fold[1] for fold in list_folds(table, rows, seed=seed)]).tolist()

    assert join_scored(1) == join_scored(1) != join_scored(2)


def test_folds_are_accepted_by_scikit_learn_without_a_copy():
    folds = Folds(load_table("iris"), 3, 0)
    assert clone(folds) is folds
    assert check_cv(folds) is folds
    assert folds.get_n_splits() == 3


@pytest.mark.parametrize(
    ("change", "n", "message"),
    [
        ({}, 2, "expected rows for 3 folds; got too few of 2"),
        ({"groups": np.zeros(150, int)}, 120, "too few of 120: .*; ask for fewer folds"),
        ({"times": np.zeros(150)}, 120, "the earliest fold has no rows before it"),
        ({"groups": np.arange(150) // 50}, 120, "got none of virginica in one"),
    ],
)
def test_folds_too_few_rows_are_refused(change, n, message, rows):
    table = replace(load_table("iris"), **change)
    with pytest.raises(DataError, match=message):
        list_folds(table, np.sort(rows, axis=0)[:n])


def test_folds_rare_class_is_in_some_of_the_folds(rows):
    table = load_table("iris")
    target = table.target.copy()
    setosa = rows[target[rows[:, 0]] == "setosa", 0]
    target[setosa[2:]] = "versicolor"
    folds = list_folds(replace(table, target=target), rows)
    scored = [np.count_nonzero(target[part] == "setosa") for _, part in folds]
    assert sorted(scored) == [0, 1, 1]
