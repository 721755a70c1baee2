import numpy as np
import pandas as pd
import pytest

from trainer.data.preprocess import Dates
from trainer.data.preprocess.dates import FIRST, LAST


def to_seconds(*texts):
    return np.array([np.datetime64(text, "s").astype(np.int64) for text in texts], np.float64)


def test_dates_calendar_parts_equal_pandas(rng):
    drawn = rng.integers(-4_000_000_000, 4_000_000_000, 3000).astype(np.float64)
    fitted = Dates.fit("d", drawn, gaps=False)
    encoded = fitted.transform(drawn)
    assert encoded.shape == (3000, fitted.width) == (3000, 45)
    stamps = pd.to_datetime(drawn, unit="s").to_series()
    np.testing.assert_allclose(encoded[:, 1] * 8.5 + 15.5, stamps.dt.day, atol=1e-5)
    for start, size, part in ((2, 12, "month"), (14, 7, "day_of_week"), (21, 24, "hour")):
        one_hot = encoded[:, start : start + size]
        assert (one_hot.sum(axis=1) == 1).all()
        expected = getattr(stamps.dt, part) - (part == "month")
        np.testing.assert_array_equal(one_hot.argmax(axis=1), expected)


def test_dates_time_is_standardised(rng):
    drawn = rng.integers(1.6e9, 1.7e9, 500).astype(np.float64)
    time = Dates.fit("d", drawn, gaps=False).transform(drawn)[:, 0]
    np.testing.assert_allclose(time, (drawn - drawn.mean()) / drawn.std(), rtol=1e-5, atol=1e-6)


def test_dates_without_time_of_day_have_no_hours():
    days = to_seconds("2024-02-28", "2024-02-29", "2024-03-01", "1969-12-31")
    fitted = Dates.fit("d", days, gaps=False)
    assert not fitted.has_hours
    encoded = fitted.transform(days)
    assert encoded.shape == (4, fitted.width) == (4, 21)
    assert encoded[:, 2:14].argmax(axis=1).tolist() == [1, 1, 2, 11]
    assert encoded[:, 14:].argmax(axis=1).tolist() == [2, 3, 4, 2]  # 0 is Monday


def test_dates_gap_becomes_median_and_is_flagged():
    days = to_seconds("2024-01-01", "2024-01-03", "2024-01-09")
    fitted = Dates.fit("d", np.append(days, np.nan), gaps=True)
    filled, third = fitted.transform(np.array([np.nan, days[1]]))
    np.testing.assert_array_equal(filled[:-1], third[:-1])
    assert (filled[-1], third[-1]) == (1, 0)


@pytest.mark.parametrize("far", [FIRST, LAST])
def test_dates_first_and_last_date_are_encoded(far):
    fitted = Dates.fit("d", to_seconds("2024-01-01", "2024-01-03"), gaps=False)
    assert np.isfinite(fitted.transform(np.array([far]))).all()


def test_dates_fraction_of_second_stays_in_its_hour_and_day(rng):
    whole = rng.integers(-4_000_000_000, 4_000_000_000, 500).astype(np.float64)
    midnights = whole - whole % 86_400
    fitted = Dates.fit("d", whole, gaps=False)
    assert fitted.has_hours
    encoded = fitted.transform(midnights - 0.25)
    np.testing.assert_array_equal(encoded[:, 1:], fitted.transform(midnights - 1)[:, 1:])
    assert (encoded[:, 21 + 23] == 1).all()


def test_dates_one_date_or_none_has_scale_one():
    one = Dates.fit("d", to_seconds("2024-01-03", "2024-01-03"), gaps=False)
    assert one.transform(to_seconds("2024-01-03", "2024-01-04"))[:, 0].tolist() == [0, 86_400]
    none = Dates.fit("d", np.full(3, np.nan), gaps=True)
    (gap,), (epoch,) = none.transform(np.array([np.nan])), none.transform(np.array([0.0]))
    assert gap[0] == 0
    np.testing.assert_array_equal(gap[:-1], epoch[:-1])
    assert gap[-1] - epoch[-1] == 1
