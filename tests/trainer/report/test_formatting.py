import math

import numpy as np
import pytest

from trainer.data.records import Column
from trainer.evaluate.metrics import compute_metrics
from trainer.report.formatting import (
    METRIC_NAMES,
    format_cell,
    format_count,
    format_decimal,
    format_metric,
    format_number,
    format_percent,
    format_size,
    format_time,
    join_words,
    shorten_all,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (0.5, "0.5000"),
        (-1.25, "−1.250"),
        (143.0, "143"),
        (1234.5, "1,234"),
        (1e-9, "1e−09"),
        (12345678.0, "1.235e+07"),
        (math.nan, "–"),
        (None, "–"),
        (0.00123456, "0.001235"),
        (999999.6, "1,000,000"),
    ],
)
def test_format_number_has_four_significant_digits(value, expected):
    assert format_number(value) == expected


def test_format_counts_percents_sizes_and_times():
    assert [format_count(n, "row") for n in (0, 1, 2, 2000)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "2,000 rows",
    ]
    assert [join_words(w) for w in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]
    assert format_percent(0.12345) == "12.3\N{NO-BREAK SPACE}%"
    assert [format_decimal(v) for v in (0.5, -0.5, 1234.5678, math.inf)] == [
        "0.5000",
        "−0.5000",
        "1,235",
        "–",
    ]
    assert [format_size(n) for n in (900, 12_345, 23_456_789)] == ["900 B", "12 kB", "23.5 MB"]
    assert [format_time(s) for s in (0, 86399, 1e30)] == [
        "1970-01-01",
        "1970-01-01 23:59:59",
        "1e+30",
    ]


def test_metric_names_cover_all_metrics():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    classes = np.array([0, 1])
    result = compute_metrics("binary", classes, {"label": classes, "probabilities": p}, classes)
    values = compute_metrics("regression", p, {"value": p}, None)
    assert set(result) | set(values) == set(METRIC_NAMES)


def test_format_cell_depends_on_column_type():
    for column, values, expected in (
        (Column("n"), np.float32([1.5, np.nan]), ["1.500", "missing"]),
        (Column("b", "boolean"), np.float32([1, 0, np.nan]), ["true", "false", "missing"]),
        (Column("c", "category", ("x",)), np.int32([0, -1]), ["x", "missing"]),
        (Column("d", "date"), np.float64([86400, np.nan]), ["1970-01-02", "missing"]),
    ):
        assert [format_cell(column, values, row) for row in range(len(values))] == expected


def test_format_metric_unknown_positive_class_is_described():
    assert format_metric("positive_recall") == "recall of the positive class"


def test_format_decimal_rounded_to_zero_has_no_sign():
    assert format_decimal(-0.00001) == "0.0000"
    assert format_decimal(-0.0001) == "−0.0001"


def test_shorten_all_results_are_short_and_different():
    same = "x" * 100
    result = shorten_all(
        [same + "a", same + "b", "plain", same + "c" + same, same + "d" + same], 24
    )
    assert result[2] == "plain"
    assert len(set(result)) == 5
    assert max(map(len, result)) <= 24
