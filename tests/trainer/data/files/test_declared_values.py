"""Values of files for which `trainer score` has to agree with the server."""

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
from trainer.data.files.declared_columns import DeclaredColumns
from trainer.data.files.declared_values import read_categories, read_values
from trainer.data.tables import DataError

RULES = {"name": "c", "missing": "impute"}
NOON = datetime(2024, 5, 17, 12, 30, tzinfo=UTC).timestamp()


def declare_number(**rules):
    return NumberColumn(type="number", minimum=0, maximum=1, **RULES | rules)


def declare_date(format="iso8601", **rules):  # noqa: A002
    return DateColumn(type="date", minimum="", maximum="", format=format, **RULES | rules)


def declare_boolean(**rules):
    return BooleanColumn(type="boolean", **RULES | rules)


@pytest.mark.parametrize(
    ("column", "array", "expected"),
    [
        (declare_date(), pa.array(["86400.5", "2024-05-17T12:30"]), [86400.5, NOON]),
        (declare_date(), pa.array([86400, None]), [86400, math.nan]),
        (declare_date(), pa.array(["2024-05-17T12:30:00.1234567"]), [NOON + 0.1234567]),
        (
            declare_date("milliseconds"),
            pa.array(["1500.5", "2.0", "NA"]),
            [1.5005, 0.002, math.nan],
        ),
        (declare_date("seconds", gaps=["-999"]), pa.array(["-999.0", "-998"]), [math.nan, -998]),
        (declare_date(gaps=["-999"]), pa.array([-999], pa.timestamp("s")), [-999]),
        (declare_boolean(), pa.array([1 + 2.0**-40, 0.0]), [1 + 2.0**-40, 0]),
        (declare_boolean(texts={"yes": True}), pa.array([" YES", "0.0", "?"]), [1, 0, math.nan]),
        (declare_number(gaps=["-9"]), pa.array(["-9.0", " 5. ", "+.5e1"]), [math.nan, 5, 5]),
        (declare_number(), pa.array(["1", "inf", "nan"])[::2], [1, math.nan]),
        (declare_date(), pa.array(["2024-05-17T12", "2024-05-17 12Z"]), [NOON - 1800] * 2),
        (declare_number(), pa.array([Decimal("1.5"), None], pa.decimal64(5, 2)), [1.5, math.nan]),
    ],
)
def test_read_values_accepted_values_are_as_the_server_reads_them(column, array, expected):
    values = read_values(array, create_column_schema(column))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("column", "array", "index"),
    [
        (declare_date("seconds"), pa.array(["31", "0x1F"]), 1),
        (declare_date(), pa.array(["2024-05-17", "20240517"]), 1),
        (declare_date(missing="refuse"), pa.array(["2024-05-17", "NA"]), 1),
        (declare_number(gaps=[]), pa.array(["1", "nan"]), 1),
        (declare_number(dtype="float64"), pa.array(["1", "2", "inf"]), 2),
        (declare_number(missing="refuse"), pa.array([1.0, math.nan]), 1),
        (declare_boolean(), pa.array(["true", "yes"]), 1),
    ],
)
def test_read_values_wrong_value_is_refused_with_its_index(column, array, index):
    with pytest.raises(WrongNumberError) as refusal:
        read_values(array, create_column_schema(column))
    assert refusal.value.index == index


@pytest.mark.parametrize(
    "array",
    [
        pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
        *(pa.array([2**63 - 1]).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us")),
    ],
)
def test_read_date_beyond_python_is_refused_with_its_row(array):
    batch = pa.RecordBatch.from_pydict({"c": array})
    with pytest.raises(DataError, match="expected an ISO 8601 date in 'c'; got '[0-9]+' in row 1"):
        DeclaredColumns([declare_date()]).read(batch)


@pytest.mark.parametrize("array", [pa.array([5], pa.duration("s")), pa.array([b"5"])])
@pytest.mark.parametrize("column", [declare_number(), declare_boolean(), declare_date()])
def test_read_values_unsupported_type_is_refused(column, array):
    with pytest.raises(pa.ArrowTypeError, match="got a column of"):
        read_values(array, create_column_schema(column))


def declare_category(*categories, **rules):
    rules = RULES | {"unseen": "unknown", "normalized": True} | rules
    return CategoryColumn(type="category", categories=list(categories), **rules)


def test_read_categories_number_without_such_category_is_refused():
    schema = create_column_schema(declare_category("1", "2.5", "x"))
    values = read_categories(pa.array([1.0, 2.5, math.nan, 7.0]), schema)
    assert values.to_pylist() == ["1", "2.5", None, "7"]
    with pytest.raises(WrongNumberError):
        read_categories(pa.array([1]), create_column_schema(declare_category("x")))
    with pytest.raises(WrongNumberError):
        read_categories(pa.array([True]), create_column_schema(declare_category("1")))


def test_read_categories_short_floats_match_rounded_categories():
    schema = create_column_schema(declare_category("0.1", "2.5", normalized=True))
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        values = read_categories(pa.array(np.array([0.1, 2.5], kind.to_pandas_dtype())), schema)
        assert values.to_pylist() == ["0.1", "2.5"]


def test_read_categories_times_are_read_as_texts():
    schema = create_column_schema(declare_category("2024-05-17", "2024-05-18"))
    days = pa.array(["2024-05-18", None]).cast(pa.date32())
    assert read_categories(days, schema).to_pylist() == ["2024-05-18", None]
