"""docs/data.md says how files are read: each of its facts holds for a file that is made here."""

import gzip
import re
from itertools import count

import numpy as np
import pandas as pd
import pytest

from tests.pages.markdown import DOCS, read_page
from trainer.data.checks import REMEDIES, check_table
from trainer.data.read_options import ReadOptions
from trainer.data.sources import SUFFIXES, load_table
from trainer.data.splits import split_table
from trainer.data.tables import DataError

PAGE = read_page("docs/data.md")
ROWS = 300


def list_rows(heading):
    """Return the cells of the rows of the first table under a heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1]
    (table, *_) = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    lines = table.splitlines()[2:]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def list_code(text):
    return re.findall(r"`([^`]+)`", text)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a CSV file of a feature, other columns, and a target."""
    numbers = count()

    def write_columns(columns, target=None, **options):
        rng = np.random.default_rng(1)
        n_rows = len(next(iter(columns.values()))) if columns else ROWS
        target = rng.integers(0, 2, n_rows) if target is None else target
        path = tmp_path / f"{next(numbers)}.csv"
        frame = pd.DataFrame({"noise": rng.normal(size=n_rows), **columns, "y": target})
        frame.to_csv(path, index=False, **options)
        return path

    return write_columns


def read(path, **options):
    return load_table(str(path), ReadOptions(**options))


def find_kinds(table):
    return {column.name: column.kind for column in table.inferred}


def check(path, **options):
    """Return the findings about a file by name."""
    table = read(path, **options)
    found = check_table(table, split_table(table, validation=0.1, test=0.2, seed=0))
    return {finding.name: finding for finding in found}


def repeat(*values):
    return [values[i % len(values)] for i in range(ROWS)]


def list_days(date_format, last_day=28):
    months, days = np.arange(ROWS) % 12 + 1, np.arange(ROWS) % last_day + 1
    return [
        pd.Timestamp(2024, m, d).strftime(date_format) for m, d in zip(months, days, strict=True)
    ]


def test_data_page_lists_every_ending_that_is_read():
    endings = [code for cells in list_rows("Files") for code in list_code(cells[0])]
    assert set(endings) == {*SUFFIXES} - {"-images-idx3-ubyte.gz"} | {".gz"}


def test_data_page_npz_is_read_with_the_columns_shown(tmp_path, rng):
    X = rng.normal(size=(40, 2))
    X[3, 1] = np.nan
    np.savez(tmp_path / "a.npz", X=X, y=repeat(0, 1)[:40])
    table = read(tmp_path / "a.npz")
    assert table.records.names == ("x0", "x1")
    assert np.isnan(table.records.numbers[3, 1])
    assert table.task == "binary"
    np.savez(tmp_path / "b.npz", X=X, y=rng.normal(size=(40, 3)))
    assert read(tmp_path / "b.npz").target.shape == (40, 3)
    np.savez(tmp_path / "c.npz", X=X.astype(object), y=repeat(0, 1)[:40])
    with pytest.raises(DataError, match=r"convert text with \.astype\(str\)"):
        read(tmp_path / "c.npz")


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_data_page_idx_files_have_the_test_rows_of_t10k(tmp_path, rng, packed):
    for prefix, n_rows in (("train", 40), ("t10k", 15)):
        images = rng.integers(0, 256, (n_rows, 2, 3))
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte{packed}", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte{packed}", np.arange(n_rows) % 2)
    for path in (tmp_path, tmp_path / f"train-images-idx3-ubyte{packed}"):
        table = read(path)
        assert (len(table), table.test_rows) == (55, 15)
        assert table.records.names[:4] == ("1x1", "1x2", "1x3", "2x1")


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_data_page_only_null_nan_and_empty_texts_are_gaps_of_parquet_and_arrow(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    texts = repeat("NA", "", None, "x")
    numbers = [np.nan if text is None else 1.0 + i for i, text in enumerate(texts)]
    frame = pd.DataFrame({"text": texts, "number": numbers, "y": repeat("a", "b")})
    (frame.to_parquet if suffix == ".parquet" else frame.to_feather)(path)
    profiles = {column.name: column for column in read(path).inferred}
    assert profiles["text"].words == ("NA", "x")
    assert profiles["text"].gaps == ROWS // 2
    assert profiles["number"].gaps == ROWS // 4


CSV_FILES = {  # the options of the page, a file that needs them, and its first number
    "--delimiter ';'": ("a;b;y\n", "{i},5;1;{c}\n", {"delimiter": ";", "decimal": ","}),
    "--delimiter tab": ("a\tb\ty\n", "{i}\t1\t{c}\n", {"delimiter": "\t"}),
    "--delimiter '\\|'": ("a|b|y\n", "{i}|1|{c}\n", {"delimiter": "|"}),
    "--decimal ,": ("a,b,y\n", '"1.{i:03},5",1,{c}\n', {"decimal": ","}),
    "--decimal .": ("a,b,y\n", '"1,{i:03}.5",1,{c}\n', {"decimal": "."}),
    "--encoding cp1252": ("a,b,y\n", "{i},Zürich{c},{c}\n", {"encoding": "cp1252"}),
    "--names a,b,c": ("", "{i},{i}.5,u{c}\n", {"names": ("a", "b", "c")}),
    "--names region,2019,2021": (
        "region,2019,2021\n",
        "north,{i}2017,2020.{i}\n",
        {"names": ("region", "2019", "2021")},
    ),
}
UNREFUSED = {"--decimal ,", "--decimal .", "--names region,2019,2021"}  # without the option


def test_data_page_lists_the_options_for_csv_files_that_are_tested():
    cells = [cells[1] for cells in list_rows("CSV files that are written otherwise")]
    assert set(CSV_FILES) == {c for cell in cells for c in list_code(cell) if c[:2] == "--"}


@pytest.mark.parametrize("option", CSV_FILES)
def test_data_page_csv_file_is_read_with_its_option(tmp_path, option):
    header, line, options = CSV_FILES[option]
    path = tmp_path / "a.csv"
    lines = [line.format(i=i, c=i % 2) for i in range(ROWS)]
    path.write_text(header + "".join(lines), encoding=options.get("encoding", "utf-8"))
    table = read(path, **options)
    assert len(table) == ROWS
    if option != "--encoding cp1252":
        assert find_kinds(table)[table.records.names[-1]] == "number"
    if option not in UNREFUSED:
        name = option.split()[0]
        with pytest.raises(DataError, match=name):
            read(path)


def test_data_page_line_of_excel_names_the_delimiter(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sep=;\na;b;y\n" + "".join(f"{i};1;{i % 2}\n" for i in range(ROWS)))
    assert read(path).records.names == ("a", "b")


TRUTH_PAIRS = [("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"), ("true", "FALSE")]


def test_data_page_kinds_are_inferred_as_described(write):
    columns = {
        "number": repeat("7", "-2.5", "1e3"),
        "date": list_days("%Y-%m-%d"),
        "category": [*repeat("1")[1:], "x"],
        "ones": repeat(1, 0),
        **{f"is {pair[0]}": repeat(*pair) for pair in TRUTH_PAIRS},
    }
    kinds = find_kinds(read(write(columns)))
    assert {name: kinds[name] for name in ("number", "date", "category")} == {
        name: name for name in ("number", "date", "category")
    }
    assert kinds["ones"] == "number"
    assert {kinds[f"is {pair[0]}"] for pair in TRUTH_PAIRS} == {"boolean"}
    path = write({"ones": repeat(1, 0), "zip": repeat("01067", "99084")})
    assert find_kinds(read(path, boolean=("ones",), category=("zip",))) | {"noise": 0, "y": 0} == {
        "noise": 0,
        "ones": "boolean",
        "zip": "category",
        "y": 0,
    }


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (range(20), "multiclass"),
        (range(21), "regression"),
        (["a", "b"], "binary"),
        ([True, False], "binary"),
        ([0.5, 1.5], "regression"),
    ],
)
def test_data_page_task_follows_from_the_target(write, target, task):
    assert read(write({}, target=repeat(*target))).task == task


def test_data_page_words_of_gaps_are_gaps_in_any_case(write):
    words = list_code(PAGE.split("## Gaps")[1].split("`--missing WORDS`")[0])
    assert len(words) == 9
    for word in (*words, *map(str.swapcase, words)):
        (profile,) = (
            c for c in read(write({"a": repeat(word, "x", "z")})).inferred if c.name == "a"
        )
        assert profile.words == ("x", "z")
    path = write({"a": repeat("-999", "1", "2"), "b": repeat("NA", "x", "z")})
    profiles = {c.name: c for c in read(path, missing=("-999",)).inferred}
    assert profiles["a"].gaps == ROWS // 3
    assert profiles["b"].words == ("NA", "x", "z")
    profiles = {c.name: c for c in read(path, missing=()).inferred}
    assert profiles["b"].words == ("NA", "x", "z")


@pytest.mark.parametrize("column", ["target", "category", "group"])
def test_data_page_word_of_a_gap_in_a_doubtful_column_is_refused_with_its_count(write, column):
    words = repeat(*["NA", *["x", "z"] * 7])
    path = write({"a": words}) if column != "target" else write({}, target=words)
    option = {"category": {"category": ("a",)}, "group": {"group": "a"}, "target": {}}[column]
    with pytest.raises(DataError, match=r"got 'NA' \(20\).*--missing"):
        read(path, **option)


DATES = list_code(PAGE.split("## Dates")[1].split("; the warning")[0])


def test_data_page_dates_shown_are_recognized(write):
    assert DATES == [
        "2024-05-17",
        "2024-05-17T12:30:00Z",
        "2024-05-17 12:30",
        "22/06/2025",
        "22.06.2025",
        "22 Jun 2025",
    ]
    kinds = find_kinds(read(write({f"d{i}": repeat(date) for i, date in enumerate(DATES)})))
    assert [kinds[f"d{i}"] for i in range(len(DATES))] == ["date"] * len(DATES)
    path = write({"d": list_days("%d/%m/%Y", last_day=12)})
    assert find_kinds(read(path))["d"] == "category"
    for options in ({"date_format": ("d=%d/%m/%Y",)}, {"date_format": ("%d/%m/%Y",)}):
        assert find_kinds(read(path, date=("d",), **options))["d"] == "date"


@pytest.mark.parametrize("ticks", [1, 10**3, 10**6, 10**9])
def test_data_page_numbers_are_dates_only_by_an_option(write, ticks):
    path = write({"d": [(1_700_000_000 + 86_400 * i) * ticks for i in range(ROWS)]})
    assert find_kinds(read(path))["d"] in ("number", "precise")
    assert find_kinds(read(path, date=("d",)))["d"] == "date"
    days = write({"d": list_days("%Y%m%d")})
    assert find_kinds(read(days, date=("d",)))["d"] == "date"


def test_data_page_texts_have_one_spelling(write):
    texts = repeat(" a ", "e\u0301", "1.0", "007")
    (profile,) = (c for c in read(write({"t": texts})).inferred if c.name == "t")
    assert profile.words == ("007", "1", "a", "\u00e9")


def test_data_page_index_of_pandas_is_left_out(tmp_path):
    frame = pd.DataFrame({"a": repeat(1.5, 2.5, 7), "y": repeat("a", "b")})
    frame.to_csv(tmp_path / "a.csv")
    frame.to_csv(tmp_path / "b.csv", index_label="Unnamed: 0")
    frame.set_index(frame.index + 5).to_parquet(tmp_path / "c.parquet")
    for file in ("a.csv", "b.csv", "c.parquet"):
        assert read(tmp_path / file).records.names == ("a",)
    table = read(tmp_path / "b.csv", number=("Unnamed: 0",))
    assert table.records.names == ("Unnamed: 0", "a")


def make_alternating(*values):
    return {"columns": {"a": repeat(*values)}}


def make_repeated_rows():
    return {"columns": {"a": repeat(*range(20)), "noise": repeat(*range(20))}}


def make_leak():
    target = np.random.default_rng(1).integers(0, 2, ROWS)
    return {"columns": {"a": target * 2.0 + np.arange(ROWS) % 2 / 4}, "target": target}


WARNINGS = {  # a file that each warning is about, and options for reading it
    "identifier_column": {"columns": {"a": [f"C{i}" for i in range(ROWS)]}},
    "leaking_column": make_leak(),
    "numbers_as_text": make_alternating("1,5", "2,75", "3,5", "4,5"),
    "dates_as_text": {"columns": {"a": list_days("%d/%m/%Y", last_day=12)}},
    "recognized_dates": {"columns": {"a": list_days("%d/%m/%Y")}},
    "number_like_date": {"columns": {"a": list_days("%Y%m%d")}},
    "leading_zeros": make_alternating("01067", "99084", "10115"),
    "index_column": {"columns": {"Unnamed: 0": range(ROWS)}},
    "constant_column": make_alternating(3),
    "duplicate_column": {"columns": {"a": repeat(1.5, 2, 7), "b": repeat(1.5, 2, 7)}},
    "duplicate_rows": make_repeated_rows(),
    "rare_class": {"columns": {}, "target": [*"ccccccc", *repeat("a", "b")[7:]]},
    "class_variants": {"columns": {}, "target": repeat("yes", "no", "Yes")},
    "category_variants": make_alternating("Ghent", "ghent", "Cork"),
    "unseen_categories": {
        "columns": {"a": [f"week {i // 10}" for i in range(ROWS)], "t": range(ROWS)},
        "options": {"time": "t"},
    },
    "merged_column": {"columns": {"a": [f"shop {i // 5}" for i in range(3000)]}},
    "many_categories": {
        "columns": {"a": [f"{i // 4} x" for i in range(4100)]},
    },
    "mostly_missing_column": {"columns": {"a": [*["1", "2"] * 5, *[None] * (ROWS - 10)]}},
    "sentinel_value": make_alternating(-9999, *range(1, 40)),
    "precise_column": {"columns": {"a": 4e8 + np.arange(ROWS) * 1.0}},
    "imprecise_column": {
        "columns": {"a": 4e8 + np.arange(ROWS) * 1.0},
        "options": {"number": ("a",)},
    },
    "huge_integer": {"columns": {"a": [2**58 + 2**20 * i * i for i in range(ROWS)]}},
}
WARNING_ROWS = {list_code(cells[0])[0]: cells[1:] for cells in list_rows("Warnings")}


def test_data_page_lists_every_warning():
    assert set(WARNING_ROWS) == set(WARNINGS) == {*REMEDIES, "numbers_as_text"}


def matches(quoted, text):
    """Return whether a text begins with a quoted one, in which … stands for what varies."""
    pattern = ".+?".join(map(re.escape, re.split(r"\s*…", quoted)))
    return re.match(pattern, text) is not None


@pytest.mark.parametrize("name", WARNINGS)
def test_data_page_warning_is_given_with_the_text_shown(write, name):
    case = WARNINGS[name]
    path = write(case["columns"], case.get("target"))
    finding = check(path, **case.get("options", {}))[name]
    quoted, _ = WARNING_ROWS[name]
    assert any(matches(text, finding.detail) for text in list_code(quoted)), finding.detail


@pytest.mark.parametrize("name", WARNINGS)
def test_data_page_remedy_names_options_of_the_warning(write, name):
    case = WARNINGS[name]
    remedy = check(write(case["columns"], case.get("target")), **case.get("options", {}))[name]
    shown = {option for code in list_code(WARNING_ROWS[name][1]) for option in code.split()[:1]}
    options = {option for option in shown if option.startswith("--")} - {"--decimal"}
    assert options <= set(re.findall(r"--[a-z-]+", f"{remedy.remedy} {remedy.detail} --missing"))


def test_data_page_numbers_with_a_few_texts_are_reported_with_the_cells(write):
    finding = check(write({"a": ["?x", *range(1, ROWS)]}))["numbers_as_text"]
    _, quoted = list_code(WARNING_ROWS["numbers_as_text"][0])
    assert matches(quoted, finding.detail)


LIMITS = {  # a file beyond each limit of the page, and what the error says
    "rows": ({"a": range(9)}, ["a", "b", "b"] * 3, "at least 10 rows"),
    "classes": ({}, ["c"] * 4 + repeat("a", "b")[4:], "at least 5 rows of every class"),
    "different texts of a category": (
        {"a": [f"x{i}" for i in range(100_001)]},
        None,
        "at most 100000 different texts in 'a', of 16777216 bytes",
    ),
    "numbers": ({"a": repeat(1, 3e39)}, None, "float32 can hold"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_data_page_limit_holds(write, name):
    columns, target, message = LIMITS[name]
    assert name in [cells[0] for cells in list_rows("Limits")]
    with pytest.raises(DataError, match=message):
        read(write(columns, target))


def test_data_page_rows_are_numbered_as_in_a_spreadsheet(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b,y\n"1\n1",2,3\n\n\n1,2,3,4\n')
    with pytest.raises(DataError, match=r"in row 5 \(line 6 of the file\)"):
        read(path)


@pytest.mark.parametrize("value", [[1, 2], {"b": 1}, b"x"], ids=["list", "struct", "bytes"])
def test_data_page_nested_types_and_bytes_in_parquet_are_refused(tmp_path, value):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"a": [value] * 20, "y": [1, 2] * 10}).to_parquet(path)
    with pytest.raises(DataError, match="expected numbers, truth values, text or dates in 'a'"):
        read(path)


def test_data_page_example_file_exists():
    assert (DOCS / "people.csv").is_file()
