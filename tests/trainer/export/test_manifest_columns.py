import numpy as np
import pytest

from trainer.data.preprocess import Encoder, Encoding
from trainer.data.records import Column, Records
from trainer.export.manifest_columns import (
    create_example_record,
    describe_columns,
    format_timestamp,
)

DAY_SECONDS = 86400.0


@pytest.fixture
def records():
    """Six rows with one column of each kind; the number and the category have missing values."""
    columns = (
        Column("color", "category", ("blue", "red")),
        Column("size"),
        Column("is_new", "boolean"),
        Column("sold", "date"),
    )
    numbers = np.array([[0.1, 1], [2, 1], [3, 0], [4, 1], [5, 1], [np.nan, 0]], np.float32)
    dates = DAY_SECONDS * np.array([[0.0], [1], [2], [2], [3], [4]])
    codes = np.array([[1], [1], [0], [1], [-1], [0]], np.int32)
    return Records(columns, numbers, dates, codes)


def describe(records, **options):
    encoder = Encoder.fit(records, np.arange(len(records)), Encoding(rare=1))
    options = {"unseen": "unknown", "refuse_gaps": False} | options
    columns = describe_columns(encoder, records, **options)
    return {column.name: column for column in columns}


def test_describe_columns_mixed_columns_has_types_and_ranges(records):
    columns = describe(records)
    assert [column.type for column in columns.values()] == ["category", "number", "boolean", "date"]
    assert columns["color"].categories == ["blue", "red"]
    assert (columns["size"].minimum, columns["size"].maximum) == (0.1, 5)  # shortest float32 text
    assert (columns["sold"].minimum, columns["sold"].maximum) == ("1970-01-01", "1970-01-05")


@pytest.mark.parametrize(("refuse_gaps", "missing"), [(False, "impute"), (True, "refuse")])
def test_describe_columns_missing_values_are_imputed_unless_refused(refuse_gaps, missing, records):
    columns = describe(records, refuse_gaps=refuse_gaps)
    assert columns["size"].missing == missing
    assert columns["sold"].missing == "refuse"


def test_describe_columns_table_with_nulls_has_no_gap_texts_in_categories(records):
    columns = describe(records, gaps=("-",), has_nulls=True)
    assert columns["color"].gaps == []
    assert columns["size"].gaps == ["-"]


def test_create_example_record_has_medians_and_most_frequent_values(records):
    assert create_example_record(records) == {
        "color": "red",
        "size": 3.0,
        "is_new": True,
        "sold": "1970-01-03",
    }


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1970-01-01"), (3661, "1970-01-01T01:01:01+00:00")]
)
def test_format_timestamp_adds_time_unless_midnight(seconds, text):
    assert format_timestamp(seconds) == text
