"""Dates in strptime formats are parsed like the standard library's strptime parses them."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import DateColumn, build_date_pattern, parse_date_text, require_date_format
from tests.fuzzing import examples

FORMATS = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%d-%b-%Y",
    "%B %d, %Y",
    "%d%b%Y",
    "%Y%m%d",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d/%m/%y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y-%m-%dT%H:%M:%S.%f",
)


@examples(200)
@given(st.datetimes(datetime(1969, 1, 1), datetime(2068, 12, 31)), st.sampled_from(FORMATS))
def test_parse_date_text_equals_strptime(moment, date_format):
    text = moment.replace(tzinfo=UTC).strftime(date_format)
    expected = datetime.strptime(text, date_format).replace(tzinfo=UTC)
    assert parse_date_text(text, date_format) == expected.timestamp()
    assert parse_date_text(text.upper(), date_format) == expected.timestamp()
    assert re.search(build_date_pattern(date_format), text)


@pytest.mark.parametrize(
    ("text", "date_format"),
    [
        ("31/02/2025", "%d/%m/%Y"),
        ("22/13/2025", "%d/%m/%Y"),
        ("22/06/25", "%d/%m/%Y"),
        ("00/06/2025", "%d/%m/%Y"),
        ("22/06/0000", "%d/%m/%Y"),
        ("22/06/2025 ", "%d/%m/%Y"),
        ("22-06-2025", "%d/%m/%Y"),
        ("22/06/2025 10:00", "%d/%m/%Y"),
        ("", "%d/%m/%Y"),
        ("٢٢/06/2025", "%d/%m/%Y"),
        ("22-Juin-2025", "%d-%b-%Y"),
        ("1/6/2025 0:30 AM", "%d/%m/%Y %I:%M %p"),
        ("1/6/2025 25:00", "%d/%m/%Y %H:%M"),
        ("01/01/0001 00:00 +01:00", "%d/%m/%Y %H:%M %z"),
        ("31/12/9999 23:59 -00:01", "%d/%m/%Y %H:%M %z"),
        ("1" * 10**6, "%d/%m/%Y"),
    ],
)
def test_parse_date_text_of_another_format_or_not_a_date_returns_none(text, date_format):
    assert parse_date_text(text, date_format) is None


@pytest.mark.parametrize(
    ("date_format", "message"),
    [
        ("dd/mm/yyyy", "a format like"),
        ("%d/%m", "a year and a month"),
        ("%Y", "a year and"),
        ("%d/%m/%Y %d", "%d once"),
        ("%d/%m/%Y %y", "%Y or %y once"),
        ("%d/%m/%Y %I:%M", "together"),
        ("%d/%m/%Y %c", "%c"),
        ("%d/%m/%", "directives"),
        ("%d%m%Y", "whose texts are numbers"),
        ("%Y-%d-%m", "no other meaning in ISO 8601"),
        ("%d/%m/%Y" + "x" * 64, "at most 64"),
    ],
)
def test_require_date_format_unsupported_format_names_the_problem(date_format, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        require_date_format(date_format)
    column = {"name": "d", "type": "date", "missing": "refuse", "minimum": "", "maximum": ""}
    with pytest.raises(ValueError, match=re.escape(message)):
        DateColumn(**column, format=date_format)


def test_build_date_pattern_returns_a_json_schema_pattern():
    assert re.search(build_date_pattern("%d.%m.%Y"), "22.06.2025")
    assert not re.search(build_date_pattern("%d.%m.%Y"), "22/06/2025")
    assert not re.search(build_date_pattern("%d.%m.%Y"), "32.06.2025")
    assert "(?P" not in json.dumps(build_date_pattern("%d.%m.%Y"))
    assert build_date_pattern("iso8601") is build_date_pattern("seconds") is None
