import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from trainer.data.files import csv_file, file_records
from trainer.data.files.column_inference import infer_columns
from trainer.data.files.read_file import read_file, read_rows
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError


def create_frame(rng, n):
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
@pytest.mark.parametrize("max_memory", [file_records.MAX_MEMORY_BYTES, 0])
def test_read_file_any_format_is_read_as_pandas_reads_it(
    name, max_memory, rng, tmp_path, monkeypatch
):
    frame = create_frame(rng, 3000)
    save = {"csv": frame.to_csv, "gz": frame.to_csv, "feather": frame.to_feather}
    save_options = {"index": False} if ".csv" in name else {}
    save.get(name.split(".")[-1], frame.to_parquet)(tmp_path / name, **save_options)
    monkeypatch.setattr(file_records, "MAX_MEMORY_BYTES", max_memory)
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 5000)
    options = ReadOptions(group="who", time="seen", boolean=("ok",))
    table = read_file(tmp_path / name, options)
    assert isinstance(table.records.numbers, np.memmap) == (max_memory == 0)
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
    categories = pd.Categorical(frame["colour"])
    assert records.columns[1].words == tuple(categories.categories)
    np.testing.assert_array_equal(records.column("colour"), categories.codes)
    np.testing.assert_array_equal(table.target, frame["kind"])
    np.testing.assert_array_equal(table.groups, pd.factorize(frame["who"])[0])
    assert [profile.name for profile in table.inferred] == list(frame)


@pytest.fixture
def read_target(create_source):
    """Return a function that reads a column of cells as the target."""

    def read_target(cells, **options):
        source = create_source({"x": [str(i) for i in range(len(cells))], "y": cells})
        read_options = ReadOptions(**options)
        return read_rows(source, infer_columns(source, read_options), read_options).target

    return read_target


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
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
def test_read_rows_target_keeps_its_values_and_type(cells, options, expected, read_target):
    target = read_target(cells, **options).tolist()
    assert target == expected
    assert [type(value) for value in target] == [type(value) for value in expected]


def test_read_rows_target_of_dates_or_with_gaps_is_refused(read_target):
    with pytest.raises(DataError, match="in the target 'y'; got dates; use --category y"):
        read_target(["2020-01-01", "2020-01-02"])
    with pytest.raises(DataError, match="in every row of 'y'; got 2 missing, the first in row 2"):
        read_target(["1", "", ""])
    with pytest.raises(
        DataError, match=r"'y'; got 'NA' \(1\), which may be .* --missing ''.* rows"
    ):
        read_target(["a", "NA", "b"])


@pytest.mark.parametrize("role", ["group", "time"])
def test_read_rows_group_or_time_with_gaps_is_refused(role, create_source):
    source = create_source({"x": ["1", "2"], "t": ["1", ""], "y": ["a", "b"]})
    options = ReadOptions(**{role: "t"})
    with pytest.raises(DataError, match="in every row of 't'; got 1 missing, the first in row 2"):
        read_rows(source, infer_columns(source, options), options)


def test_read_rows_time_of_texts_is_refused(create_source):
    source = create_source({"t": ["1", "noon"], "y": ["a", "b"]})
    options = ReadOptions(time="t")
    with pytest.raises(DataError, match="dates or numbers in 't'.*expected numbers; got 'noon' in"):
        read_rows(source, infer_columns(source, options), options)


def test_read_rows_dropped_time_is_read_without_being_a_feature(create_source):
    source = create_source({"t": ["3", "1"], "x": ["5", "6"], "y": ["a", "b"]})
    options = ReadOptions(time="t", drop=("t",))
    rows = read_rows(source, infer_columns(source, options), options)
    assert (rows.records.names, rows.groups, rows.times.tolist()) == (("x",), None, [3, 1])


# The limits are about a tenth of the real ones.
MEASURE_MEMORY = """
import sys
from trainer.data import sources
from trainer.data.files import csv_file, file_records
def read_peak_megabytes():  # getrusage would include the peak of the parent process
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
csv_file.BLOCK_BYTES, csv_file.BLOCK_BYTES_PER_COLUMN = 2**16, 1
file_records.MAX_MEMORY_BYTES = 2**22
sources.load_table("digits")
before = read_peak_megabytes()
table = sources.load_table(sys.argv[1])
print(len(table), type(table.records.numbers).__name__, read_peak_megabytes() - before)
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_read_file_large_file_takes_little_memory(tmp_path):
    block = "".join(",".join(str((i * j) % 7) for j in range(40)) + "\n" for i in range(1000))
    header = ",".join(f"x{j}" for j in range(40)) + "\n"
    (tmp_path / "t.csv").write_text(header + block * 100)  # 8 MB, and 16 MB as float32
    command = [sys.executable, "-c", MEASURE_MEMORY, str(tmp_path / "t.csv")]
    completed = subprocess.run(command, check=True, capture_output=True, text=True)
    n_rows, array_type, megabytes = completed.stdout.split()
    assert (n_rows, array_type) == ("100000", "memmap")
    assert int(megabytes) < 30  # it would be 37 with the records in memory
