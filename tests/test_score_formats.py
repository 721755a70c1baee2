"""`trainer score` accepts and refuses what the server does, and gives the graph the same inputs.

A CSV file is compared with the same CSV body, and a Parquet or Arrow file with an Arrow stream of
the same table. Score differs by design in what training reads and a stream does not have: texts in
a column of any type, which are read as those of a CSV body, and decimals, which are numbers.
"""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import CategoryColumn
from serving.codec.input_schema import InputSchema
from tests.body_formats import decode, to_comparable, write_arrow, write_csv
from tests.fuzzing import examples
from tests.generated_columns import NAME, columns, values
from trainer.data.files.declared_columns import DeclaredColumns
from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError

FILLER = CategoryColumn(
    name="filler", type="category", missing="impute", unseen="unknown", categories=["a"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("score_formats")


def read_file(path, column):
    """Return the inputs that score makes of a file, or None if it refuses a value."""
    declared_columns, parts = DeclaredColumns([column, FILLER]), []
    try:
        source = open_file(path, delimiter="," if path.suffix == ".csv" else None)
        for batch in source.iter_batches():
            parts.append(declared_columns.read(batch).inputs())
    except DataError:
        return None
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def assert_same_inputs(scored, served):
    assert (scored is None) == (served is None)
    for name, array in (served or {}).items():
        assert (scored[name].dtype, scored[name].shape) == (array.dtype, array.shape)
        assert to_comparable(scored[name]) == to_comparable(array)


def write_both(texts, folder):
    """Write texts, None for an empty cell, as a CSV file; return its path and the request."""
    body = write_csv({NAME: texts, "filler": ["a"] * len(texts)}, header=True)
    path = folder / "new.csv"
    path.write_bytes(body[1].content)
    return path, body


@pytest.mark.slow
@examples(400)
@given(column=columns(), cells=values())
def test_score_csv_accepts_or_refuses_what_the_server_does(column, cells, folder):
    path, body = write_both([None if v is None else str(v) for v in cells], folder)
    served = decode(*body, InputSchema([column, FILLER]))
    assert_same_inputs(read_file(path, column), served)


MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), timezones=st.just(UTC))
TYPES = {
    bool: st.just(pa.bool_()),
    int: st.just(pa.int64()),
    float: st.sampled_from([pa.float64(), pa.float32()]),
    type(None): st.sampled_from([pa.null(), pa.float64(), pa.bool_()]),
    datetime: st.sampled_from([pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ms", "UTC")]),
}


@pytest.mark.slow
@examples(400)
@given(
    column=columns(),
    cells=values() | st.lists(st.none() | MOMENTS, min_size=1, max_size=4),
    suffix=st.sampled_from([".parquet", ".arrow"]),
    data=st.data(),
)
def test_score_typed_file_accepts_or_refuses_what_the_server_does(
    column, cells, suffix, data, folder
):
    kind = next((type(value) for value in cells if value is not None), type(None))
    if kind is str:
        served = decode(*write_both(cells, folder)[1], InputSchema([column, FILLER]))
        array = pa.array(cells, pa.string())
    else:
        with np.errstate(over="ignore"):
            array = pa.array(cells, data.draw(TYPES[kind]), safe=False)
        if column.type == "category" and pa.types.is_timestamp(array.type):
            return  # Training reads times as texts; the server refuses them.
        stream = write_arrow({NAME: array, "filler": pa.array(["a"] * len(cells))})
        served = decode(*stream, InputSchema([column, FILLER]))
    table = pa.table({NAME: array, "filler": ["a"] * len(cells)})
    path = folder / f"new{suffix}"
    if suffix == ".parquet":
        pa.parquet.write_table(table, path)
    else:
        pa.feather.write_feather(table, str(path), compression="uncompressed")
    assert_same_inputs(read_file(path, column), served)


@examples(50)
@given(column=columns(("number", "boolean", "category")), whole=st.integers(-2000, 2000))
def test_score_decimals_are_the_numbers_that_csv_writes(column, whole, folder):
    table = pa.table({NAME: [Decimal(whole)], "filler": ["a"]})
    pa.parquet.write_table(table, folder / "new.parquet")
    stream = write_arrow({NAME: pa.array([whole]), "filler": pa.array(["a"])})
    served = decode(*stream, InputSchema([column, FILLER]))
    assert_same_inputs(read_file(folder / "new.parquet", column), served)
