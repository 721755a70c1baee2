import itertools

import numpy as np
import pyarrow as pa
import pytest

from trainer.data.checks.run import check_file_columns
from trainer.data.files import column_kinds
from trainer.data.files.column_inference import add_suspicions, infer_columns
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table
from trainer.data.tables import DataError

TARGET = ["a", "b"]


@pytest.fixture
def infer(create_source):
    """Return a function that infers the profile of a column of texts.

    The profile has to be the same in whichever batches the texts are.
    """

    def infer(cells, **options):
        profiles = []
        for cut in {0, 1, len(cells) // 2, len(cells)}:
            parts = [part for part in (cells[:cut], cells[cut:]) if part]
            batches = [{"x": pa.array(p, pa.string()), "y": ["a"] * len(p)} for p in parts]
            profiles.append(infer_columns(create_source(*batches), ReadOptions(**options))[0])
        assert all(other == profiles[0] for other in profiles)
        return profiles[0]

    return infer


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
def test_infer_column_is_of_the_kind_of_all_its_values(cells, kind, infer):
    assert infer(cells).kind == kind


def test_infer_statistics_are_counted(infer):
    profile = infer([" 2", "", "2.0", "-7", "?"])
    assert (profile.rows, profile.gaps, profile.first_gap, profile.distinct) == (5, 2, 2, 2)
    assert (profile.minimum, profile.maximum, profile.is_whole) == (-7, 2, True)
    assert (profile.example, profile.words) == ("2", ())
    profile = infer(["b ", "a", "na", "b"])
    assert (profile.gaps, profile.first_gap, profile.distinct) == (1, 3, 2)
    assert (profile.example, profile.words) == ("b", ("a", "b"))
    assert profile.minimum is profile.maximum is None
    profile = infer(["1970-01-02", "1970-01-01T00:00:01.5"])
    assert (profile.minimum, profile.maximum, profile.is_whole) == (1.5, 86_400, False)
    assert not infer(["1", "0.5"]).is_whole


def test_infer_value_that_makes_numbers_a_category_is_named(infer):
    assert infer(["1", "", "two", "3"]).oddity == "expected numbers; got 'two' in row 3"
    assert infer(["x", "1"]).oddity == ""


def test_infer_too_many_distinct_values_are_not_counted(infer):
    assert infer([str(i) for i in range(1000)]).distinct == 1000
    assert infer([str(i) for i in range(1001)]).distinct is None


@pytest.mark.parametrize(
    "cells",
    [
        ["b", "a", "b"],  # few enough to be counted
        [f"w{i}" for i in range(2000)],
        [*map(str, range(2000)), "x"],  # becomes a category at the end
    ],
)
def test_infer_group_keeps_no_words(cells, create_source):
    table = {"x": pa.array(cells, pa.string()), "z": [1] * len(cells), "y": ["a"] * len(cells)}
    profile = infer_columns(create_source(table), ReadOptions(group="x"))[0]
    assert (profile.kind, profile.words) == ("category", ())
    assert profile.distinct == (2 if len(cells) == 3 else None)
    assert profile.example == cells[0]


def test_infer_numbers_that_turn_to_texts_late_keep_all_texts(create_source):
    cells = [str(i) for i in range(5000)]
    source = create_source({"x": cells, "y": cells}, {"x": ["late"], "y": ["1"]})
    profile = infer_columns(source, ReadOptions())[0]
    assert set(profile.words) == {*cells, "late"}
    assert profile.distinct == 5001
    assert profile.oddity == "expected numbers; got 'late' in row 5001"
    assert profile.rows == 5001


def test_infer_kind_by_option_is_not_inferred(create_source, infer):
    options = ReadOptions(category=("n",), number=("t",), boolean=("b",), date=("d",))
    cells = {"n": ["1", "2"], "t": ["1", ""], "b": ["1", "0"], "d": ["", "2020-01-01"]}
    profiles = infer_columns(create_source({**cells, "y": TARGET}), options)
    kinds = [profile.kind for profile in profiles]
    assert kinds == ["category", "number", "boolean", "date", "category"]
    assert profiles[0].words == ("1", "2")
    for kind, name in (("number", "numbers"), ("boolean", "truth values"), ("date", "ISO 8601")):
        with pytest.raises(DataError, match=rf"expected {name}.* in 'x'; got 'odd' in row 4"):
            infer(["", "NA", "?", "odd"], **{kind: ("x",)})


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
def test_infer_typed_column_is_of_the_kind_of_its_type(kind, expected, create_source):
    values = pa.array([1, None, 0])
    values = values.cast(pa.timestamp("s")).cast(kind) if expected == "date" else values.cast(kind)
    source = create_source({"x": values, "y": ["a"] * 3})
    assert infer_columns(source, ReadOptions())[0].kind == expected


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
@pytest.mark.parametrize("category", [(), ("x",)])
def test_infer_unsupported_type_is_refused_unless_dropped(values, category, create_source):
    source = create_source({"x": values, "z": ["1"], "y": ["a"]})
    with pytest.raises(DataError, match=r"text or dates in 'x'; got .*; convert it, .* --drop x"):
        infer_columns(source, ReadOptions(category=category))
    profiles = infer_columns(source, ReadOptions(drop=("x",)))
    assert [profile.name for profile in profiles] == ["z", "y"]


def test_infer_column_without_value_is_refused(create_source):
    for values in (["", "NA"], pa.nulls(2), pa.array([np.nan] * 2)):
        source = create_source({"x": values, "y": TARGET})
        with pytest.raises(
            DataError, match="in 'x'; got no value at all; leave it out with --drop x"
        ):
            infer_columns(source, ReadOptions())


@pytest.mark.parametrize("cells", [["1", "-Infinity"], ["1", "1e999"], [1.0, -np.inf]])
def test_infer_infinite_number_is_refused(cells, create_source):
    source = create_source({"x": [*cells], "y": TARGET}, {"x": cells, "y": TARGET})
    with pytest.raises(
        DataError, match="finite numbers in 'x'; got '(-inf|-Infinity|1e999)' in row 2"
    ):
        infer_columns(source, ReadOptions())


def test_infer_too_many_texts_are_refused_before_the_whole_file_is_read(create_source):
    numbers = itertools.count()
    batches = [{"x": [f"id {next(numbers)}" for _ in range(50_000)], "y": ["a"] * 50_000}]
    batches += [{"x": [f"id {next(numbers)}" for _ in range(50_001)], "y": ["a"] * 50_001}]
    source = create_source(*batches, *batches[:1] * 18)
    with pytest.raises(DataError, match="at most 100000 different texts in 'x'.*--drop x"):
        infer_columns(source, ReadOptions())
    assert source.n_batches_read == 2
    source = create_source(*({**batch, "z": batch["y"]} for batch in batches))
    assert infer_columns(source, ReadOptions(target="y", group="x"))[0].distinct is None


def test_infer_long_texts_are_refused_before_they_fill_the_memory(create_source, monkeypatch):
    monkeypatch.setattr(column_kinds, "MAX_CATEGORY_BYTES", 2**12)
    source = create_source(*({"x": [f"{i} " + "long" * 2**8], "y": ["a"]} for i in range(9)))
    with pytest.raises(DataError, match="looks like an identifier or free text"):
        infer_columns(source, ReadOptions())
    assert source.n_batches_read == 4


def test_infer_target_of_truth_values_keeps_its_words(create_source):
    source = create_source({"x": ["true", "false"], "y": ["True", "False"]})
    profiles = infer_columns(source, ReadOptions())
    assert [profile.kind for profile in profiles] == ["boolean", "category"]
    assert profiles[1].words == ("False", "True")


def test_infer_file_without_rows_is_refused(create_source):
    source = create_source({"x": pa.array([], pa.string()), "y": pa.array([], pa.string())})
    with pytest.raises(DataError, match="expected rows under the header; got none"):
        infer_columns(source, ReadOptions())


@pytest.fixture
def suspect(create_source):
    """Return a function that returns the suspicion about a column of texts in two batches."""

    def suspect(cells, **options):
        middle = len(cells) // 2
        parts = [cells[:middle], cells[middle:]]
        source = create_source(*({"x": p, "y": ["a", "b"] * (len(p) // 2)} for p in parts))
        read_options = ReadOptions(**options)
        profiles = infer_columns(source, read_options)
        profiles = add_suspicions(source, profiles, read_options)
        assert profiles[1].suspicion is None
        return profiles[0].suspicion

    return suspect


NUMBERS = [str(i) for i in range(40)]


@pytest.mark.parametrize("place", [0, 7, 39])
def test_suspect_numbers_with_few_other_cells_are_named_with_these_cells(place, suspect):
    cells = [*NUMBERS]
    cells[place] = "lost"
    suspicion = suspect(cells)
    assert f"x: 1 of 40 values are not numbers: 'lost' in row {place + 1}" in suspicion.detail
    assert "and others" not in suspicion.detail
    for option in ("--missing", "--category x", "--number x"):
        assert option in suspicion.remedy
    assert suspect(cells, category=("x",)) is None


def test_suspect_many_odd_cells_are_counted_and_the_first_named(suspect):
    suspicion = suspect(["lost"] * 10 + NUMBERS[:30])
    cells = "'lost' in row 1, 'lost' in row 2, 'lost' in row 3 and others"
    assert suspicion.detail == f"x: 10 of 40 values are not numbers: {cells}"


@pytest.mark.parametrize(
    ("cells", "detail"),
    [
        ([f"{i},5" for i in range(40)], "'0,5' in row 1 has a decimal comma"),
        ([f"{i} €" for i in range(40)], "a currency sign"),
        ([f"{i}%" for i in range(40)], "a percent sign"),
        ([f"1,{i:03},000" for i in range(40)], "thousands separators"),
        ([f"{i + 1},{i:03}" for i in range(40)], "may be a decimal sign or a thousands separator"),
        # A single value whose comma can only be one of them decides for all.
        ([*(f"{i + 1},{i:03}" for i in range(39)), "1,5"], "'1,5' in row 40 has a decimal comma"),
        ([*(f"{i + 1},{i:03}" for i in range(39)), "1,234.5"], "has thousands separators"),
        (
            [*(f"2024-03-{i % 28 + 1:02}" for i in range(39)), "soon"],
            "not ISO 8601 dates: 'soon' in row 40",
        ),
    ],
)
def test_suspect_numbers_and_dates_in_other_notation_are_named(cells, detail, suspect):
    assert detail in suspect(cells).detail


@pytest.mark.parametrize(
    "cells",
    [
        ["red", "green"] * 20,
        ["1", "2", "x", "y", "z", "v", "w", "u", "t", "s"] * 4,
        ["1", "A"] * 20,
        [f"{i}{'ab'[i % 2]}" for i in range(40)],
        [f"A{i}" if i % 2 else f"{i}" for i in range(40)],
        ["2024-01-01", "soon"] * 20,
    ],
)
def test_suspect_texts_are_not_suspected(cells, suspect):
    assert suspect(cells) is None


def test_suspect_decimal_sign_by_option_leaves_only_odd_cells(suspect):
    suspicion = suspect([*(f"{i},5" for i in range(39)), "lost"], decimal=",")
    assert "1 of 40 values are not numbers: 'lost' in row 40" in suspicion.detail


def test_suspect_columns_without_suspicion_are_not_read_again(create_source):
    source = create_source({"x": NUMBERS, "y": ["a", "b"] * 20})
    profiles = infer_columns(source, ReadOptions())
    n_batches_read = source.n_batches_read
    assert add_suspicions(source, profiles, ReadOptions()) == profiles
    assert source.n_batches_read == n_batches_read


def test_load_words_that_no_longer_stand_for_gaps_are_suspected(tmp_path):
    path = tmp_path / "t.csv"
    cells = [str(i / 7) if i % 8 else "NA" for i in range(40)]
    path.write_text("x,y\n" + "".join(f"{c},{'pq'[i % 2]}\n" for i, c in enumerate(cells)))
    (finding,) = check_file_columns(load_table(str(path), ReadOptions(missing=("-9999",))))
    cells = "'NA' in row 2, 'NA' in row 10, 'NA' in row 18 and others"
    assert finding.detail == f"x: 5 of 40 values are not numbers: {cells}"
