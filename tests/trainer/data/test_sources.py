import gzip
from dataclasses import replace

import numpy as np
import pytest

from trainer.config import Config
from trainer.data import records
from trainer.data.packages import PACKAGED
from trainer.data.records import Column
from trainer.data.sources import BUILT_IN, ReadOptions, default_name, load_table
from trainer.data.tables import DataError

ROWS = "\n".join(f"{i},{i * 0.5},{'ab'[i % 2]}" for i in range(20))
CSV = f"x,y,kind\n{ROWS}\n"


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("name", "shape", "task"),
    [
        ("digits", (1797, 64), "multiclass"),
        ("breast_cancer", (569, 30), "binary"),
        ("wine", (178, 13), "multiclass"),
        ("iris", (150, 4), "multiclass"),
        ("diabetes", (442, 10), "regression"),
        ("linnerud", (20, 3), "regression"),
        ("moons", (500, 2), "binary"),
        ("circles", (500, 2), "binary"),
        ("xor", (500, 2), "binary"),
        ("spirals", (500, 2), "binary"),
    ],
)
def test_load_table_built_in_data(name, shape, task):
    table = load_table(name)
    assert table.records.numbers.shape == shape
    assert table.records.numbers.dtype == np.float32
    assert table.task == task
    assert len(table) == len(table.target) == shape[0]


def test_load_table_built_in_data_covers_every_name():
    (cases,) = (m.args[1] for m in test_load_table_built_in_data.pytestmark)
    assert set(BUILT_IN) == {name for name, _, _ in cases} | set(PACKAGED)


def test_load_table_csv_last_column_is_the_target(write):
    table = load_table(write("data.csv", CSV))
    assert table.records.names == ("x", "y")
    assert table.target_names == ("kind",)
    np.testing.assert_array_equal(table.records.numbers[:3], [[0, 0], [1, 0.5], [2, 1]])
    assert table.target[:3].tolist() == ["a", "b", "a"]
    assert table.task == "binary"


def test_load_table_compressed_csv_is_the_same_table(write):
    plain = load_table(write("data.csv", CSV))
    packed = load_table(write("data.csv.gz", gzip.compress(CSV.encode())))
    assert packed.fingerprint() == plain.fingerprint()


def test_load_table_target_may_be_any_column(write):
    numbers = "x,y,z\n" + "\n".join(f"{i},{i * 0.5},{i * 2}" for i in range(30))
    table = load_table(write("data.csv", numbers), ReadOptions(target="y"))
    assert table.records.names == ("x", "z")
    assert table.task == "regression"
    np.testing.assert_array_equal(table.target[:3], [[0], [0.5], [1]])


@pytest.mark.slow
def test_load_table_late_text_makes_a_column_text(write):
    rows = "\n".join(f"{i},{i % 2}" for i in range(200_000))
    with pytest.raises(DataError, match="different texts in 'x'.*got 'late' in row 200002"):
        load_table(write("data.csv", f"x,kind\n{rows}\nlate,1\n"))


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["0", "1"], [0, 1]),
        (["yes", "no"], ["no", "yes"]),
        (["true", "false"], ["false", "true"]),
        (["True", "False"], ["False", "True"]),
        (["3", "7"], [3, 7]),
    ],
)
def test_load_table_classes_keep_their_spelling(cells, classes, write):
    rows = "\n".join(f"{i},{cells[i % 2]}" for i in range(20))
    table = load_table(write("data.csv", f"x,kind\n{rows}\n"))
    assert np.unique(table.target).tolist() == classes
    assert table.task == "binary"


def test_load_table_many_integers_are_a_quantity_by_default(write):
    rows = "\n".join(f"{i},{i % 25}" for i in range(250))
    path = write("data.csv", f"x,n\n{rows}\n")
    assert load_table(path).task == "regression"
    assert load_table(path, ReadOptions(task="classification")).task == "multiclass"


def test_load_table_npz_arrays_become_features_and_target(write_npz, rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    table = load_table(write_npz(X=X, y=y))
    assert table.records.names == ("x0", "x1", "x2", "x3")
    assert table.task == "multiclass"
    np.testing.assert_array_equal(table.records.numbers, X.astype(np.float32))


def test_load_table_min_ten_rows_and_max_twenty_integer_classes(write_npz, rng):
    X = rng.normal(size=(210, 2))
    assert load_table(write_npz(X=X, y=np.arange(210) % 20)).task == "multiclass"
    assert load_table(write_npz(X=X, y=np.arange(210) % 21)).task == "regression"
    assert len(load_table(write_npz(X=X[:10], y=X[:10, 0]))) == 10
    with pytest.raises(DataError, match="at least 10 rows to split and learn from; got 9"):
        load_table(write_npz(X=X[:9], y=X[:9, 0]))


def test_load_table_npz_with_several_targets(write_npz, rng):
    table = load_table(write_npz(X=rng.normal(size=(30, 4)), y=rng.normal(size=(30, 2))))
    assert table.task == "regression"
    assert table.target_names == ("y0", "y1")


def test_load_table_npz_whole_floats_can_be_classes(write_npz, rng):
    path = write_npz(X=rng.normal(size=(30, 4)), y=np.arange(30) % 2 * 1.0)
    assert load_table(path).task == "regression"
    assert np.unique(load_table(path, ReadOptions(task="classification")).target).tolist() == [0, 1]


HEAD = "x,kind\n"
BOTH = "\n".join(f"{i},{'ab'[i % 2]}" for i in range(20)) + "\n"
CSV_FAULTS = [
    ("empty", "", "expected a comma-separated file with a header.*Empty CSV"),
    ("header only", HEAD, "expected rows under the header; got none"),
    ("few rows", HEAD + "1,a\n2,b\n", "expected at least 10 rows.*got 2"),
    ("ragged", HEAD + BOTH + "1,2,3\n", "got 3 columns instead of 2 in row 22"),
    ("semicolons", "x;kind\n1;a\n", "only 'x;kind'; it seems to be separated by semicolons"),
    (
        "decimal commas",
        "x;kind\n1,5;a\n",
        "separated by semicolons: use --delimiter ';' --decimal ,",
    ),
    ("no header", "39,13.5,a\n" * 20, "names in the first line; got the numbers '39', '13.5'"),
    ("no index", ",x,kind\n" + "3,2,a\n", "none for column 1; .*with --drop ''"),
    ("empty column", HEAD + ",a\n" * 20, "'x'; got no value at all; leave it out with --drop x"),
    (
        "gap in the target",
        HEAD + BOTH + "1,\n",
        "row of 'kind'; got 1 missing, the first in row 22",
    ),
    ("too large", HEAD + BOTH + "1e39,a\n", "float32 can hold in 'x'; got '1e39' in row 22"),
    ("infinite", HEAD + BOTH + "-inf,a\n", "finite numbers in 'x'; got '-inf' in row 22"),
    ("twice named", "x,x,kind\n" + "1,1,a\n" * 10, "expected distinct column names; got"),
    ("one class", HEAD + "1,a\n" * 20, "expected at least two classes in kind; got only"),
    ("rare class", HEAD + BOTH + "1,c\n", "at least 5 rows of every class of kind.*fewer of c;"),
    (
        "names as classes",
        HEAD + "".join(f"1,c{i:02}\n" for i in range(13)),
        "c08, c09 and 3 more; merge or drop them; if they are no classes, choose another target",
    ),
    (
        "rare number",
        HEAD + "1,7\n1,8\n" * 10 + "1,9\n",
        "fewer of 9; .*, choose the task regression or another target",
    ),
    ("only a target", "kind\n" + "a\n" * 20, "expected columns beside the target"),
    ("not utf-8", (HEAD + BOTH).encode() + b"1,\xff\n", "got an invalid byte in line 22"),
]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "kind"},
            "values in 'a', 'b, c', 'd'; .*; leave them out with --drop 'a,\"b, c\",d'",
        ),
        ({"target": "a"}, "values in the target 'a'; .*; choose another column with --target"),
        ({"target": "kind", "group": "d"}, "values in the group 'd'; .* with --group"),
        ({"target": "kind", "time": "d"}, "values in the time 'd'; .* with --time"),
    ],
)
def test_load_table_names_all_empty_columns_at_once(options, message, write):
    rows = "".join(f",{i},,{'ab'[i % 2]},\n" for i in range(20))
    path = write("data.csv", f'a,x,"b, c",kind,d\n{rows}')
    with pytest.raises(DataError, match=message):
        load_table(path, ReadOptions(**options))
    drop = Config(data=path, target="kind", drop='a,"b, c",d').get_read_options()
    assert load_table(path, drop).records.names == ("x",)


@pytest.mark.parametrize("drop", ["Revenue, USD", '"Revenue, USD"', ["Revenue, USD"]])
def test_load_table_drops_column_with_comma_in_name(drop, write):
    rows = "".join(f"{i},{i % 5},{'ab'[i % 2]}\n" for i in range(20))
    path = write("data.csv", f'"Revenue, USD",x,kind\n{rows}')
    reading = Config.model_validate({"data": path, "drop": drop}).get_read_options()
    assert load_table(path, reading).records.names == ("x",)


def test_load_table_target_with_decimal_commas_gets_that_advice(write):
    rows = "".join(f'{i},"{i},5"\n' for i in range(20))
    path = write("data.csv", f"x,price\n{rows}")
    with pytest.raises(DataError, match="5 rows of every class.*decimal comma; use --decimal ,"):
        load_table(path)
    target = load_table(path, ReadOptions(decimal=",")).target
    assert target.ravel().tolist() == [i + 0.5 for i in range(20)]


@pytest.mark.parametrize("options", [{"decimal": ","}, {"delimiter": ";"}, {"encoding": "utf-8"}])
def test_load_table_built_in_data_refuse_csv_options(options):
    with pytest.raises(DataError, match="which only a CSV file has"):
        load_table("iris", ReadOptions(**options))


@pytest.mark.parametrize(("name", "content", "message"), CSV_FAULTS, ids=[f[0] for f in CSV_FAULTS])
def test_load_table_csv_faults_are_named(name, content, message, write):
    with pytest.raises(DataError, match=message):
        load_table(write("data.csv", content))


def test_load_table_npz_faults_are_named(write, write_npz, rng, tmp_path):
    X = rng.normal(size=(30, 4))
    for arrays, message in (
        ({"X": X}, "expected arrays named X and y; got X"),
        ({"X": X, "y": np.arange(29)}, "30 rows of features and 29 targets"),
        ({"X": X, "y": np.array([None] * 30)}, "an array of Python objects"),  # a pickle
        ({"X": X[:, 0], "y": np.arange(30)}, "expected X as numbers of shape"),
        ({"X": X.astype(str), "y": np.arange(30)}, "expected X as numbers of shape.*got <U"),
        ({"X": X, "y": np.full(30, np.nan)}, "too large values in 30 rows"),
        ({"X": X, "y": np.arange(30) * 1e300}, "too large values in 29 rows"),
        ({"X": X, "y": np.linspace(-3e38, 3e38, 30)}, "too large values in 2. rows"),
        ({"X": X, "y": 1e9 + np.arange(30) / 10}, "values in y that are too large for how little"),
        ({"X": X, "y": np.full(30, 2.5)}, "got one value throughout in y"),
        ({"X": X, "y": np.arange(30) * 1e-44}, "got one value throughout in y"),
        ({"X": X, "y": np.arange(30, dtype=np.uint64) % 3 + 2**63}, r"up to 2\^53 as classes"),
        ({"X": X, "y": np.array([b"a", b"b"] * 15)}, r"text in y; got \|S1; convert it"),
        ({"X": X, "y": X[:, 0] * 1j}, "got complex128"),
        ({"X": X, "y": np.array(["2020-01-01"] * 30, "M8[D]")}, "got datetime64"),
        ({"X": X, "y": np.array(["", "b"] * 15)}, "a class in every row of y; got none in 15"),
        ({"X": X, "y": np.float64(1)}, "expected y of shape"),
    ):
        with pytest.raises(DataError, match=message):
            load_table(write_npz(**arrays))
    with pytest.raises(DataError, match="expected plain arrays"):
        load_table(write("broken.npz", "no zip"))
    np.savez_compressed(tmp_path / "flipped.npz", X=X, y=np.arange(30))
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    content[100:140] = bytes(40)
    with pytest.raises(DataError, match="expected plain arrays"):
        load_table(write("flipped.npz", bytes(content)))
    with pytest.raises(DataError, match="expected a readable file; zlib"):
        load_table(write("broken.csv.gz", "no gzip"))


@pytest.mark.parametrize("header", ["0,1,2", "label,0,1", "pixel_0,pixel_1,9"])
def test_load_table_numbered_columns_are_a_header(header, write):
    rows = "\n".join(f"{i % 2},{i},{i * 2}" for i in range(40))
    assert load_table(write("data.csv", f"{header}\n{rows}\n")).records.numbers.shape == (40, 2)


def test_load_table_built_in_classes_have_their_names():
    assert np.unique(load_table("iris").target).tolist() == ["setosa", "versicolor", "virginica"]
    assert np.unique(load_table("breast_cancer").target).tolist() == ["benign", "malignant"]
    assert np.unique(load_table("digits").target).tolist() == list(range(10))


def test_load_table_missing_source_or_target_is_named(tmp_path):
    with pytest.raises(
        DataError, match="a folder with train-images-idx3-ubyte; got .*, a folder without it"
    ):
        load_table(str(tmp_path))
    with pytest.raises(DataError, match=r"got 'digit', which is neither; did you mean digits\?$"):
        load_table("digit")
    with pytest.raises(DataError, match="no target column.*got 'x'"):
        load_table("digits", ReadOptions(target="x"))


def test_load_table_unknown_endings_and_targets_are_refused(write):
    with pytest.raises(DataError, match=r"ending in .csv, .csv.gz, .parquet, .*; got data.txt"):
        load_table(write("data.txt", CSV))
    with pytest.raises(DataError, match="expected a target out of 'x', 'y', 'kind'; got 'z'"):
        load_table(write("data.csv", CSV), ReadOptions(target="z"))
    with pytest.raises(DataError, match="classification or regression; got 'clustering'"):
        load_table(write("data.csv", CSV), ReadOptions(task="clustering"))
    with pytest.raises(DataError, match="expected numbers to regress on in kind; got text"):
        load_table(write("data.csv", CSV), ReadOptions(task="regression"))


def test_load_table_text_gaps_and_dates_are_features(write):
    rows = "\n".join(f"{i or ''},{'uv'[i % 2]},2020-01-{i + 1:02},{'ab'[i % 2]}" for i in range(20))
    table = load_table(write("data.csv", f"x,word,day,kind\n{rows}\n"))
    assert [(c.name, c.kind) for c in table.records.columns] == [
        ("x", "number"),
        ("word", "category"),
        ("day", "date"),
    ]
    assert np.isnan(table.records.column("x")).tolist() == [True] + [False] * 19
    assert [found.name for found in table.inferred] == ["x", "word", "day", "kind"]


def test_load_table_columns_may_be_named_dropped_and_overridden(write):
    rows = "\n".join(f"{i},{i % 3},{'ab'[i % 2]},{i}" for i in range(20))
    reading = ReadOptions(names=("id", "level", "kind", "when"), target="kind", drop=("id",))
    table = load_table(write("data.csv", rows), replace(reading, category=("level",), time="when"))
    assert table.records.columns == (Column("level", "category", ("0", "1", "2")), Column("when"))
    assert table.times.tolist() == list(range(20))
    assert (table.groups, table.target_names) == (None, ("kind",))
    with pytest.raises(DataError, match="expected no drop column, since iris defines its own"):
        load_table("iris", ReadOptions(drop=("x",)))


def test_fingerprint_does_not_depend_on_slices(write, monkeypatch):
    whole = load_table(write("a.csv", CSV)).fingerprint()
    monkeypatch.setattr(records, "SLICE_BYTES", 16)
    assert load_table(write("a.csv", CSV)).fingerprint() == whole


def test_fingerprint_changes_with_the_data(write):
    one = load_table(write("a.csv", CSV)).fingerprint()
    assert load_table(write("b.csv", CSV)).fingerprint() == one
    assert load_table(write("c.csv", CSV.replace("19,", "20,"))).fingerprint() != one
    assert load_table(write("d.csv", CSV.replace(",b", ",c"))).fingerprint() != one
    assert load_table(write("e.csv", CSV.replace("x,y", "x,z"))).fingerprint() != one


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("digits", "digits"),
        ("a/people.csv", "people"),
        ("p.csv.gz", "p"),
        ("x.y.npz", "x.y"),
        ("my data (2).csv", "my-data-2"),
        (".csv", "model"),
        ("My.CSV", "My"),
        ("A.Csv.GZ", "A"),
        ("ü.csv", "model"),
        ("a" * 99, "a" * 64),
        ("a/b.parquet", "b"),
        ("b.Arrow", "b"),
        ("mnist/t10k-images-idx3-ubyte.gz", "t10k"),
    ],
)
def test_default_name_is_that_of_the_file(data, name):
    assert default_name(data) == name


def test_load_table_missing_file_names_similar_files(write, tmp_path, monkeypatch):
    for name in ("people.csv", "orders.parquet", "notes.txt"):
        write(name, "x")
    for path, ending in {
        "peple.csv": "did you mean {}/people.csv?",
        "People.parquet": "did you mean {}/people.csv?",
        "orders.csv": "did you mean {}/orders.parquet?",
        "notes.csv": "which is neither; the built-in names are listed by trainer fit --help",
        "no/people.csv": "which is neither: there is no folder '{}/no'",
    }.items():
        with pytest.raises(DataError) as error:
            load_table(str(tmp_path / path))
        assert str(error.value).endswith(ending.format(tmp_path))
        assert f"got '{tmp_path / path}'" in str(error.value)
    (tmp_path / "link.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="it is a link to a file that does not exist"):
        load_table(str(tmp_path / "link.csv"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"got 'peple.csv', which is neither; did you mean people"):
        load_table("peple.csv")
    with pytest.raises(DataError, match=r"did you mean iris\?"):
        load_table("iris.csv")
