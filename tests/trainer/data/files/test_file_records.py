import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trainer.data.files.file_records import RowStore, to_records
from trainer.data.records import Column
from trainer.data.tables import DataError

COLUMNS = (
    Column("n"),
    Column("k", "category", ("a", "b")),
    Column("flag", "boolean"),
    Column("when", "date"),
    Column("m"),
)
CELLS = {
    "extra": ["x", "y", "z"],
    "m": ["1e3", "NA", "-0.1"],
    "when": ["2020-01-01", "", "1970-01-01T00:00:00.25Z"],
    "flag": ["TRUE", "false", "none"],
    "k": ["b", " a ", "?"],
    "n": [" 16777217", "", "0.1"],
}


def create_batch(cells):
    return pa.RecordBatch.from_pydict(cells)


def test_to_records_texts_become_typed_columns():
    records = to_records(create_batch(CELLS), COLUMNS)
    assert records.columns == COLUMNS
    nan = np.nan
    expected = np.array([[16777217.0, 1, 1000], [nan, 0, nan], [0.1, nan, -0.1]])
    np.testing.assert_array_equal(records.numbers, expected.astype(np.float32))
    np.testing.assert_array_equal(records.dates, [[1577836800], [nan], [0.25]])
    assert records.codes.tolist() == [[1], [0], [-1]]
    assert (records.numbers.dtype, records.codes.dtype) == (np.float32, np.int32)


def test_to_records_typed_columns_are_the_same_records():
    typed_cells = {
        "n": [16777217.0, None, 0.1],
        "m": [1000.0, np.nan, -0.1],
        "flag": [True, False, None],
        "k": ["b", "a", None],
        "when": pa.array([1_577_836_800_000, None, 250], pa.timestamp("ms")),
    }
    from_texts = to_records(create_batch(CELLS), COLUMNS)
    from_types = to_records(create_batch(typed_cells), COLUMNS)
    for name in ("numbers", "dates", "codes"):
        np.testing.assert_array_equal(getattr(from_texts, name), getattr(from_types, name))


def test_to_records_category_without_words_gets_those_of_the_batch():
    columns = [Column("extra", "category"), Column("k", "category")]
    records = to_records(create_batch(CELLS), columns)
    assert [column.words for column in records.columns] == [("x", "y", "z"), ("a", "b")]
    assert records.inputs()["k"].tolist() == [["b"], ["a"], [""]]


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        (Column("x"), ["1", "two"], "expected a number .* in 'x'; got 'two' in row 102"),
        (Column("x"), ["1", "1e39"], "that float32 can hold in 'x'; got '1e39' in row 102"),
        (Column("x"), ["inf", "1"], "got 'inf' in row 101"),
        (Column("x", "boolean"), ["1", "maybe"], "expected true or false in 'x'; got 'maybe'"),
        (
            Column("x", "date"),
            ["2020-01-01", "1.2.2020"],
            "an ISO 8601 date in 'x'; got '1.2.2020'",
        ),
        (Column("x", "category", ("a",)), ["a", "b"], "one of 1 texts in 'x'; got 'b' in row 102"),
        (Column("y"), ["1", "2"], "expected the columns 'y'; got none called 'y'; add them"),
    ],
)
def test_to_records_value_of_another_kind_is_refused_with_its_row(column, cells, message):
    with pytest.raises(DataError, match=message):
        to_records(create_batch({"x": cells}), [column], row=100)


ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("values", [ROWS, ROWS[:, 0], ROWS.astype("<U4"), ROWS[:, :0], ROWS[:0]])
def test_row_store_appended_rows_are_returned(in_file, values):
    store = RowStore(values.shape, values.dtype, in_file=in_file)
    for part in np.array_split(values, 3):
        store.append(np.asfortranarray(part))
    store.get_array()
    store.close()
    assert isinstance(store.get_array(), np.memmap) == (in_file and values.size > 0)
    np.testing.assert_array_equal(store.get_array(), values)
    assert store.get_array().dtype == values.dtype


def test_row_store_file_has_no_name_and_is_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = RowStore(ROWS.shape, ROWS.dtype, in_file=True)
    store.append(ROWS)
    assert not list(tmp_path.iterdir())
    store.get_array()[0] = 7  # the array is writable
    store.close()
    np.testing.assert_array_equal(store.get_array()[:2], [[7, 7, 7], ROWS[1]])


@pytest.mark.parametrize("in_file", [False, True])
def test_row_store_other_number_of_rows_is_refused(in_file):
    store = RowStore((12, 3), ROWS.dtype, in_file=in_file)
    store.append(ROWS)
    with pytest.raises(DataError, match="expected 12 rows; got 10: the file is being changed"):
        store.get_array()
    with pytest.raises(DataError, match="expected 12 rows; got more"):
        store.append(ROWS)
    store.close()


def test_row_store_full_disk_is_refused_with_remedy(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "wb", 0))
    store = RowStore(ROWS.shape, ROWS.dtype, in_file=True)
    with pytest.raises(DataError, match="expected room for 120 bytes in .*; set TMPDIR"):
        store.append(ROWS)
    store.close()
