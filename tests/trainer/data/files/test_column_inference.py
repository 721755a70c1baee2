import itertools

import numpy as np
import pyarrow as pa
import pytest

from trainer.data.files import column_inference as module
from trainer.data.files.column_inference import infer_columns
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError

LAST = ["a", "b"]  # a target


def column(rows, cells, **said):
    """What is inferred of a column of these cells, in two batches of any sizes alike."""
    found = []
    for cut in {0, 1, len(cells) // 2, len(cells)}:
        parts = [cells[:cut], cells[cut:]]
        source = rows(*({"x": pa.array(p, pa.string()), "y": ["a"] * len(p)} for p in parts if p))
        found.append(infer_columns(source, ReadOptions(**said))[0])
    assert all(other == found[0] for other in found)
    return found[0]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", " 2.5 ", "-3e2"], "number"),
        (["NA", "1", None], "number"),
        (["true", "FALSE", "?"], "boolean"),
        (["0", "1"], "number"),
        (["true", "1"], "category"),
        (["yes", "No", "YES"], "boolean"),
        (["Y", "n", "?"], "boolean"),
        (["t", "f"], "boolean"),
        (["on", "OFF"], "boolean"),
        (["yes", "yes"], "category"),
        (["no", "maybe", "yes"], "category"),
        (["yes", "n"], "category"),
        (["yes", "false"], "category"),
        (["2020-01-01", "", "2020-01-02T12:00Z"], "date"),
        (["2020-01-01", "2020"], "category"),
        (["01/02/2020"], "category"),
        (["1", "2", "x"], "category"),
        (["x", "1", "2"], "category"),
        (["x", "inf"], "category"),
        (["1", "inf", "x"], "category"),
    ],
)
def test_a_column_is_what_all_its_values_are(cells, kind, rows):
    assert column(rows, cells).kind == kind


def test_what_is_found_is_counted(rows):
    found = column(rows, [" 2", "", "2.0", "-7", "?"])
    assert (found.rows, found.gaps, found.first_gap, found.distinct) == (5, 2, 2, 2)
    assert (found.minimum, found.maximum, found.whole, found.example) == (-7, 2, True, "2")
    assert found.words == ()
    found = column(rows, ["b ", "a", "na", "b"])
    assert (found.gaps, found.first_gap, found.distinct, found.example) == (1, 3, 2, "b")
    assert found.words == ("a", "b")
    assert found.minimum is found.maximum is None
    found = column(rows, ["1970-01-02", "1970-01-01T00:00:01.5"])
    assert (found.minimum, found.maximum, found.whole) == (1.5, 86_400, False)
    assert not column(rows, ["1", "0.5"]).whole


def test_the_value_that_makes_numbers_texts_is_named(rows):
    assert column(rows, ["1", "", "two", "3"]).oddity == "expected numbers; got 'two' in row 3"
    assert column(rows, ["x", "1"]).oddity == ""


def test_many_values_are_more_than_were_counted(rows):
    assert column(rows, [str(i) for i in range(1000)]).distinct == 1000
    assert column(rows, [str(i) for i in range(1001)]).distinct is None


@pytest.mark.parametrize(
    "cells",
    [
        ["b", "a", "b"],  # few enough to be kept
        [f"w{i}" for i in range(2000)],
        [*map(str, range(2000)), "x"],  # texts late
    ],
)
def test_the_words_of_a_group_are_not_kept(cells, rows):
    table = {"x": pa.array(cells, pa.string()), "z": [1] * len(cells), "y": ["a"] * len(cells)}
    found = infer_columns(rows(table), ReadOptions(group="x"))[0]
    assert (found.kind, found.words) == ("category", ())
    assert found.distinct == (2 if len(cells) == 3 else None)
    assert found.example == cells[0]


def test_numbers_that_turn_to_text_late_keep_all_their_texts(rows):
    cells = [str(i) for i in range(5000)]
    source = rows({"x": cells, "y": cells}, {"x": ["late"], "y": ["1"]})
    found = infer_columns(source, ReadOptions())[0]
    assert set(found.words) == {*cells, "late"}
    assert found.distinct == 5001
    assert found.oddity == "expected numbers; got 'late' in row 5001"
    assert found.rows == 5001


def test_what_is_said_is_not_inferred(rows):
    said = ReadOptions(category=("n",), number=("t",), boolean=("b",), date=("d",))
    cells = {"n": ["1", "2"], "t": ["1", ""], "b": ["1", "0"], "d": ["", "2020-01-01"], "y": LAST}
    found = infer_columns(rows(cells), said)
    assert [f.kind for f in found] == ["category", "number", "boolean", "date", "category"]
    assert found[0].words == ("1", "2")
    for kind, called in (("number", "numbers"), ("boolean", "truth values"), ("date", "ISO 8601")):
        with pytest.raises(DataError, match=rf"expected {called}.* in 'x'; got 'odd' in row 4"):
            column(rows, ["", "NA", "?", "odd"], **{kind: ("x",)})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int32(), "number"),
        (pa.float16(), "number"),
        (pa.decimal128(21, 2), "number"),
        (pa.bool_(), "boolean"),
        (pa.date32(), "date"),
        (pa.timestamp("ns", "UTC"), "date"),
        (pa.string(), "number"),
    ],
)
def test_typed_columns_are_what_their_type_says(kind, expected, rows):
    values = pa.array([1, None, 0])
    values = values.cast(pa.timestamp("s")).cast(kind) if expected == "date" else values.cast(kind)
    assert infer_columns(rows({"x": values, "y": ["a"] * 3}), ReadOptions())[0].kind == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([b"1"]),
        pa.array([1], pa.time32("s")),
        pa.array([1], pa.duration("s")),
    ],
)
@pytest.mark.parametrize("said", [(), ("x",)])
def test_types_that_are_none_of_a_table_are_named_unless_dropped(values, said, rows):
    source = rows({"x": values, "z": ["1"], "y": ["a"]})
    with pytest.raises(DataError, match=r"text or dates in 'x'; got .*; convert it, .* --drop x"):
        infer_columns(source, ReadOptions(category=said))
    assert [found.name for found in infer_columns(source, ReadOptions(drop=("x",)))] == ["z", "y"]


def test_a_column_without_a_value_is_named(rows):
    for values in (["", "NA"], pa.nulls(2), pa.array([np.nan] * 2)):
        source = rows({"x": values, "y": LAST})
        with pytest.raises(
            DataError, match="in 'x'; got no value at all; leave it out with --drop x"
        ):
            infer_columns(source, ReadOptions())


@pytest.mark.parametrize("cells", [["1", "-Infinity"], ["1", "1e999"], [1.0, -np.inf]])
def test_an_infinite_number_is_named(cells, rows):
    source = rows({"x": [*cells], "y": LAST}, {"x": cells, "y": LAST})
    with pytest.raises(
        DataError, match="finite numbers in 'x'; got '(-inf|-Infinity|1e999)' in row 2"
    ):
        infer_columns(source, ReadOptions())


def test_a_million_texts_are_refused_before_they_are_read(rows):
    numbers = itertools.count()
    batch = [{"x": [f"id {next(numbers)}" for _ in range(50_000)], "y": ["a"] * 50_000}]
    batch += [{"x": [f"id {next(numbers)}" for _ in range(50_001)], "y": ["a"] * 50_001}]
    source = rows(*batch, *batch[:1] * 18)
    with pytest.raises(DataError, match="at most 100000 different texts in 'x'.*--drop x"):
        infer_columns(source, ReadOptions())
    assert source.asked == 2
    free = rows(*({**part, "z": part["y"]} for part in batch))
    assert infer_columns(free, ReadOptions(target="y", group="x"))[0].distinct is None


def test_long_texts_are_refused_before_they_fill_the_memory(rows, monkeypatch):
    monkeypatch.setattr(module, "MOST_TEXT", 2**12)
    source = rows(*({"x": [f"{i} " + "long" * 2**8], "y": ["a"]} for i in range(9)))
    with pytest.raises(DataError, match="looks like an identifier or free text"):
        infer_columns(source, ReadOptions())
    assert source.asked == 4


def test_a_target_of_truth_values_keeps_its_words(rows):
    found = infer_columns(rows({"x": ["true", "false"], "y": ["True", "False"]}), ReadOptions())
    assert [f.kind for f in found] == ["boolean", "category"]
    assert found[1].words == ("False", "True")


def test_no_rows_are_named(rows):
    with pytest.raises(DataError, match="expected rows under the header; got none"):
        infer_columns(
            rows({"x": pa.array([], pa.string()), "y": pa.array([], pa.string())}), ReadOptions()
        )
