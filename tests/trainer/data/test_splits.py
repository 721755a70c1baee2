import tracemalloc

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from trainer.data.records import Records
from trainer.data.sources import load_table
from trainer.data.splits import hold_out, split_table
from trainer.data.tables import DataError, Table
from trainer.data.targets import class_codes


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes", "linnerud", "iris"])
def test_split_table_every_row_is_in_one_part(name):
    table = load_table(name)
    parts = split_table(table, validation=0.1, test=0.2, seed=0)
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(table)))
    assert len(parts.test) == pytest.approx(0.2 * len(table), abs=1)
    assert len(parts.validation) == pytest.approx(0.1 * len(table), abs=1)


def test_split_table_classes_have_same_share_in_each_part():
    table = load_table("breast_cancer")
    parts = split_table(table, validation=0.1, test=0.2, seed=0)
    malignant = table.target == "malignant"
    for rows in (parts.train, parts.validation, parts.test):
        assert malignant[rows].mean() == pytest.approx(malignant.mean(), abs=0.01)


def test_split_table_same_seed_same_split():
    table = load_table("digits")
    options = dict(validation=0.1, test=0.2)
    one, same, other = (split_table(table, seed=s, **options) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.test, same.test)
    np.testing.assert_array_equal(one.train, same.train)
    assert set(one.test) != set(other.test)


def test_split_table_too_large_shares_are_refused(write_npz, rng):
    table = load_table(write_npz(X=rng.normal(size=(50, 2)), y=np.arange(50) % 10))
    assert len(split_table(table, validation=0.4, test=0.4, seed=2**32 - 1).train) == 10
    rare = load_table(
        write_npz(X=rng.normal(size=(1010, 2)), y=np.arange(1010).clip(990, 1010) // 5)
    )
    with pytest.raises(DataError, match="of every class to learn from; got none of 19"):
        split_table(rare, validation=0.47, test=0.47, seed=0)
    with pytest.raises(DataError, match="at least 10 rows to learn from; got 2 of 50"):
        split_table(table, validation=0.48, test=0.48, seed=0)


def make_by_hand(target, task="multiclass", **attributes):
    target = np.asarray(target)
    records = Records.of_numbers(["x"], np.arange(len(target))[:, None])
    if task == "regression":
        target = target.astype(np.float64).reshape(len(target), -1)
    return Table("by hand", records, target, ("y",), task, **attributes)


def split_rows(table, validation=0.1, test=0.2, seed=0):
    parts = split_table(table, validation=validation, test=test, seed=seed)
    return parts.train, parts.validation, parts.test


def split_by_scikit_learn(rows, size, target, task, seed):
    classes = None if task == "regression" else target[rows]
    size = max(size, 2 if classes is None else len(np.unique(classes)))
    return train_test_split(rows, test_size=size, stratify=classes, random_state=seed)


@pytest.mark.parametrize("test_rows", [0, 60])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_split_table_at_random_equals_scikit_learn(task, test_rows, rng):
    for seed in range(10):
        n = int(rng.integers(200, 400))
        target = np.array(["rare", "b", "of many", "c"])[rng.choice(4, n, p=[0.1, 0.2, 0.3, 0.4])]
        if task == "regression":
            target = rng.normal(size=n)
        table = make_by_hand(target, task, test_rows=test_rows)
        rest, test = np.arange(n - test_rows), np.arange(n - test_rows, n)
        if not test_rows:
            rest, test = split_by_scikit_learn(rest, round(0.23 * n), target, task, seed)
        expected = (*split_by_scikit_learn(rest, round(0.13 * n), target, task, seed), test)
        for rows, wanted in zip(split_rows(table, 0.13, 0.23, seed), expected, strict=True):
            np.testing.assert_array_equal(rows, wanted)


def test_class_codes_equal_numpy_unique(rng):
    for target in (rng.integers(-3, 3, 200_000), rng.integers(0, 400, 200_000).astype(str)):
        classes, places = np.unique(target, return_inverse=True)
        found, codes = class_codes(target)
        np.testing.assert_array_equal(found, classes)
        np.testing.assert_array_equal(codes, places)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_hold_out_share_is_of_given_rows(share):
    table, rows = load_table("moons"), np.arange(40, 240)
    learned, held = hold_out(table, rows, share=share, seed=3)
    assert len(held) == round(200 * share)
    np.testing.assert_array_equal(np.sort(np.concatenate([learned, held])), rows)


def test_split_table_needs_memory_of_few_row_numbers(rng):
    n = 300_000
    target = rng.integers(0, 4, n)
    for attributes in (
        {},
        {"groups": target * 5 + rng.integers(0, 5, n)},
        {"times": rng.normal(size=n)},
    ):
        table = make_by_hand(target, **attributes)
        tracemalloc.start()
        split_rows(table)
        assert tracemalloc.get_traced_memory()[1] < 10 * 8 * n
        tracemalloc.stop()


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_split_table_groups_are_whole_and_sizes_near_request(task, rng):
    groups = 7 * rng.integers(0, 60, 3000) - 100
    table = make_by_hand(rng.integers(0, 3, 3000), task, groups=groups)
    parts = split_rows(table)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(3000))
    train, validation, test = (set(groups[rows]) for rows in parts)
    assert not train & validation and not train & test and not validation & test
    assert len(parts[2]) == pytest.approx(600, abs=60)
    assert len(parts[1]) == pytest.approx(300, abs=60)
    same, other = split_rows(table), split_rows(table, seed=1)
    np.testing.assert_array_equal(parts[0], same[0])
    assert set(parts[2]) != set(other[2])
    assert (np.diff(parts[0]) < 0).any()  # in random order


def test_split_table_groups_keep_balance_of_classes(rng):
    """Groups of one class each, of very different sizes; no worse than scikit-learn's folds."""
    size = rng.integers(5, 80, 60)
    groups = np.repeat(np.arange(60), size)
    target = np.repeat(np.arange(60) % 3, size)

    def imbalance(rows):
        shares = np.bincount(target[rows], minlength=3) / len(rows)
        return np.abs(shares - np.bincount(target) / len(target)).max()

    ours = imbalance(split_rows(make_by_hand(target, groups=groups))[2])
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(target, target, groups)
    assert ours < max(0.03, min(imbalance(rows) for _, rows in folds))


def test_split_table_class_of_two_groups_is_in_training_part(rng):
    groups = np.repeat(np.arange(20), 50)
    target = (groups < 2).astype(int)
    for seed in range(10):
        train = split_rows(make_by_hand(target, "binary", groups=groups), seed=seed)[0]
        assert target[train].any()


def test_split_table_indivisible_groups_are_refused(rng):
    target = np.arange(300) % 3
    with pytest.raises(DataError, match="at least 3 groups, one for each part; got 2 of 300 rows"):
        split_rows(make_by_hand(target, groups=target % 2))
    with pytest.raises(DataError, match="about 60 of 300 rows .* got 2 as the nearest number"):
        split_rows(make_by_hand(target, groups=np.arange(300).clip(296)))
    with pytest.raises(
        DataError, match="no such choice of 3 groups, where some class is in only 1"
    ):
        split_rows(make_by_hand(target, groups=target))
    with pytest.raises(DataError, match="got both"):
        split_rows(make_by_hand(target, groups=target, times=target.astype(float)))


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_split_table_times_latest_rows_are_the_test_part(task, rng):
    times = rng.permutation(1000) * 3600.0
    parts = split_rows(make_by_hand(rng.integers(0, 3, 1000), task, times=times))
    assert [len(rows) for rows in parts] == [700, 100, 200]
    train, validation, test = (times[rows] for rows in parts)
    assert train.max() < validation.min() and validation.max() < test.min()
    assert (np.diff(train) < 0).any()  # in random order


def test_split_table_equal_times_stay_together(rng):
    times = rng.integers(0, 17, 1000).astype(float)
    parts = split_rows(make_by_hand(rng.integers(0, 3, 1000), times=times))
    train, validation, test = (times[rows] for rows in parts)
    assert train.max() < validation.min() and validation.max() < test.min()
    assert len(test) == pytest.approx(200, abs=40)
    assert len(validation) == pytest.approx(100, abs=40)


@pytest.mark.parametrize("by", ["times", "groups"])
def test_split_table_test_part_leaves_a_validation_part(by):
    """The 40 rows of two of the three are nearest to 35, but would leave nothing to split."""
    attributes = {by: np.repeat([0, 1, 2], [60, 20, 20])}
    parts = split_rows(
        make_by_hand(np.arange(100) % 2, "binary", **attributes), validation=0.2, test=0.35
    )
    assert [len(rows) for rows in parts] == [60, 20, 20]


def test_split_table_indivisible_times_are_refused():
    target = np.arange(300) % 3
    with pytest.raises(DataError, match="at least 3 different times, one for each part; got 2 in"):
        split_rows(make_by_hand(target, times=(target > 0) * 1.0))
    crowded = np.r_[0.0, 1.0, np.full(298, 2.0)]
    with pytest.raises(DataError, match="about 60 of 300 rows .* got 298 as the nearest"):
        split_rows(make_by_hand(target, times=crowded))
    with pytest.raises(DataError, match="a time in every row; got none in 299 of 300"):
        split_rows(make_by_hand(target, times=np.where(np.arange(300) < 1, 0.0, np.nan)))
    with pytest.raises(DataError, match="of every class to learn from; got none of 1"):
        split_rows(make_by_hand(np.arange(300) // 220, times=np.arange(300.0)))


def test_split_table_given_test_rows_share_no_group_or_time():
    target, order = np.arange(300) % 3, np.arange(300)
    apart = split_rows(make_by_hand(target, groups=order // 10, test_rows=60))
    np.testing.assert_array_equal(apart[2], order[240:])
    assert not set(apart[0] // 10) & set(apart[1] // 10)
    later = split_rows(make_by_hand(target, times=order * 1.0, test_rows=60))
    assert [rows.min() for rows in later] == [0, 210, 240]
    with pytest.raises(DataError, match="no group in both the training rows .* got 1 in both"):
        split_rows(make_by_hand(target, groups=order // 10, test_rows=55))
    with pytest.raises(
        DataError, match="test rows that are later than all the others; got 5 of 60 that are not"
    ):
        split_rows(
            make_by_hand(
                target, times=np.where(order < 245, order.clip(0, 239), order) * 1.0, test_rows=60
            )
        )
