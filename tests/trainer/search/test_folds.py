from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, check_cv

from trainer.data.sources import load_table
from trainer.data.tables import DataError
from trainer.search.folds import Folds


def parted(table, rows, count=3, seed=0):
    pairs = list(Folds(table, count, seed).split(rows))
    return [(rows[known, 0], rows[scored, 0]) for known, scored in pairs]


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_each_row_is_scored_once_by_what_was_learned_from_the_others(data, rows):
    table = load_table(data)
    pairs = parted(table, rows)
    assert sorted(np.concatenate([scored for _, scored in pairs])) == sorted(rows[:, 0])
    for known, scored in pairs:
        assert sorted([*known, *scored]) == sorted(rows[:, 0])


def test_classes_have_the_same_share_in_each_fold(rows):
    table = load_table("iris")
    expected = StratifiedKFold(3, shuffle=True, random_state=5).split(
        rows, table.target[rows[:, 0]]
    )
    for (known, scored), theirs in zip(parted(table, rows, seed=5), expected, strict=True):
        np.testing.assert_array_equal(known, rows[theirs[0], 0])
        np.testing.assert_array_equal(scored, rows[theirs[1], 0])


def test_groups_do_not_part(rows):
    table = replace(load_table("iris"), groups=np.arange(150) // 4)
    for known, scored in parted(table, rows):
        assert len(known)
        assert len(scored)
        assert not set(table.groups[known]) & set(table.groups[scored])


def test_rows_are_scored_by_what_was_learned_from_earlier_ones(rows):
    times = np.random.default_rng(0).integers(0, 40, 150).astype(float)
    table = replace(load_table("iris"), times=times)
    pairs = parted(table, rows)
    for known, scored in pairs:
        assert times[known].max() < times[scored].min()
    assert all(len(a[0]) < len(b[0]) for a, b in pairwise(pairs))


def test_the_same_seed_gives_the_same_folds(rows):
    table = load_table("iris")

    def scored(seed):
        return np.concatenate([pair[1] for pair in parted(table, rows, seed=seed)]).tolist()

    assert scored(1) == scored(1) != scored(2)


def test_a_splitter_is_taken_as_it_is():
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
def test_folds_that_cannot_be_are_named(change, n, message, rows):
    table = replace(load_table("iris"), **change)
    with pytest.raises(DataError, match=message):
        parted(table, np.sort(rows, axis=0)[:n])


def test_a_class_of_fewer_rows_than_folds_is_in_some_of_them(rows):
    table = load_table("iris")
    target = table.target.copy()
    setosa = rows[target[rows[:, 0]] == "setosa", 0]
    target[setosa[2:]] = "versicolor"
    pairs = parted(replace(table, target=target), rows)
    scored = [np.count_nonzero(target[part] == "setosa") for _, part in pairs]
    assert sorted(scored) == [0, 1, 1]
