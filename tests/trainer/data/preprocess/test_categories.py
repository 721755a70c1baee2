import numpy as np
import pytest
from sklearn.preprocessing import OneHotEncoder

from trainer.data.preprocess import Categories
from trainer.data.records import Column

WORDS = ("red", "green", "blue", "pink", "lilac")


def drawn(rng):
    return rng.permutation(np.repeat(np.arange(5, dtype=np.int32), (400, 300, 292, 4, 4)))


def test_one_hot_columns_are_scikit_learns(rng):
    codes, other = drawn(rng), drawn(rng)
    fitted = Categories.fit(Column("c", "category", WORDS), codes, rare=5, one_hot=32)
    theirs = OneHotEncoder(
        min_frequency=5, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    words = np.array(WORDS)
    theirs.fit(words[codes][:, None])
    expected = theirs.transform(words[other][:, None])
    ours = fitted.transform(Column("c", "category", WORDS), other)
    # Theirs has the bucket last, ours first.
    np.testing.assert_array_equal(ours, np.roll(expected, 1, axis=1))


def test_an_unseen_text_is_one_of_the_bucket_or_nothing_at_all(rng):
    column = Column("c", "category", WORDS)
    with_rare = Categories.fit(column, drawn(rng), rare=5, one_hot=32)
    unseen = Column("c", "category", ("mauve",))
    assert with_rare.transform(unseen, np.zeros(1, np.int32)).tolist() == [[1, 0, 0, 0]]
    without = Categories.fit(column, drawn(rng), rare=1, one_hot=32)
    assert not without.transform(unseen, np.zeros(1, np.int32)).any()


def test_a_gap_is_a_place_of_its_own_only_if_training_rows_had_gaps():
    column, gap = Column("c", "category", WORDS[:2]), np.array([-1], np.int32)
    codes = np.array([0, 1, 0, 1, -1], np.int32)
    had = Categories.fit(column, codes, rare=1, one_hot=32)
    assert had.transform(column, gap).tolist() == [[0, 0, 1]]
    had_not = Categories.fit(column, codes[:4], rare=1, one_hot=32)
    assert had_not.transform(column, gap).tolist() == [[0, 0]]


def test_many_texts_become_places_for_an_embedding():
    words = tuple(f"w{i:03}" for i in range(100))
    codes = np.arange(100, dtype=np.int32).repeat(3)
    fitted = Categories.fit(Column("c", "category", words), codes, rare=1, one_hot=32)
    assert fitted.embedded
    assert fitted.width == 1
    found = fitted.transform(Column("c", "category", ("w007", "new")), np.array([0, 1], np.int32))
    assert found.tolist() == [[8], [0]]


def test_where_all_texts_are_rare_the_commonest_is_kept():
    codes = np.concatenate([np.zeros(2, np.int32), np.arange(1, 900, dtype=np.int32)])
    words = tuple(f"w{i:03}" for i in range(900))
    fitted = Categories.fit(Column("c", "category", words), codes, rare=10, one_hot=32)
    assert fitted.words == ("w000",)


def test_of_few_rows_no_text_in_two_of_them_is_rare():
    codes = np.array([0, 0, 0, 1, 1, 2], np.int32)
    fitted = Categories.fit(Column("c", "category", WORDS), codes, rare=10, one_hot=32)
    assert fitted.words == ("green", "red")


@pytest.mark.parametrize("rare", [1, 5])
def test_texts_of_other_rows_only_are_never_told_apart(rare, rng):
    codes = np.repeat(np.arange(3, dtype=np.int32), 20)
    fitted = Categories.fit(Column("c", "category", WORDS), codes, rare=rare, one_hot=32)
    assert fitted.words == ("blue", "green", "red")
