import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trainer.data.files import csv_file
from trainer.data.files import ingest as module
from trainer.data.files.column_inference import infer_columns
from trainer.data.files.file_records import ingest, to_records
from trainer.data.files.read_file import read_file
from trainer.data.read_options import ReadOptions
from trainer.data.records import Column
from trainer.data.tables import DataError

COLUMNS = (
    Column("n"),
    Column("k", "category", ("a", "b")),
    Column("flag", "boolean"),
    Column("when", "date"),
    Column("m"),
)
TEXT = {
    "extra": ["x", "y", "z"],
    "m": ["1e3", "NA", "-0.1"],
    "when": ["2020-01-01", "", "1970-01-01T00:00:00.25Z"],
    "flag": ["TRUE", "false", "none"],
    "k": ["b", " a ", "?"],
    "n": [" 16777217", "", "0.1"],
}


def batch(cells):
    return pa.RecordBatch.from_pydict(cells)


def test_texts_become_typed_columns():
    records = to_records(batch(TEXT), COLUMNS)
    assert records.columns == COLUMNS
    nan = np.nan
    expected = np.array([[16777217.0, 1, 1000], [nan, 0, nan], [0.1, nan, -0.1]])
    np.testing.assert_array_equal(records.numbers, expected.astype(np.float32))
    np.testing.assert_array_equal(records.dates, [[1577836800], [nan], [0.25]])
    assert records.codes.tolist() == [[1], [0], [-1]]
    assert (records.numbers.dtype, records.codes.dtype) == (np.float32, np.int32)


def test_typed_columns_are_the_same_records():
    typed = {
        "n": [16777217.0, None, 0.1],
        "m": [1000.0, np.nan, -0.1],
        "flag": [True, False, None],
        "k": ["b", "a", None],
        "when": pa.array([1_577_836_800_000, None, 250], pa.timestamp("ms")),
    }
    one, other = to_records(batch(TEXT), COLUMNS), to_records(batch(typed), COLUMNS)
    for name in ("numbers", "dates", "codes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_words_are_those_of_the_batch_if_none_are_given():
    records = to_records(batch(TEXT), [Column("extra", "category"), Column("k", "category")])
    assert [column.words for column in records.columns] == [("x", "y", "z"), ("a", "b")]
    assert records.inputs()["k"].tolist() == [["b"], ["a"], [""]]


@pytest.mark.parametrize(
    ("column", "cells", "said"),
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
def test_a_value_that_does_not_fit_is_named_with_its_row(column, cells, said):
    with pytest.raises(DataError, match=said):
        to_records(batch({"x": cells}), [column], row=100)


def table_of(rng, n):
    frame = pd.DataFrame(
        {
            "who": rng.integers(0, 40, n).astype(str),
            "size": rng.normal(size=n).round(6),
            "colour": rng.choice(["red", "green", "dark blue"], n),
            "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**6, n), "s"),
            "ok": rng.choice(["true", "false"], n),
            "kind": rng.choice(["a", "bb"], n),
        }
    )
    for name in ("size", "colour", "ok"):
        frame.loc[rng.random(n) < 0.1, name] = None
    return frame


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.feather"])
@pytest.mark.parametrize("in_memory", [module.IN_MEMORY, 0])
def test_a_file_comes_in_as_pandas_reads_it(name, in_memory, rng, tmp_path, monkeypatch):
    frame = table_of(rng, 3000)
    save = {"csv": frame.to_csv, "gz": frame.to_csv, "feather": frame.to_feather}
    extra = {"index": False} if ".csv" in name else {}
    save.get(name.split(".")[-1], frame.to_parquet)(tmp_path / name, **extra)
    monkeypatch.setattr(module, "IN_MEMORY", in_memory)
    monkeypatch.setattr(csv_file, "BLOCK", 5000)
    reading = ReadOptions(group="who", time="seen", boolean=("ok",))
    table = read_file(tmp_path / name, reading)
    assert isinstance(table.records.numbers, np.memmap) == (in_memory == 0)
    assert [(c.name, c.kind) for c in table.records.columns] == [
        ("size", "number"),
        ("colour", "category"),
        ("seen", "date"),
        ("ok", "boolean"),
    ]
    records = table.records
    np.testing.assert_array_equal(records.column("size"), frame["size"].to_numpy(np.float32))
    truths = frame["ok"].map({"true": 1.0, "false": 0.0})
    np.testing.assert_array_equal(records.column("ok"), truths.to_numpy(np.float32))
    seconds = (frame["seen"] - pd.Timestamp(0)).dt.total_seconds()
    np.testing.assert_array_equal(records.column("seen"), seconds)
    np.testing.assert_array_equal(table.times, seconds)
    words = pd.Categorical(frame["colour"])
    assert records.columns[1].words == tuple(words.categories)
    np.testing.assert_array_equal(records.column("colour"), words.codes)
    np.testing.assert_array_equal(table.target, frame["kind"])
    np.testing.assert_array_equal(table.groups, pd.factorize(frame["who"])[0])
    assert [found.name for found in table.inferred] == list(frame)


def target_of(rows, cells, **said):
    source = rows({"x": [str(i) for i in range(len(cells))], "y": cells})
    reading = ReadOptions(**said)
    return ingest(source, infer_columns(source, reading), reading)[1]


@pytest.mark.parametrize(
    ("cells", "said", "expected"),
    [
        (["b", " a"], {}, ["b", "a"]),
        (["True", "FALSE"], {}, ["True", "FALSE"]),
        ([True, False], {}, ["true", "false"]),
        (["1", "0"], {"boolean": ("y",)}, ["true", "false"]),
        (["3", "-7"], {}, [3, -7]),
        (["3", "-7.0"], {}, [3, -7]),
        (["3", "0.5"], {}, [3.0, 0.5]),
        (["3", "1e300"], {}, [3.0, 1e300]),
        (["01", "1"], {"category": ("y",)}, ["01", "1"]),
        ([2, 1], {"category": ("y",)}, ["2", "1"]),
    ],
)
def test_targets_keep_what_they_are(cells, said, expected, rows):
    found = target_of(rows, cells, **said)
    assert found.tolist() == expected
    assert [type(value) for value in found.tolist()] == [type(value) for value in expected]


def test_dates_and_gaps_are_no_targets(rows):
    with pytest.raises(DataError, match="in the target 'y'; got dates; say --category y"):
        target_of(rows, ["2020-01-01", "2020-01-02"])
    with pytest.raises(DataError, match="in every row of 'y'; got 2 missing, the first in row 2"):
        target_of(rows, ["1", "", ""])
    with pytest.raises(
        DataError, match=r"'y'; got 'NA' \(1\), which may be .* --missing ''.* rows"
    ):
        target_of(rows, ["a", "NA", "b"])


@pytest.mark.parametrize("role", ["group", "time"])
def test_gaps_in_what_orders_rows_are_named(role, rows):
    source = rows({"x": ["1", "2"], "t": ["1", ""], "y": ["a", "b"]})
    reading = ReadOptions(**{role: "t"})
    with pytest.raises(DataError, match="in every row of 't'; got 1 missing, the first in row 2"):
        ingest(source, infer_columns(source, reading), reading)


def test_a_time_of_texts_is_named(rows):
    source = rows({"t": ["1", "noon"], "y": ["a", "b"]})
    with pytest.raises(DataError, match="dates or numbers in 't'.*expected numbers; got 'noon' in"):
        ingest(source, infer_columns(source, ReadOptions(time="t")), ReadOptions(time="t"))


def test_a_dropped_time_still_orders_rows(rows):
    source = rows({"t": ["3", "1"], "x": ["5", "6"], "y": ["a", "b"]})
    reading = ReadOptions(time="t", drop=("t",))
    records, _, groups, times = ingest(source, infer_columns(source, reading), reading)
    assert (records.names, groups, times.tolist()) == (("x",), None, [3, 1])


# A tenth of the scale of real ones.
MEASURE = """
import sys
from trainer.data import sources
from trainer.data.files import csv_text, ingest
def used():  # at most so far; what getrusage says of a child begins with its parent's
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
csv_text.BLOCK, csv_text.COLUMN, ingest.IN_MEMORY = 2**16, 1, 2**22
sources.load("digits")
before = used()
table = sources.load(sys.argv[1])
print(len(table), type(table.records.numbers).__name__, used() - before)
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_file_takes_little_memory(tmp_path):
    block = "".join(",".join(str((i * j) % 7) for j in range(40)) + "\n" for i in range(1000))
    header = ",".join(f"x{j}" for j in range(40)) + "\n"
    (tmp_path / "t.csv").write_text(header + block * 100)  # 8 MB, 16 as float32
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "t.csv")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows, kind, used = done.stdout.split()
    assert (rows, kind) == ("100000", "memmap")
    assert int(used) < 30  # MB; 37 if the records were in memory
