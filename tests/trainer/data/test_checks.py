"""Sentinels, and columns that fall into one place: found where they are, and nowhere else."""

import numpy as np
import pytest

from trainer.data.checks.merged import find_merged
from trainer.data.checks.sentinels import Sentinel, find_sentinels
from trainer.data.preprocess import Encoding
from trainer.data.records import Column, Records
from trainer.data.splits import Split

DAY = 86_400


def with_value(values, value, every=20):
    values = np.array(values, np.float64)
    values[::every] = value
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high", "value", "written"),
    [
        (980, 1040, -9999, "-9999"),
        (0, 90, -999, "-999"),
        (18, 90, 999, "999"),
        (0, 1, 9999999, "9999999"),
        (-40, 45, -99, "-99"),
        (40, 60, -1, "-1"),
        (-100, 2000, -9999, "-9999"),
        (0, 5000, 999999, "999999"),
    ],
)
def test_find_sentinels_names_value_count_and_the_range_of_the_rest(rng, low, high, value, written):
    values = with_value(rng.integers(low * 10, high * 10, 400) / 10, value)
    values[1], values[2], values[3] = low, high, np.nan
    assert find_sentinels(values) == [Sentinel(written, 20, f"{low}", f"{high}")]


@pytest.mark.parametrize(
    ("low", "high", "value"),
    [
        (0, 1200, 999),
        (0, 9000, 9999),
        (0, 800, -1),
        (-9, 9, -9),
        (100, 998, 999),
        (0, 90, 95),
        (0, 90, -1),
        (-20000, 20000, -9999),
    ],
)
def test_find_sentinels_ordinary_ends_of_a_scale_are_none(rng, low, high, value):
    values = with_value(rng.integers(low, high, 400), value)
    values[1], values[2] = low, high
    assert find_sentinels(values) == []


@pytest.mark.parametrize("values", [[-1, 1] * 20, [0, 1, 999] * 20, [-999] * 20, [], [np.nan] * 9])
def test_find_sentinels_of_few_different_values_there_are_none(values):
    assert find_sentinels(np.array(values, np.float32)) == []


def test_find_sentinels_finds_several_and_the_rest_is_without_them(rng):
    values = with_value(rng.integers(0, 100, 400), -999)
    values[1::20], values[2], values[3] = 9999, 0, 99
    found = find_sentinels(values)
    assert {(each.written, each.rows, each.low, each.high) for each in found} == {
        ("-999", 20, "0", "99"),
        ("9999", 20, "0", "99"),
    }


@pytest.mark.parametrize("text", ["1900-01-01", "9999-12-31"])
def test_find_sentinels_of_dates(rng, text):
    first = np.datetime64("2015-03-01", "s").astype(float)
    values = first + DAY * rng.integers(0, 3000, 400)
    values[1], values[2] = first, first + DAY * 3000
    assert find_sentinels(values, dates=True) == []
    values[::20] = np.datetime64(text, "s").astype(float)
    assert find_sentinels(values, dates=True) == [Sentinel(text, 20, "2015-03-01", "2023-05-18")]


def merged(texts, train, rare=10):
    words, codes = np.unique(np.array(texts), return_inverse=True)
    column = Column("x", "category", tuple(words.tolist()))
    n = len(codes)
    records = Records(
        (column,), np.empty((n, 0), np.float32), codes=codes[:, None].astype(np.int32)
    )
    rest = np.arange(train, n)
    parts = Split(np.arange(train), rest[::2], rest[1::2])
    return find_merged(records, parts, Encoding(rare=rare))


def test_find_merged_a_column_of_rare_texts_says_nothing():
    dates = [f"day {i % 290}" for i in range(600)]
    assert merged(dates, 400) == {"x": "x (398 of 400 training rows)"}
    assert merged(dates, 400, rare=1) == {}


def test_find_merged_nearly_all_rare_counts_too():
    texts = ["common"] * 30 + [f"rare {i}" for i in range(370)]
    assert merged(texts * 2, 400) == {"x": "x (370 of 400 training rows)"}
    assert merged((["common"] * 100 + [f"rare {i}" for i in range(300)]) * 2, 400) == {}


def test_find_merged_texts_that_come_only_later_are_unseen():
    texts = [f"month {i // 50}" for i in range(600)]
    assert merged(texts, 400) == {
        "x": "x (200 of 200 validation and test rows, whose texts no training row has)"
    }
