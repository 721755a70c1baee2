import numpy as np
import pytest

from tests.trainer.data.checks.tables import N, check, check_by_name, make_columns_table
from trainer.data.checks import check_table
from trainer.data.checks.categorical import find_merged_columns
from trainer.data.preprocess import Encoding
from trainer.data.records import Column, Records
from trainer.data.splits import Split, split_table


def test_find_rare_classes_names_class_and_training_rows(noise):
    target = np.array(["common"] * (N - 20) + ["rare"] * 9 + ["less rare"] * 11)
    split = Split(np.arange(100, N), np.arange(50), np.arange(50, 100))
    finding = check_by_name(make_columns_table(target, noise=noise), split)["rare_class"]
    assert finding.columns == ("y",)
    assert "of rare (9) there are fewer than 10 training rows" in finding.detail


def test_find_many_categories_more_than_thousand_texts(rng):
    n = 4000
    target, many = rng.integers(0, 2, n), rng.permutation(n)
    found = check_by_name(
        make_columns_table(
            target,
            noise=rng.normal(size=n),
            fewer=np.char.add("c", (many % 1000).astype(str)),
            more=np.char.add("c", (many % 1001).astype(str)),
        )
    )
    assert list(found) == ["many_categories", "merged_column"]  # each text is in four rows
    assert found["many_categories"].detail == "more than 1,000 different texts: more (1,001)"


def test_find_class_variants_names_spellings_with_rows(noise):
    words = np.array(["Yes", "yes", "no", "No thanks", "no  thanks"])
    target = np.resize(words, N)
    (finding,) = [
        f for f in check(make_columns_table(target, noise=noise)) if f.name == "class_variants"
    ]
    assert finding.columns == ("y",)
    assert finding.detail.endswith(
        ": 'No thanks' (120) and 'no  thanks' (120), 'Yes' (120) and 'yes' (120)"
    )
    assert "class_variants" not in {
        f.name for f in check(make_columns_table(["a", "b"] * 300, x=noise))
    }


def test_find_category_variants_names_spellings_with_training_rows(target, noise):
    town = np.resize(np.array(["Oslo", "oslo", "Bergen"]), N)
    table = make_columns_table(target, noise=noise, town=town)
    split = split_table(table, validation=0.15, test=0.15, seed=0)
    (finding,) = [f for f in check_table(table, split) if f.name == "category_variants"]
    counts = {word: np.count_nonzero(town[split.train] == word) for word in ("Oslo", "oslo")}
    assert finding.columns == ("town",)
    assert f"town ('Oslo' ({counts['Oslo']}) and 'oslo' ({counts['oslo']}))" in finding.detail


@pytest.mark.parametrize(("later", "named"), [("new", True), ("old", False)])
def test_find_unseen_categories_texts_of_held_out_rows_only(later, named, target, noise):
    split = Split(np.arange(400), np.arange(400, 500), np.arange(500, N))
    shop = ["old"] * 200 + ["other"] * 250 + [later] * 150
    found = {
        f.name: f for f in check_table(make_columns_table(target, noise=noise, shop=shop), split)
    }
    assert ("unseen_categories" in found) == named
    if named:
        assert found["unseen_categories"].columns == ("shop",)
        assert "shop (75%, such as 'new')" in found["unseen_categories"].detail


def find_merged(texts, n_train, rare=10):
    words, codes = np.unique(np.array(texts), return_inverse=True)
    column = Column("x", "category", tuple(words.tolist()))
    n = len(codes)
    records = Records(
        (column,), np.empty((n, 0), np.float32), codes=codes[:, None].astype(np.int32)
    )
    rest = np.arange(n_train, n)
    split = Split(np.arange(n_train), rest[::2], rest[1::2])
    return find_merged_columns(records, split, Encoding(rare=rare))


def test_find_merged_columns_rare_texts_unless_told_apart():
    dates = [f"day {i % 290}" for i in range(600)]
    assert find_merged(dates, 400) == {"x": "x (398 of 400 training rows)"}
    assert find_merged(dates, 400, rare=1) == {}


def test_find_merged_columns_nine_tenths_of_rare_texts():
    texts = ["common"] * 30 + [f"rare {i}" for i in range(370)]
    assert find_merged(texts * 2, 400) == {"x": "x (370 of 400 training rows)"}
    assert find_merged((["common"] * 100 + [f"rare {i}" for i in range(300)]) * 2, 400) == {}


def test_find_merged_columns_texts_of_held_out_rows_only():
    texts = [f"month {i // 50}" for i in range(600)]
    assert find_merged(texts, 400) == {
        "x": "x (200 of 200 validation and test rows, whose texts no training row has)"
    }
