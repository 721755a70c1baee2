import numpy as np
import pytest
from sklearn.preprocessing import OneHotEncoder

from trainer.data.preprocess import Categories
from trainer.data.records import Column

WORDS = ("red", "green", "blue", "pink", "lilac")


def draw_codes(rng):
    return rng.permutation(np.repeat(np.arange(5, dtype=np.int32), (400, 300, 292, 4, 4)))


def test_categories_one_hot_equals_scikit_learn(rng):
    codes, other = draw_codes(rng), draw_codes(rng)
    fitted = Categories.fit(Column("c", "category", WORDS), codes, rare=5, one_hot=32)
    encoder = OneHotEncoder(
        min_frequency=5, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    words = np.array(WORDS)
    encoder.fit(words[codes][:, None])
    expected = encoder.transform(words[other][:, None])
    ours = fitted.transform(Column("c", "category", WORDS), other)
    # The bucket is the last column of scikit-learn and the first of ours.
    np.testing.assert_array_equal(ours, np.roll(expected, 1, axis=1))


def test_categories_unseen_text_is_in_bucket_or_all_zeros(rng):
    column = Column("c", "category", WORDS)
    with_rare = Categories.fit(column, draw_codes(rng), rare=5, one_hot=32)
    unseen = Column("c", "category", ("mauve",))
    assert with_rare.transform(unseen, np.zeros(1, np.int32)).tolist() == [[1, 0, 0, 0]]
    without = Categories.fit(column, draw_codes(rng), rare=1, one_hot=32)
    assert not without.transform(unseen, np.zeros(1, np.int32)).any()


def test_categories_gap_has_index_only_if_training_rows_have_gaps():
    column, gap = Column("c", "category", WORDS[:2]), np.array([-1], np.int32)
    codes = np.array([0, 1, 0, 1, -1], np.int32)
    with_gaps = Categories.fit(column, codes, rare=1, one_hot=32)
    assert with_gaps.transform(column, gap).tolist() == [[0, 0, 1]]
    without_gaps = Categories.fit(column, codes[:4], rare=1, one_hot=32)
    assert without_gaps.transform(column, gap).tolist() == [[0, 0]]


def test_categories_many_texts_become_indices_to_embed():
    words = tuple(f"w{i:03}" for i in range(100))
    codes = np.arange(100, dtype=np.int32).repeat(3)
    fitted = Categories.fit(Column("c", "category", words), codes, rare=1, one_hot=32)
    assert fitted.is_embedded
    assert fitted.width == 1
    indices = fitted.transform(Column("c", "category", ("w007", "new")), np.array([0, 1], np.int32))
    assert indices.tolist() == [[8], [0]]


def test_categories_all_texts_rare_keeps_the_most_frequent():
    codes = np.concatenate([np.zeros(2, np.int32), np.arange(1, 900, dtype=np.int32)])
    words = tuple(f"w{i:03}" for i in range(900))
    fitted = Categories.fit(Column("c", "category", words), codes, rare=10, one_hot=32)
    assert fitted.words == ("w000",)


def test_categories_few_rows_text_in_two_rows_is_not_rare():
    codes = np.array([0, 0, 0, 1, 1, 2], np.int32)
    fitted = Categories.fit(Column("c", "category", WORDS), codes, rare=10, one_hot=32)
    assert fitted.words == ("green", "red")


@pytest.mark.parametrize("rare", [1, 5])
def test_categories_texts_of_other_rows_are_not_distinguished(rare, rng):
    codes = np.repeat(np.arange(3, dtype=np.int32), 20)
    fitted = Categories.fit(Column("c", "category", WORDS), codes, rare=rare, one_hot=32)
    assert fitted.words == ("blue", "green", "red")
