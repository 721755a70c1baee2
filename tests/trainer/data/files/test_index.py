import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pyarrow.feather import write_feather

from trainer.data.files.index import find_index
from trainer.data.files.file_sources import open_file
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table
from trainer.data.tables import DataError

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
        (FRAME, ()),  # a range, which is no column
        (SHUFFLED, ("__index_level_0__",)),
        (NAMED, ("key",)),
        (MULTIPLE, ("i", "__index_level_1__")),
    ],
)
def test_an_index_that_pandas_wrote_is_left_out(name, frame, index, tmp_path):
    WRITERS[name](frame, tmp_path / name)
    table = load_table(str(tmp_path / name))
    assert (table.records.names, table.target_names, table.index) == (("x",), ("kind",), index)


@pytest.mark.parametrize(
    ("said", "features", "target"),
    [
        (dict(target="key"), ("x", "kind"), "key"),
        (dict(number=("key",), target="kind"), ("x", "key"), "kind"),
        (dict(time="key", target="kind"), ("x", "key"), "kind"),
        (dict(group="key"), ("x",), "kind"),
        (dict(drop=("key",)), ("x",), "kind"),
    ],
)
def test_an_index_that_is_named_is_a_column_like_others(said, features, target, tmp_path):
    NAMED.to_parquet(tmp_path / "t.parquet")
    table = load_table(str(tmp_path / "t.parquet"), ReadOptions(**said))
    assert (table.records.names, table.target_names, table.index) == (features, (target,), ())


def test_the_names_that_pandas_reserves_are_an_index_in_any_file(tmp_path):
    SHUFFLED.rename_axis("__index_level_0__").to_csv(tmp_path / "t.csv")
    assert load_table(str(tmp_path / "t.csv")).index == ("__index_level_0__",)


def text(first, start, step=1):
    rows = [f"{start + step * i},{x},{kind}" for i, (x, kind) in enumerate(FRAME.to_numpy())]
    return "\n".join([f"{first},x,kind", *rows]) + "\n"


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1", " "])
@pytest.mark.parametrize("start", [0, 1])
def test_a_first_column_that_counts_is_an_index(name, start, write):
    path = write("t.csv", text(name, start))
    table = load_table(str(path))
    assert (table.records.names, table.index) == (("x",), (name.strip(),))
    assert load_table(str(path), ReadOptions(drop=(name.strip(),))).index == ()


@pytest.mark.parametrize("values", [(2, 1), (0, 2), (-1, 1), (0.5, 1)])
def test_a_column_without_a_name_that_does_not_count_has_to_be_dropped(values, write):
    path = str(write("t.csv", text("", *values)))
    with pytest.raises(DataError, match="none for column 1; name it in the header, or .*--drop ''"):
        load_table(path)
    assert load_table(path, ReadOptions(drop=("",))).records.names == ("x",)
    named = str(write("n.csv", text("Unnamed: 0", *values)))
    assert load_table(named).records.names == ("Unnamed: 0", "x")


def test_a_count_that_ends_is_no_index(rows):
    numbers = [str(i) for i in range(5)]
    source = rows(
        {"Unnamed: 0": numbers, "y": numbers}, {"Unnamed: 0": ["5", "7"], "y": ["1", "2"]}
    )
    assert find_index(source, ReadOptions()) == ()
    counts = rows(
        {"Unnamed: 0": numbers, "y": numbers}, {"Unnamed: 0": ["5", "6"], "y": ["1", "2"]}
    )
    assert find_index(counts, ReadOptions()) == ("Unnamed: 0",)
    assert find_index(rows({"Unnamed: 0": ["0", ""], "y": ["1", "2"]}), ReadOptions()) == ()


def test_dropping_the_unnamed_changes_nothing_where_all_have_names(write):
    assert load_table(str(write("t.csv", text("n", 3))), ReadOptions(drop=("",))).records.names == (
        "n",
        "x",
    )


@pytest.mark.parametrize(
    "said",
    [b"{", b"[]", b'{"index_columns": 1}', b'{"index_columns": [1, null, "z"]}', b"[" * 9999],
)
def test_metadata_that_say_nothing_change_nothing(said, tmp_path):
    table = pa.Table.from_pandas(FRAME).replace_schema_metadata({b"pandas": said})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    source = open_file(tmp_path / "t.parquet")
    assert (source.columns, source.index) == (("x", "kind"), ())
