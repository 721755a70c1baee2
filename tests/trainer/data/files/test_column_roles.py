import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.feather import write_feather

from trainer.data.files.column_roles import assign_roles, find_index
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table
from trainer.data.tables import DataError


@pytest.fixture
def source(create_source):
    return create_source({name: ["1"] for name in "abcde"})


def test_assign_roles_last_column_is_the_target_by_default(source):
    roles = assign_roles(source, ReadOptions())
    assert (roles.target, roles.features) == ("e", tuple("abcd"))
    roles = assign_roles(source, ReadOptions(target="c", drop=("e",), group="d"))
    assert (roles.target, roles.features, roles.group) == ("c", ("a", "b"), "d")


@pytest.mark.parametrize("options", [ReadOptions(drop=("e",)), ReadOptions(group="e")])
def test_assign_roles_last_column_with_another_role_is_refused(options, source):
    with pytest.raises(DataError, match=r"got the last column, 'e'.*choose another with --target"):
        assign_roles(source, options)


def test_assign_roles_time_is_a_feature_unless_dropped(source):
    assert assign_roles(source, ReadOptions(time="a")).features == tuple("abcd")
    roles = assign_roles(source, ReadOptions(time="a", drop=("a",)))
    assert roles.features == tuple("bcd")
    assert roles.columns == set("abcde")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ReadOptions(target="f"), "expected a target out of 'a', 'b', 'c', 'd', 'e'; got 'f'"),
        *(
            (ReadOptions(**{name: value}), "columns out of 'a', 'b', 'c', 'd', 'e'; got 'f'")
            for name, value in {
                "drop": ("a", "f"),
                "number": ("f",),
                "boolean": ("f",),
                "category": ("f",),
                "date": ("f",),
                "group": "f",
                "time": "f",
            }.items()
        ),
        (ReadOptions(number=("a",), date=("a",)), "expected one kind for 'a'; got two"),
        (
            ReadOptions(target="a", drop=("a",)),
            "the target to be kept; got 'a' among those to drop",
        ),
        (ReadOptions(target="a", group="a"), "another column than the target as group; got 'a'"),
        (ReadOptions(time="e"), "another column than the target as time; got 'e'"),
        (ReadOptions(drop=tuple("abcd")), "expected columns beside the target.*got only 'e'"),
    ],
)
def test_assign_roles_contradictory_options_are_refused(options, message, source):
    with pytest.raises(DataError, match=message):
        assign_roles(source, options)


FRAME = pd.DataFrame({"x": [float(i * i % 17) for i in range(30)], "kind": list("ab") * 15})
SHUFFLED = FRAME.sample(frac=1, random_state=0)
NAMED = SHUFFLED.rename_axis("key")
MULTIPLE = FRAME.set_index(
    pd.MultiIndex.from_arrays([[7, *range(29)], SHUFFLED.index], names=["i", None])
)
WRITERS = {
    "t.parquet": lambda frame, path: frame.to_parquet(path),
    "t.feather": lambda frame, path: write_feather(pa.Table.from_pandas(frame), str(path)),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("frame", "index"),
    [
        (FRAME, ()),  # a range, for which pandas writes no column
        (SHUFFLED, ("__index_level_0__",)),
        (NAMED, ("key",)),
        (MULTIPLE, ("i", "__index_level_1__")),
    ],
)
def test_load_index_of_pandas_is_left_out(name, frame, index, tmp_path):
    WRITERS[name](frame, tmp_path / name)
    table = load_table(str(tmp_path / name))
    assert (table.records.names, table.target_names, table.index) == (("x",), ("kind",), index)


@pytest.mark.parametrize(
    ("options", "features", "target"),
    [
        (dict(target="key"), ("x", "kind"), "key"),
        (dict(number=("key",), target="kind"), ("x", "key"), "kind"),
        (dict(time="key", target="kind"), ("x", "key"), "kind"),
        (dict(group="key"), ("x",), "kind"),
        (dict(drop=("key",)), ("x",), "kind"),
    ],
)
def test_load_index_that_an_option_names_is_an_ordinary_column(options, features, target, tmp_path):
    NAMED.to_parquet(tmp_path / "t.parquet")
    table = load_table(str(tmp_path / "t.parquet"), ReadOptions(**options))
    assert (table.records.names, table.target_names, table.index) == (features, (target,), ())


def test_load_csv_with_reserved_name_of_pandas_is_left_out(tmp_path):
    SHUFFLED.rename_axis("__index_level_0__").to_csv(tmp_path / "t.csv")
    assert load_table(str(tmp_path / "t.csv")).index == ("__index_level_0__",)


def create_csv(first_name, start, step=1):
    """Return a file whose first column rises by `step`."""
    rows = [f"{start + step * i},{x},{kind}" for i, (x, kind) in enumerate(FRAME.to_numpy())]
    return "\n".join([f"{first_name},x,kind", *rows]) + "\n"


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1", " "])
@pytest.mark.parametrize("start", [0, 1])
def test_load_unnamed_column_that_counts_rows_is_left_out(name, start, write):
    path = write("t.csv", create_csv(name, start))
    table = load_table(str(path))
    assert (table.records.names, table.index) == (("x",), (name.strip(),))
    assert load_table(str(path), ReadOptions(drop=(name.strip(),))).index == ()


@pytest.mark.parametrize("values", [(2, 1), (0, 2), (-1, 1), (0.5, 1)])
def test_load_unnamed_column_that_does_not_count_rows_is_refused(values, write):
    path = str(write("t.csv", create_csv("", *values)))
    with pytest.raises(DataError, match="none for column 1; name it in the header, or .*--drop ''"):
        load_table(path)
    assert load_table(path, ReadOptions(drop=("",))).records.names == ("x",)
    path = str(write("n.csv", create_csv("Unnamed: 0", *values)))
    assert load_table(path).records.names == ("Unnamed: 0", "x")


def test_load_drop_of_unnamed_column_without_one_changes_nothing(write):
    path = str(write("t.csv", create_csv("n", 3)))
    assert load_table(path, ReadOptions(drop=("",))).records.names == ("n", "x")


def test_find_index_count_with_gap_or_jump_is_not_an_index(create_source):
    numbers = [str(i) for i in range(5)]
    first_part = {"Unnamed: 0": numbers, "y": numbers}
    source = create_source(first_part, {"Unnamed: 0": ["5", "7"], "y": ["1", "2"]})
    assert find_index(source, ReadOptions()) == ()
    source = create_source(first_part, {"Unnamed: 0": ["5", "6"], "y": ["1", "2"]})
    assert find_index(source, ReadOptions()) == ("Unnamed: 0",)
    source = create_source({"Unnamed: 0": ["0", ""], "y": ["1", "2"]})
    assert find_index(source, ReadOptions()) == ()
