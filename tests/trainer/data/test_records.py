import numpy as np
import pytest

from trainer.data.records import Column, Records, concatenate

COLUMNS = (
    Column("a"),
    Column("c", "category", ("x", "y")),
    Column("b", "boolean"),
    Column("d", "date"),
)


@pytest.fixture
def records():
    return Records(
        COLUMNS,
        np.array([[1, 0], [np.nan, 1], [3, np.nan]], np.float32),
        np.array([[0.0], [86400.5], [np.nan]]),
        np.array([[1], [-1], [0]], np.int32),
    )


def test_inputs_mixed_columns_keep_names_and_gaps(records):
    inputs = records.inputs()
    assert list(inputs) == ["a", "c", "b", "d"]
    assert inputs["c"].tolist() == [["y"], [""], ["x"]]
    assert {name: array.dtype for name, array in inputs.items()} == {
        "a": np.float32,
        "c": object,
        "b": np.float32,
        "d": np.float64,
    }
    np.testing.assert_array_equal(inputs["a"], [[1], [np.nan], [3]])
    np.testing.assert_array_equal(inputs["d"], [[0], [86400.5], [np.nan]])


def test_inputs_all_numbers_are_one_matrix(rng):
    rows = rng.normal(size=(5, 3))
    records = Records.of_numbers("abc", rows)
    assert list(records.inputs()) == ["features"]
    np.testing.assert_array_equal(records.inputs()["features"], rows.astype(np.float32))


def test_concatenate_taken_rows_gives_all_rows(records):
    parts = [records.take(np.array([2, 0])), records.take(slice(1, 2))]
    again = concatenate(parts).take(np.array([1, 2, 0]))
    for name in records.names:
        np.testing.assert_array_equal(again.column(name), records.column(name))


def test_take_mapped_rows_keep_requested_order(tmp_path, rng):
    rows = rng.normal(size=(1000, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    mapped = Records.of_numbers("abcd", rows)
    object.__setattr__(mapped, "numbers", np.load(tmp_path / "x.npy", mmap_mode="r"))
    rows_to_take = rng.choice(1000, 300)
    np.testing.assert_array_equal(mapped.take(rows_to_take).numbers, rows[rows_to_take])


def test_column_unknown_name_raises_key_error(records):
    with pytest.raises(KeyError, match="nope"):
        records.column("nope")
