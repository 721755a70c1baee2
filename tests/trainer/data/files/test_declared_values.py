"""Values of files that `trainer score` once read otherwise than the server."""

import math
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from serving.bundle import (
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    NumberColumn,
    WrongNumberError,
    create_column_schema,
)
from trainer.data.files.declared_values import read_categories, read_values
from trainer.data.files.declared_columns import DeclaredColumns
from trainer.data.tables import DataError

RULES = {"name": "c", "missing": "impute"}
NOON = datetime(2024, 5, 17, 12, 30, tzinfo=UTC).timestamp()


def number(**rules):
    return NumberColumn(type="number", minimum=0, maximum=1, **RULES | rules)


def date(format="iso8601", **rules):  # noqa: A002
    return DateColumn(type="date", minimum="", maximum="", format=format, **RULES | rules)


def boolean(**rules):
    return BooleanColumn(type="boolean", **RULES | rules)


@pytest.mark.parametrize(
    ("column", "array", "expected"),
    [
        (date(), pa.array(["86400.5", "2024-05-17T12:30"]), [86400.5, NOON]),
        (date(), pa.array([86400, None]), [86400, math.nan]),
        (date(), pa.array(["2024-05-17T12:30:00.1234567"]), [NOON + 0.1234567]),
        (date("milliseconds"), pa.array(["1500.5", "2.0", "NA"]), [1.5005, 0.002, math.nan]),
        (date("seconds", gaps=["-999"]), pa.array(["-999.0", "-998"]), [math.nan, -998]),
        (date(gaps=["-999"]), pa.array([-999], pa.timestamp("s")), [-999]),
        (boolean(), pa.array([1 + 2.0**-40, 0.0]), [1 + 2.0**-40, 0]),
        (boolean(texts={"yes": True}), pa.array([" YES", "0.0", "?"]), [1, 0, math.nan]),
        (number(gaps=["-9"]), pa.array(["-9.0", " 5. ", "+.5e1"]), [math.nan, 5, 5]),
        (number(), pa.array(["1", "inf", "nan"])[::2], [1, math.nan]),
        (date(), pa.array(["2024-05-17T12", "2024-05-17 12Z"]), [NOON - 1800] * 2),
        (number(), pa.array([Decimal("1.5"), None], pa.decimal64(5, 2)), [1.5, math.nan]),
    ],
)
def test_read_values_are_those_that_the_server_reads(column, array, expected):
    found = read_values(array, create_column_schema(column))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("column", "array", "index"),
    [
        (date("seconds"), pa.array(["31", "0x1F"]), 1),
        (date(), pa.array(["2024-05-17", "20240517"]), 1),
        (date(missing="refuse"), pa.array(["2024-05-17", "NA"]), 1),
        (number(gaps=[]), pa.array(["1", "nan"]), 1),
        (number(dtype="float64"), pa.array(["1", "2", "inf"]), 2),
        (number(missing="refuse"), pa.array([1.0, math.nan]), 1),
        (boolean(), pa.array(["true", "yes"]), 1),
    ],
)
def test_read_values_refuses_what_the_server_refuses(column, array, index):
    with pytest.raises(WrongNumberError) as refused:
        read_values(array, create_column_schema(column))
    assert refused.value.index == index


@pytest.mark.parametrize(
    "array",
    [
        pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
        *(pa.array([2**63 - 1]).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us")),
    ],
)
def test_declared_read_date_that_python_cannot_hold_is_refused_with_its_row(array):
    batch = pa.RecordBatch.from_pydict({"c": array})
    with pytest.raises(DataError, match="expected an ISO 8601 date in 'c'; got '[0-9]+' in row 1"):
        DeclaredColumns([date()]).read(batch)


@pytest.mark.parametrize("array", [pa.array([5], pa.duration("s")), pa.array([b"5"])])
@pytest.mark.parametrize("column", [number(), boolean(), date()])
def test_read_values_refuses_types_that_training_does_not_read(column, array):
    with pytest.raises(pa.ArrowTypeError, match="got a column of"):
        read_values(array, create_column_schema(column))


def category(*categories, **rules):
    rules = RULES | {"unseen": "unknown", "normalized": True} | rules
    return CategoryColumn(type="category", categories=list(categories), **rules)


def test_read_categories_numbers_are_categories_only_where_the_categories_are_numbers():
    schema = create_column_schema(category("1", "2.5", "x"))
    found = read_categories(pa.array([1.0, 2.5, math.nan, 7.0]), schema)
    assert found.to_pylist() == ["1", "2.5", None, "7"]
    with pytest.raises(WrongNumberError):
        read_categories(pa.array([1]), create_column_schema(category("x")))
    with pytest.raises(WrongNumberError):
        read_categories(pa.array([True]), create_column_schema(category("1")))


def test_read_categories_short_floats_are_the_categories_that_were_rounded_to_them():
    schema = create_column_schema(category("0.1", "2.5", normalized=True))
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        found = read_categories(pa.array(np.array([0.1, 2.5], kind.to_pandas_dtype())), schema)
        assert found.to_pylist() == ["0.1", "2.5"]


def test_read_categories_times_are_the_texts_that_training_reads():
    schema = create_column_schema(category("2024-05-17", "2024-05-18"))
    days = pa.array(["2024-05-18", None]).cast(pa.date32())
    assert read_categories(days, schema).to_pylist() == ["2024-05-18", None]
