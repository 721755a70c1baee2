from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.files.cell_parsing import (
    find_first_refused,
    parse_booleans,
    parse_dates,
    parse_numbers,
    parse_truth_texts,
)

GAPS = ["", " ", "NA", "n/a", "N/A", "NaN", "nan", "null", "NULL", "None", "?", " ? ", "NaT", None]


@pytest.mark.parametrize("parse", [parse_numbers, parse_booleans, parse_truth_texts, parse_dates])
def test_parse_default_gaps_are_nan(parse):
    assert np.isnan(parse(pa.array(GAPS, pa.string()))).all()
    assert np.isnan(parse(pa.nulls(3, pa.string()))).all()


@pytest.mark.slow
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_parse_numbers_texts_are_read_as_python_reads_them(values):
    numbers = parse_numbers(pa.array([f"  {v!r} " for v in values], pa.string()))
    np.testing.assert_array_equal(numbers, np.array(values))


@pytest.mark.parametrize("text", ["1", "+1", "1.", ".5", "1e5", "-0", "007", "1E-300"])
def test_parse_numbers_unusual_spelling_is_read(text):
    np.testing.assert_array_equal(parse_numbers(pa.array([text])), [float(text)])


@pytest.mark.parametrize("text", ["1,5", "1_000", "0x10", "one", "1 2", "12%", "true"])
def test_parse_numbers_other_text_is_refused(text):
    assert parse_numbers(pa.array(["1", text])) is None


@pytest.mark.parametrize(
    ("decimal", "text", "value"),
    [
        (",", "1,5", 1.5),
        (",", " -1.234,5 ", -1234.5),
        (",", "1.234.567", 1234567),
        (",", "1.234", 1234),
        (",", "1 234,5", 1234.5),
        (",", "1\u202f234", 1234),
        (",", "1'234,5", 1234.5),
        (",", "2e3", 2000),
        (",", "1,5e3", 1500),
        (",", "1.5", None),
        (",", "0.123", None),  # there are no thousands to separate
        (",", "12.34,5", None),
        (",", "1 234.567", None),
        (",", "1,234.5", None),
        (".", "1,234.56", 1234.56),
        (".", "1,234", 1234),
        (".", "1'234.5", 1234.5),
        (".", "1.5", 1.5),
        (".", "1,5", None),
        (".", "1.234,5", None),
        (".", "0,123", None),
        (None, "1,234", None),
        (None, "1.5", 1.5),
    ],
)
def test_parse_numbers_decimal_sign_decides_how_text_is_read(decimal, text, value):
    numbers = parse_numbers(pa.array([text, None, "NA"]), decimal=decimal)
    if value is None:
        assert numbers is None
    else:
        np.testing.assert_array_equal(numbers, [value, np.nan, np.nan])


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(21, 2)]
)
def test_parse_numbers_typed_numbers_are_read(kind):
    numbers = parse_numbers(pa.array([1, 100, None], pa.int64()).cast(kind))
    np.testing.assert_array_equal(numbers, [1, 100, np.nan])


def test_parse_numbers_integers_above_2_to_53_are_rounded():
    assert parse_numbers(pa.array([2**53 + 1, -(2**63)])).tolist() == [2.0**53, -(2.0**63)]


@pytest.mark.slow
@given(st.lists(st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)), max_size=9))
def test_parse_dates_any_moment_is_seconds_since_1970(moments):
    expected = [moment.timestamp() for moment in moments]
    for texts in (
        [moment.isoformat() for moment in moments],
        [moment.replace(tzinfo=None).isoformat(" ") for moment in moments],
    ):
        seconds = parse_dates(pa.array(texts, pa.string()))
        np.testing.assert_allclose(seconds, expected, rtol=1e-15)


def test_parse_dates_texts_with_and_without_zone_are_read():
    texts = [
        "2020-02-29",
        " 2020-02-29T12:30 ",
        "2020-02-29 12:30:15.25",
        "2020-02-29T12:30:15.123456789",
        "2020-02-29T12:30Z",
        "2020-02-29T12:30:15-05:30",
        "1900-01-01T00:00:00+0100",
        None,
    ]
    moments = [
        datetime.fromisoformat(text.strip()[:26] if len(text) > 28 else text.strip())
        for text in texts[:-1]
    ]
    expected = [(t if t.tzinfo else t.replace(tzinfo=UTC)).timestamp() for t in moments]
    np.testing.assert_array_equal(parse_dates(pa.array(texts)), [*expected, np.nan])


@pytest.mark.parametrize("text", ["2020-02-30", "2020-1-1", "01/02/2020", "2020", "12:30", "soon"])
def test_parse_dates_other_text_is_refused(text):
    assert parse_dates(pa.array(["2020-01-01", text])) is None


@pytest.mark.parametrize(
    "kind",
    [
        pa.date32(),
        pa.date64(),
        *(pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "Asia/Tokyo")),
    ],
)
def test_parse_dates_typed_dates_are_read(kind):
    days = [date(1969, 12, 31), date(2024, 2, 29), None]
    seconds = parse_dates(pa.array(days).cast(pa.timestamp("s")).cast(kind))
    np.testing.assert_array_equal(seconds, [-86_400, 1_709_164_800, np.nan])


@pytest.mark.parametrize(("unit", "ticks"), [("ns", 10**9), ("us", 10**6), ("ms", 10**3)])
def test_parse_dates_last_tick_of_day_stays_within_its_second(unit, ticks):
    days = np.arange(-30_000, 60_000, 7) * 86_400
    last_ticks = pa.array((days + 86_400) * ticks - 1, pa.timestamp(unit))
    np.testing.assert_array_equal(np.floor(parse_dates(last_ticks)), days + 86_399)
    np.testing.assert_array_equal(parse_dates(pa.array(days * ticks, pa.timestamp(unit))), days)


def test_parse_truth_texts_any_case_is_read_and_numbers_are_refused():
    texts = pa.array(["true", "False", " TRUE ", "NA", None])
    np.testing.assert_array_equal(parse_truth_texts(texts), [1, 0, 1, np.nan, np.nan])
    assert parse_truth_texts(pa.array(["true", "1"])) is None
    np.testing.assert_array_equal(parse_truth_texts(pa.array([True, None])), [1, np.nan])


def test_parse_booleans_ones_and_zeros_are_read_and_others_refused():
    np.testing.assert_array_equal(parse_booleans(pa.array(["1", "0.0", ""])), [1, 0, np.nan])
    assert parse_booleans(pa.array(["1", "2"])) is None
    assert parse_booleans(pa.array(["yes"])) is None


@given(st.integers(1, 60), st.data())
def test_find_first_refused_several_odd_cells_returns_first(n, data):
    odd_indices = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    array = pa.array([f"no {i}" if i in odd_indices else "1" for i in range(n)])
    first = min(odd_indices)
    assert find_first_refused(array, parse_numbers) == (first, f"no {first}")
