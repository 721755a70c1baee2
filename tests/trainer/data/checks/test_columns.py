import numpy as np

from tests.trainer.data.checks.tables import N, check_by_name, make_columns_table
from trainer.data.splits import Split


def test_find_identifiers_texts_row_numbers_and_named_numbers(rng, target, noise):
    texts = np.array([f"person {i}" for i in range(N)])
    repeating = np.array([f"street {i}" for i in rng.integers(0, N // 2, N)])
    found = check_by_name(
        make_columns_table(
            target,
            noise=noise,
            name=np.where(rng.random(N) < 0.1, "", texts),
            street=repeating,
            row=np.arange(N) + 7,
            shuffled=rng.permutation(N),
            user_id=rng.permutation(N),
            accountID=rng.permutation(N),
            paid=rng.permutation(N),
            shop_id=rng.integers(0, 5, N),
            row_of_millions=np.arange(N) + 3e7,  # float32 tells every second apart
        )
    )
    assert list(found) == ["identifier_column"]
    named = ("name", "row", "user_id", "accountID", "row_of_millions")
    assert found["identifier_column"].columns == named
    assert "row (420 different values in 420)" in found["identifier_column"].detail


def test_find_identifiers_sparse_columns_hide_no_others(rng, target, noise):
    few = np.where(np.arange(N) % 100 == 0, noise, np.nan)
    kept = np.where(np.arange(N) % 100 == 0, "a note", "")
    found = check_by_name(
        make_columns_table(
            target, few=few, kept=kept, noise=noise, user_id=rng.permutation(N), row=np.arange(N)
        )
    )
    assert found["identifier_column"].columns == ("user_id", "row")
    assert found["mostly_missing_column"].columns == ("few", "kept")


def test_find_constant_columns_one_value_in_training_rows(rng, target, noise):
    split = Split(np.arange(400), np.arange(400, 500), np.arange(500, N))
    gaps = rng.random(N) < 0.5
    found = check_by_name(
        make_columns_table(
            target,
            noise=noise,
            one=np.full(N, 3.5),
            gappy=np.where(gaps, np.nan, 1.0),
            text=np.where(gaps, "", "always"),
            never=np.where(np.arange(N) == N - 1, 1.0, np.nan),
            day=np.full(N, np.datetime64("2024-02-29", "s")),
            later=np.where(np.arange(N) < 400, 1.0, noise),
            almost=np.arange(N) == 399,
        ),
        split,
    )
    assert found["constant_column"].columns == ("one", "gappy", "text", "never", "day", "later")
    assert found["mostly_missing_column"].columns == ("never",)
    assert len(found) == 2


def test_find_identifiers_texts_are_not_many_categories_too(rng):
    table = make_columns_table(
        rng.integers(0, 2, 1500), x=rng.normal(size=1500), text=[f"t{i}" for i in range(1500)]
    )
    assert list(check_by_name(table)) == ["identifier_column"]


def test_find_mostly_missing_columns_of_each_kind(rng, target, noise):
    gaps = rng.permutation(N) < 0.98 * N
    some = rng.permutation(N) < 0.9 * N
    found = check_by_name(
        make_columns_table(
            target,
            noise=noise,
            number=np.where(gaps, np.nan, rng.random(N).round(2)),
            text=np.where(gaps, "", rng.choice(["a", "b"], N)),
            day=np.where(gaps, np.datetime64("NaT"), np.datetime64(3, "s") + rng.integers(0, 9, N)),
            there=np.where(some, np.nan, noise),
        )
    )
    assert list(found) == ["mostly_missing_column"]
    assert found["mostly_missing_column"].columns == ("number", "text", "day")
