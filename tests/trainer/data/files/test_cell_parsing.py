from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.files import cell_parsing

GAPS = ["", " ", "NA", "n/a", "N/A", "NaN", "nan", "null", "NULL", "None", "?", " ? ", "NaT", None]


@pytest.mark.parametrize(
    "parse", [cell_parsing.numbers, cell_parsing.booleans, cell_parsing.truths, cell_parsing.dates]
)
def test_gaps_are_gaps_of_every_kind(parse):
    assert np.isnan(parse(pa.array(GAPS, pa.string()))).all()
    assert np.isnan(parse(pa.nulls(3, pa.string()))).all()
    assert cell_parsing.texts(pa.array(GAPS)).null_count == len(GAPS)
    assert cell_parsing.missing(pa.array([*GAPS, "x"])).tolist() == [True] * len(GAPS) + [False]


@pytest.mark.slow
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_numbers_are_read_as_python_reads_them(values):
    found = cell_parsing.numbers(pa.array([f"  {v!r} " for v in values], pa.string()))
    np.testing.assert_array_equal(found, np.array(values))


@pytest.mark.parametrize("text", ["1", "+1", "1.", ".5", "1e5", "-0", "007", "1E-300"])
def test_numbers_in_other_ways_of_writing(text):
    np.testing.assert_array_equal(cell_parsing.numbers(pa.array([text])), [float(text)])


@pytest.mark.parametrize("text", ["1,5", "1_000", "0x10", "one", "1 2", "12%", "true"])
def test_what_is_no_number(text):
    assert cell_parsing.numbers(pa.array(["1", text])) is None


@pytest.mark.slow
@given(st.lists(st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC)), max_size=9))
def test_dates_are_seconds_since_1970(moments):
    expected = [moment.timestamp() for moment in moments]
    for texts in (
        [moment.isoformat() for moment in moments],
        [moment.replace(tzinfo=None).isoformat(" ") for moment in moments],
    ):
        found = cell_parsing.dates(pa.array(texts, pa.string()))
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_dates_with_and_without_zones_in_one_column():
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
    expected = [
        datetime.fromisoformat(text.strip()[:26] if len(text) > 28 else text.strip())
        for text in texts[:-1]
    ]
    stamps = [(t if t.tzinfo else t.replace(tzinfo=UTC)).timestamp() for t in expected]
    np.testing.assert_array_equal(cell_parsing.dates(pa.array(texts)), [*stamps, np.nan])


@pytest.mark.parametrize("text", ["2020-02-30", "2020-1-1", "01/02/2020", "2020", "12:30", "soon"])
def test_what_is_no_date(text):
    assert cell_parsing.dates(pa.array(["2020-01-01", text])) is None


@pytest.mark.parametrize(
    "kind",
    [
        pa.date32(),
        pa.date64(),
        *(pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "Asia/Tokyo")),
    ],
)
def test_typed_dates(kind):
    days = [date(1969, 12, 31), date(2024, 2, 29), None]
    found = cell_parsing.dates(pa.array(days).cast(pa.timestamp("s")).cast(kind))
    np.testing.assert_array_equal(found, [-86_400, 1_709_164_800, np.nan])


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(21, 2)]
)
def test_typed_numbers(kind):
    found = cell_parsing.numbers(pa.array([1, 100, None], pa.int64()).cast(kind))
    np.testing.assert_array_equal(found, [1, 100, np.nan])


def test_whole_numbers_past_the_exact_ones_are_rounded():
    assert cell_parsing.numbers(pa.array([2**53 + 1, -(2**63)])).tolist() == [2.0**53, -(2.0**63)]


def test_truth_values_in_any_case_and_numbers_if_asked_for():
    texts = pa.array(["true", "False", " TRUE ", "NA", None])
    np.testing.assert_array_equal(cell_parsing.truths(texts), [1, 0, 1, np.nan, np.nan])
    assert cell_parsing.truths(pa.array(["true", "1"])) is None
    np.testing.assert_array_equal(cell_parsing.booleans(pa.array(["1", "0.0", ""])), [1, 0, np.nan])
    assert cell_parsing.booleans(pa.array(["1", "2"])) is None
    assert cell_parsing.booleans(pa.array(["yes"])) is None
    np.testing.assert_array_equal(cell_parsing.truths(pa.array([True, None])), [1, np.nan])


def test_codes_are_places_among_the_words():
    array = pa.array(["b", " a", "c", "", None, "b "])
    assert cell_parsing.codes(array, pa.array(["a", "b"])).tolist() == [1, 0, -1, -1, -1, 1]
    assert cell_parsing.codes(pa.array([2, None, 1]), pa.array(["1", "2"])).tolist() == [1, -1, 0]


@given(st.integers(1, 60), st.data())
def test_the_first_odd_value_is_found(n, data):
    odd = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    array = pa.array([f"no {i}" if i in odd else "1" for i in range(n)])
    assert cell_parsing.first_odd(array, cell_parsing.numbers) == (min(odd), f"no {min(odd)}")


@pytest.mark.parametrize(("unit", "ticks"), [("ns", 10**9), ("us", 10**6), ("ms", 10**3)])
def test_dates_typed_times_stay_within_their_second(unit, ticks):
    days = np.arange(-30_000, 60_000, 7) * 86_400
    last = pa.array((days + 86_400) * ticks - 1, pa.timestamp(unit))
    np.testing.assert_array_equal(np.floor(cell_parsing.dates(last)), days + 86_399)
    np.testing.assert_array_equal(
        cell_parsing.dates(pa.array(days * ticks, pa.timestamp(unit))), days
    )
