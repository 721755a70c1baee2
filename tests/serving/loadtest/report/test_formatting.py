"""Formatting of numbers, units and foreign text in reports."""

import math

import pytest

from serving.loadtest.report import formatting


@pytest.mark.parametrize(
    ("formatted", "expected"),
    [
        (formatting.format_milliseconds(0.000421), "0.421"),
        (formatting.format_milliseconds(0.0421), "42.1"),
        (formatting.format_milliseconds(1.25), "1,250"),
        (formatting.format_milliseconds(0.0), "0"),
        (formatting.format_milliseconds(1e-6), "0.001"),
        (formatting.format_milliseconds(math.nan), "–"),
        (formatting.format_duration(0.000421), "421 µs"),
        (formatting.format_duration(0.0421), "42.1 ms"),
        (formatting.format_duration(1.25), "1.25 s"),
        (formatting.format_rate(1234.4), "1,234"),
        (formatting.format_rate(12.34), "12.3"),
        (formatting.format_rate(12.0), "12"),
        (formatting.format_rate(None), "–"),
        (formatting.format_percent(0.0), "0 %"),
        (formatting.format_percent(0.00004), "0.004 %"),
        (formatting.format_percent(0.0175), "1.75 %"),
        (formatting.format_percent(1.0), "100 %"),
        (formatting.format_count(1, "row"), "1 row"),
        (formatting.format_count(2000, "row"), "2,000 rows"),
        (formatting.escape_text("a\x1b[2J\nb\u202e"), "a\\u001b[2J\\u000ab\\u202e"),
    ],
)
def test_format_functions_return_value_with_unit(formatted, expected):
    assert formatted == expected


def test_escape_text_long_text_is_cut():
    assert len(formatting.escape_text("a" * 1000)) == 300
