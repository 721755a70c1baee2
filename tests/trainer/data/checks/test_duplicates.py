import numpy as np
import pandas as pd

from tests.trainer.data.checks.tables import N, check_by_name, make_columns_table
from trainer.data.records import Column, Records
from trainer.data.splits import Split, split_table
from trainer.data.tables import make_table


def test_find_duplicate_columns_equal_values_and_gaps(rng, target, noise):
    gaps = rng.random(N) < 0.2
    city = rng.choice(["Rome", "Oslo", "Bonn"], N)
    with_gaps = np.where(gaps, np.nan, noise)
    negative = np.where(noise < 0, -0.0, noise)
    off_by_one = with_gaps.copy()
    off_by_one[0] = 9
    split = Split(np.arange(N - 200), np.arange(N - 200, N - 100), np.arange(N - 100, N))
    table = make_columns_table(
        target,
        noise=noise,
        with_gaps=with_gaps,
        again=with_gaps,
        off_by_one=off_by_one,
        clipped=noise.clip(0),
        negative_zero=negative,
        city=city,
        town=np.where(gaps, "", city),
        same_town=np.where(gaps, "", city),
    )
    found = check_by_name(table, split)
    assert list(found) == ["duplicate_column"]
    assert found["duplicate_column"].columns == ("again", "negative_zero", "same_town")
    assert "again equals with_gaps" in found["duplicate_column"].detail


def test_find_duplicate_columns_same_texts_with_other_codes(target):
    one = np.tile([0, 1, 2, -1], N // 4)
    other = np.array([2, 0, 1, -1])[one]
    third = np.array([0, 1, 2, -1])[one]
    columns = (
        Column("a", "category", ("x", "y", "z")),
        Column("b", "category", ("y", "z", "x")),
        Column("c", "category", ("p", "q", "r")),  # equal codes, other texts
    )
    codes = np.stack([one, other, third], axis=1).astype(np.int32)
    records = Records(columns, np.empty((N, 0), np.float32), codes=codes)
    made = make_table(source="x", records=records, target=target, target_names=("y",))
    assert check_by_name(made)["duplicate_column"].columns == ("b",)


def test_find_duplicate_rows_counts_as_pandas_does(rng):
    numbers = rng.integers(0, 12, N) * 1.0
    numbers[rng.random(N) < 0.1] = np.nan
    text = rng.choice(["a", "b", "c", ""], N)
    day = np.datetime64("2024-01-01", "s") + rng.integers(0, 10, N)
    target = rng.integers(0, 3, N)
    table = make_columns_table(target, numbers=numbers, text=text, day=day)
    split = split_table(table, validation=0.15, test=0.15, seed=0)
    frame = pd.DataFrame({"n": numbers, "t": text, "d": day, "y": target})

    def met(rows, columns):
        known = frame.iloc[split.train][columns].drop_duplicates()
        return len(frame.iloc[rows][columns].merge(known, how="inner"))

    features, everything = ["n", "t", "d"], ["n", "t", "d", "y"]
    test, validation = met(split.test, features), met(split.validation, features)
    agreeing = met(split.test, everything) + met(split.validation, everything)
    assert min(test, validation) > agreeing / 2 > 0
    detail = check_by_name(table, split)["duplicate_rows"].detail
    assert f"{test} of 90 test rows ({test / 90:.1%}) and {validation} of 90 valid" in detail
    assert f"and {agreeing} of these {test + validation} its target too" in detail


def test_find_duplicate_rows_single_row_is_not_reported(target, noise):
    split = Split(np.arange(400), np.arange(400, 500), np.arange(500, N))
    noise[500] = noise[0]
    assert check_by_name(make_columns_table(target, noise=noise), split) == {}
    noise[501] = noise[1]
    assert list(check_by_name(make_columns_table(target, noise=noise), split)) == ["duplicate_rows"]
