import numpy as np
import pytest

from trainer.data.checks.sentinels import Sentinel, find_sentinels

DAY = 86_400


def with_sentinel(values, value, every=20):
    values = np.array(values, np.float64)
    values[::every] = value
    return values.astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high", "value", "text"),
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
def test_find_sentinels_names_value_rows_and_range_of_the_rest(rng, low, high, value, text):
    values = with_sentinel(rng.integers(low * 10, high * 10, 400) / 10, value)
    values[1], values[2], values[3] = low, high, np.nan
    assert find_sentinels(values) == [Sentinel(text, 20, f"{low}", f"{high}")]


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
def test_find_sentinels_ordinary_ends_of_a_scale_are_no_sentinels(rng, low, high, value):
    values = with_sentinel(rng.integers(low, high, 400), value)
    values[1], values[2] = low, high
    assert find_sentinels(values) == []


@pytest.mark.parametrize("values", [[-1, 1] * 20, [0, 1, 999] * 20, [-999] * 20, [], [np.nan] * 9])
def test_find_sentinels_few_different_values_have_none(values):
    assert find_sentinels(np.array(values, np.float32)) == []


def test_find_sentinels_several_are_left_out_of_the_range(rng):
    values = with_sentinel(rng.integers(0, 100, 400), -999)
    values[1::20], values[2], values[3] = 9999, 0, 99
    found = find_sentinels(values)
    assert {(each.text, each.rows, each.low, each.high) for each in found} == {
        ("-999", 20, "0", "99"),
        ("9999", 20, "0", "99"),
    }


@pytest.mark.parametrize("text", ["1900-01-01", "9999-12-31"])
def test_find_sentinels_dates_are_found_at_either_end(rng, text):
    first = np.datetime64("2015-03-01", "s").astype(float)
    values = first + DAY * rng.integers(0, 3000, 400)
    values[1], values[2] = first, first + DAY * 3000
    assert find_sentinels(values, dates=True) == []
    values[::20] = np.datetime64(text, "s").astype(float)
    assert find_sentinels(values, dates=True) == [Sentinel(text, 20, "2015-03-01", "2023-05-18")]
