"""Tables of the benchmark of defaults: KEEL's files, the rule of choice, the split, the file."""

import numpy as np
import pytest

from benchmarks.defaults.judged_tables import (
    JudgedTable,
    choose_tables,
    classify,
    get_data_set,
    list_files,
)
from benchmarks.defaults.keel_files import parse_keel_text, read_keel_file
from benchmarks.defaults.row_split import split_rows
from benchmarks.defaults.shared_tables import SharedTable, share_table
from trainer.data.records import Column, Records
from trainer.data.tables import make_table

HEADER = """@relation 'made up'
@ATTRIBUTE width real[0.5, 9.0]
@attribute colour{red, green , blue}
@attribute 'ring count' integer [1, 29]
@attribute kind {good,bad}
@inputs width, colour, 'ring count'
@outputs kind
@data
"""
ROWS = [
    f"{0.5 + i / 10}, {'red' if i % 2 else 'green'}, {i}, {'good' if i % 3 else 'bad'}"
    for i in range(15)
]


def make_rows(*first):
    return "\n".join([*first, *ROWS])


def test_keel_header_names_and_types_are_those_of_the_attributes():
    table = parse_keel_text(HEADER + make_rows(), "made-up")
    assert table.records.columns == (
        Column("width"),
        Column("colour", "category", ("green", "red")),
        Column("ring count"),
    )
    assert table.target_names == ("kind",)
    assert table.task == "binary"
    assert table.target.tolist() == ["good" if i % 3 else "bad" for i in range(15)]
    np.testing.assert_array_equal(table.records.column("ring count"), np.arange(15))
    np.testing.assert_array_equal(table.records.column("colour"), np.arange(15) % 2)


def test_keel_header_order_of_inputs_is_that_of_the_rows():
    head = HEADER.replace("@inputs width, colour, 'ring count'", "@input 'ring count', width")
    assert parse_keel_text(head + make_rows(), "made-up").records.names == ("width", "ring count")


def test_keel_header_without_inputs_and_outputs_predicts_the_last_attribute():
    head = "".join(line for line in HEADER.splitlines(True) if "puts" not in line)
    table = parse_keel_text(head + make_rows(), "made-up")
    assert (table.records.names, table.target_names) == (
        ("width", "colour", "ring count"),
        ("kind",),
    )


def test_keel_header_output_is_a_number_gives_a_regression():
    head = HEADER.replace("@inputs width, colour, 'ring count'", "@inputs colour, kind")
    table = parse_keel_text(head.replace("@outputs kind", "@outputs width") + make_rows(), "a")
    assert table.task == "regression"
    np.testing.assert_allclose(table.target[:, 0], [0.5 + i / 10 for i in range(15)])


@pytest.mark.parametrize("gap", ["?", "<null>", "", " ? "])
def test_keel_gap_is_missing_in_both_kinds_of_column(gap):
    table = parse_keel_text(HEADER + make_rows(f"{gap},{gap},7,good"), "made-up")
    assert np.isnan(table.records.column("width")[0])
    assert table.records.column("colour")[0] == -1
    assert table.records.column("ring count")[0] == 7


def test_keel_row_without_a_target_is_left_out():
    assert len(parse_keel_text(HEADER + make_rows("1.0,red,7,?"), "made-up")) == 15


@pytest.mark.parametrize(
    "damage", ["0", "1.0,red", "\x1a", "", "   ", "% a comment, of, four, cells"]
)
def test_keel_incomplete_row_is_left_out(damage):
    for head in (HEADER, ""):
        text = (head + make_rows() + f"\n{damage}\n").replace("\n", "\r\n")
        assert len(parse_keel_text(text, "made-up")) == 15


def test_keel_no_header_column_with_a_text_is_a_category():
    table = parse_keel_text(make_rows("?,7,1e3,good", "9,red,nan,bad"), "made-up")
    assert [column.kind for column in table.records.columns] == ["number", "category", "category"]
    assert table.records.columns[1].words == ("7", "green", "red")
    table = parse_keel_text(make_rows("?,?,1e3,good"), "made-up")
    assert [column.kind for column in table.records.columns] == ["number", "category", "number"]
    assert table.records.column("column_3")[0] == 1000


def test_keel_no_header_numbers_in_the_last_column_are_classes():
    rows = [f"{i},{float(i % 2 * 2 - 1)}" for i in range(15)]
    table = parse_keel_text("\n".join(rows), "made-up")
    assert (table.task, set(table.target)) == ("binary", {"-1", "1"})


def test_keel_no_rows_raises():
    for text in ("", HEADER, "?\n"):
        with pytest.raises(ValueError, match="made-up: expected"):
            parse_keel_text(text, "made-up")


def test_read_keel_file_names_the_table_after_the_file(tmp_path):
    (tmp_path / "car-good.dat").write_text(HEADER + make_rows())
    assert read_keel_file(tmp_path / "car-good.dat").source == "car-good"


def test_list_files_lists_only_names_that_begin_with_a_to_m(tmp_path):
    for kind, names in {"balanced": "abmnz", "imbalanced": "cN"}.items():
        folder = tmp_path / "data" / kind / "raw"
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.dat").touch()
        (folder / "d.txt").touch()
    assert [path.stem for path in list_files(tmp_path)] == ["a", "b", "c", "m"]


@pytest.mark.parametrize(
    ("name", "data_set"),
    [
        ("glass-0-1_vs_2", "glass"),
        ("glass5", "glass"),
        ("kr-vs-k-one_vs_fifteen", "kr"),
        ("crx", "australian"),
        ("cleveland-0_vs_4", "heart"),
        ("iris0", "iris"),
    ],
)
def test_get_data_set_is_one_name_for_all_variants(name, data_set):
    assert get_data_set(name) == data_set


def make_class_table(counts, *, has_categories=False):
    n = sum(counts)
    target = np.repeat([f"c{i}" for i in range(len(counts))], counts)
    if has_categories:
        columns = (Column("x", "category", ("a", "b")),)
        records = Records(
            columns, np.empty((n, 0), np.float32), codes=np.arange(n, dtype=np.int32)[:, None] % 2
        )
    else:
        records = Records.of_numbers(("x",), np.arange(n)[:, None])
    return make_table(source="made", records=records, target=target, target_names=("y",))


@pytest.mark.parametrize(
    ("counts", "has_categories", "stratum"),
    [
        ((60, 40), False, ("numbers", "small")),
        ((60, 40), True, ("categories", "small")),
        ((180, 20), False, ("numbers", "small")),
        ((181, 20), True, ("imbalanced", "small")),
        ((20, 20, 459), True, ("multiclass", "small")),
        ((20, 20, 460), True, ("multiclass", "medium")),
        ((1000, 999), False, ("numbers", "medium")),
        ((1000, 1000), False, ("numbers", "large")),
    ],
)
def test_classify_finds_the_stratum(counts, has_categories, stratum):
    judged = classify("made", make_class_table(counts, has_categories=has_categories))
    assert (judged.kind, judged.size) == stratum


@pytest.mark.parametrize(
    ("name", "counts"),
    [("made", (300, 19)), ("letter", (60, 60)), ("iris0", (60, 60)), ("magic", (60, 60))],
)
def test_classify_rare_class_or_choice_table_is_left_out(name, counts):
    assert classify(name, make_class_table(counts)) is None


def test_choose_tables_takes_the_first_of_each_stratum_and_each_data_set_once():
    table = make_class_table((60, 60))
    candidates = [
        JudgedTable(name, kind, size, table)
        for name, kind, size in (
            ("a", "multiclass", "small"),
            ("b1", "numbers", "small"),
            ("b2", "numbers", "small"),
            ("b3", "numbers", "large"),
            ("c", "numbers", "large"),
            ("d", "numbers", "large"),
            ("e", "numbers", "small"),
            ("f", "numbers", "small"),
            ("g", "imbalanced", "medium"),
            ("h", "imbalanced", "medium"),
        )
    ]
    assert [table.name for table in choose_tables(candidates)] == ["b1", "e", "c", "a", "g"]


@pytest.mark.parametrize(
    ("n", "n_train", "n_test"),
    [(160, 120, 40), (4000, 3000, 1000), (6000, 3000, 3000), (20_000, 3000, 5000)],
)
def test_split_rows_sizes_and_class_proportions(n, n_train, n_test):
    target = np.arange(n) % 10 == 0
    train, test = split_rows(target, is_regression=False, seed=1)
    assert (len(train), len(test)) == (n_train, n_test)
    assert len({*train, *test}) == n_train + n_test
    assert target[train].sum() == pytest.approx(n_train / 10, abs=1)
    assert target[test].sum() == pytest.approx(n_test / 10, abs=1)


def test_split_rows_depends_on_the_seed_alone():
    target = np.linspace(0, 1, 200)[:, None]
    first, again, other = (split_rows(target, is_regression=True, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert set(first[0]) != set(other[0])


@pytest.fixture
def mixed_table():
    n = 40
    rng = np.random.default_rng(0)
    columns = (
        Column("a"),
        Column("b", "category", ("u", "v", "w")),
        Column("c", "precise"),
        Column("d", "boolean"),
        Column("e", "category", ("x", "y")),
        Column("f", "date"),
    )
    records = Records(
        columns,
        rng.normal(size=(n, 2)).astype(np.float32),
        rng.uniform(0, 1e9, (n, 1)),
        rng.integers(-1, 2, (n, 2)).astype(np.int32),
        rng.normal(size=(n, 1)) * 1e9,
    )
    target = np.array(["no", "yes"])[np.arange(n) % 2]
    return make_table(source="mixed", records=records, target=target, target_names=("y",))


def test_shared_table_written_and_read_is_the_same_table(mixed_table, tmp_path):
    train, test = np.array([5, 7, 1, 0]), np.array([2, 39])
    shared = share_table(mixed_table, "mixed", train, test)
    shared.write(tmp_path / "table.npz")
    read = SharedTable.read(tmp_path / "table.npz")
    assert read.compute_digest() == shared.compute_digest()
    table, rows = read.to_table(), [5, 7, 1, 0, 2, 39]
    assert table.records.columns == mixed_table.records.columns
    for column in table.records.columns:
        np.testing.assert_array_equal(
            table.records.column(column.name), mixed_table.records.column(column.name)[rows]
        )
    assert table.target.tolist() == [1, 1, 1, 0, 0, 1]
    assert (read.train.tolist(), read.test.tolist(), read.n_classes) == ([0, 1, 2, 3], [4, 5], 2)


def test_shared_table_digest_changes_with_the_split(mixed_table):
    parts = np.array([1, 2, 3]), np.array([4, 5])
    one = share_table(mixed_table, "mixed", *parts)
    other = share_table(mixed_table, "mixed", *parts[::-1])
    assert one.compute_digest() != other.compute_digest()
