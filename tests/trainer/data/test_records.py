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


def test_a_graph_gets_each_column_under_its_name_with_gaps_as_gaps(records):
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


def test_columns_of_numbers_are_one_matrix(rng):
    rows = rng.normal(size=(5, 3))
    records = Records.of_numbers("abc", rows)
    assert list(records.inputs()) == ["features"]
    np.testing.assert_array_equal(records.inputs()["features"], rows.astype(np.float32))


def test_rows_are_taken_and_put_together_again(records):
    parts = [records.take(np.array([2, 0])), records.take(slice(1, 2))]
    again = concatenate(parts).take(np.array([1, 2, 0]))
    for name in records.names:
        np.testing.assert_array_equal(again.column(name), records.column(name))


def test_rows_of_a_file_come_in_the_order_asked_for(tmp_path, rng):
    rows = rng.normal(size=(1000, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    mapped = Records.of_numbers("abcd", rows)
    object.__setattr__(mapped, "numbers", np.load(tmp_path / "x.npy", mmap_mode="r"))
    asked = rng.choice(1000, 300)
    np.testing.assert_array_equal(mapped.take(asked).numbers, rows[asked])


def test_a_column_that_is_not_there_is_no_column(records):
    with pytest.raises(KeyError, match="nope"):
        records.column("nope")
