"""Numbers as people read them."""

import math

import pytest

from serving.loadtest.report import formatting as wording


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (wording.milliseconds(0.000421), "0.421"),
        (wording.milliseconds(0.0421), "42.1"),
        (wording.milliseconds(1.25), "1,250"),
        (wording.milliseconds(0.0), "0"),
        (wording.milliseconds(1e-6), "0.001"),
        (wording.milliseconds(math.nan), "–"),
        (wording.duration(0.000421), "421 µs"),
        (wording.duration(0.0421), "42.1 ms"),
        (wording.duration(1.25), "1.25 s"),
        (wording.rate(1234.4), "1,234"),
        (wording.rate(12.34), "12.3"),
        (wording.rate(12.0), "12"),
        (wording.rate(None), "–"),
        (wording.percent(0.0), "0 %"),
        (wording.percent(0.00004), "0.004 %"),
        (wording.percent(0.0175), "1.75 %"),
        (wording.percent(1.0), "100 %"),
        (wording.count(1, "row"), "1 row"),
        (wording.count(2000, "row"), "2,000 rows"),
        (wording.plain("a\x1b[2J\nb\u202e"), "a\\u001b[2J\\u000ab\\u202e"),
    ],
)
def test_it_reads(told, expected):
    assert told == expected


def test_long_text_is_cut():
    assert len(wording.plain("a" * 1000)) == 300
