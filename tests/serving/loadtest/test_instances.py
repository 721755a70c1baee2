"""Instances generated from a schema."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pytest

from serving import create_app
from serving.loadtest.instances import date_to_number, generate_instances
from serving.loadtest.target import SchemaColumn
from tests.load_requests import MIXED_COLUMNS, MIXED_RECORD, make_target

TARGET = make_target(columns=MIXED_COLUMNS)


def generate_values(column, count, rng):
    """Return the generated values of a single column."""
    rows = generate_instances(make_target(columns=(column,)), count, rng)
    return [row[column.name] for row in rows]


def test_generate_rows_have_every_column_in_order_and_depend_on_the_seed(rng):
    rows = generate_instances(TARGET, 50, rng)
    assert len(rows) == 50
    assert all(list(row) == list(MIXED_RECORD) for row in rows)
    assert len({json.dumps(row) for row in rows}) == 50
    assert rows == generate_instances(TARGET, 50, np.random.default_rng(0))
    assert rows != generate_instances(TARGET, 50, np.random.default_rng(1))


def test_generate_values_a_tenth_is_missing_where_accepted(rng):
    rows = generate_instances(TARGET, 5000, rng)
    for column in MIXED_COLUMNS:
        missing = sum(row[column.name] is None for row in rows)
        if column.accepts_missing:
            # Five standard deviations of a binomial distribution.
            assert abs(missing - 500) < 5 * np.sqrt(450)
        else:
            assert missing == 0


def test_generate_numbers_are_short_and_fill_their_range(rng):
    column = SchemaColumn("x", "number", False, False, -3.5, 1e-3)
    numbers = np.array(generate_values(column, 2000, rng))
    assert numbers.min() >= -3.5
    assert numbers.max() <= 1e-3
    assert np.ptp(numbers) > 3.4
    assert max(len(str(abs(x))) for x in numbers if abs(x) > 0.1) <= 8


def test_generate_whole_numbers_are_integers_and_reach_both_ends(rng):
    numbers = generate_values(SchemaColumn("x", "number", False, True, 0.0, 3.0), 500, rng)
    assert {type(number) for number in numbers} == {int}
    assert set(numbers) == {0, 1, 2, 3}


def test_generate_numbers_stay_within_an_extreme_range(rng):
    single = SchemaColumn("x", "number", False, False, 0.123456789, 0.123456789)
    assert set(generate_values(single, 5, rng)) == {0.123456789}
    largest = float(np.finfo(np.float32).max)
    widest = SchemaColumn("x", "number", False, False, -largest, largest)
    assert np.isfinite(np.array(generate_values(widest, 50, rng), np.float32)).all()


def test_generate_categories_and_booleans_are_equally_frequent(rng):
    column = SchemaColumn("c", "category", True, categories=tuple(map(str, range(40))))
    # A missing value takes the place of a row, not of a category.
    counts = Counter(v for v in generate_values(column, 100, rng) if v is not None)
    assert set(counts) == set(column.categories)
    assert max(counts.values()) - min(counts.values()) <= 1
    booleans = generate_values(SchemaColumn("b", "boolean", False), 10, rng)
    assert Counter(booleans) == {True: 5, False: 5}


def test_generate_dates_lie_within_a_range_of_days(rng):
    column = SchemaColumn("d", "date", False, False, "1955-03-01", "1955-03-03")
    days = generate_values(column, 200, rng)
    assert {date.fromisoformat(day) for day in days} == {date(1955, 3, d) for d in (1, 2, 3)}
    single = SchemaColumn("d", "date", False, False, "1970-01-01", "1970-01-01")
    assert set(generate_values(single, 9, rng)) == {"1970-01-01"}


def test_generate_dates_have_times_if_a_bound_has_one(rng):
    low, high = "2024-05-17", "2024-05-17T12:00:00+00:00"
    texts = generate_values(SchemaColumn("d", "date", False, False, low, high), 200, rng)
    moments = [datetime.fromisoformat(text) for text in texts]
    assert min(moments) >= datetime.fromisoformat(f"{low}T00:00:00+00:00")
    assert max(moments) <= datetime.fromisoformat(high)
    assert len(set(moments)) > 190
    low, high = "2024-05-17T12:00:00.25+00:00", "2024-05-17T12:00:00.75+00:00"
    within_a_second = SchemaColumn("d", "date", False, False, low, high)
    assert len(generate_values(within_a_second, 9, rng)) == 9


def test_generate_every_row_is_accepted_by_the_server(adults, rng):
    client = create_app(models=adults).test_client()
    for row in generate_instances(TARGET, 200, rng):
        answer = client.post("/predict", json={"instances": [row]})
        assert answer.status_code == 200, answer.json


@pytest.mark.parametrize(
    ("date_format", "number"),
    [
        ("iso8601", 1679097600),
        ("seconds", 1679097600),
        ("milliseconds", 1679097600000),
        ("%Y%m%d", 20230318),
    ],
)
def test_date_to_number_equal_moments_have_the_number_of_the_format(date_format, number):
    column = SchemaColumn("t", "date", False, False, "2020-01-01", "2024-01-01")
    column = replace(column, date_format=date_format)
    assert date_to_number("2023-03-18", column) == number
    assert date_to_number("2023-03-18T00:00:00+00:00", column) == number
    assert date_to_number("20230318T0000", column) == number
    assert date_to_number("2023-03-17T23:00-01:00", column) == number


def test_date_to_number_of_digits_is_their_number():
    column = SchemaColumn("t", "date", False, date_format="milliseconds")
    assert date_to_number("1679097600000", column) == 1679097600000
