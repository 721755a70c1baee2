import numpy as np
import pytest

from trainer.data.sources import load
from trainer.data.splits import split
from trainer.data.tables import DataError


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes", "linnerud", "iris"])
def test_every_row_is_in_exactly_one_part(name):
    table = load(name)
    parts = split(table, validation=0.1, test=0.2, seed=0)
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(table)))
    assert len(parts.test) == pytest.approx(0.2 * len(table), abs=1)
    assert len(parts.validation) == pytest.approx(0.1 * len(table), abs=1)


def test_classes_have_the_same_share_in_each_part():
    table = load("breast_cancer")
    parts = split(table, validation=0.1, test=0.2, seed=0)
    malignant = table.target == "malignant"
    for rows in (parts.train, parts.validation, parts.test):
        assert malignant[rows].mean() == pytest.approx(malignant.mean(), abs=0.01)


def test_the_seed_decides():
    table = load("digits")
    options = dict(validation=0.1, test=0.2)
    one, same, other = (split(table, seed=s, **options) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.test, same.test)
    np.testing.assert_array_equal(one.train, same.train)
    assert set(one.test) != set(other.test)


def test_shares_that_leave_too_few_to_learn_from_are_refused(write_npz, rng):
    table = load(write_npz(X=rng.normal(size=(50, 2)), y=np.arange(50) % 10))
    assert len(split(table, validation=0.4, test=0.4, seed=2**32 - 1).train) == 10
    rare = load(write_npz(X=rng.normal(size=(1010, 2)), y=np.arange(1010).clip(990, 1010) // 5))
    with pytest.raises(DataError, match="of every class to learn from; got none of 19"):
        split(rare, validation=0.47, test=0.47, seed=0)
    with pytest.raises(DataError, match="at least 10 rows to learn from; got 2 of 50"):
        split(table, validation=0.48, test=0.48, seed=0)
