import pytest

from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError

REGIONS = [f"{('north', 'south', 'east')[i % 3]},{100 + i}.5,{90 + i}" for i in range(30)]


def join_lines(header, rows):
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("region,2019,2021,sales", [f"{r},{i * 10}" for i, r in enumerate(REGIONS)]),
        ("region,2021,2022,sales", [f"{r},{i * 10}" for i, r in enumerate(REGIONS)]),
        ("region,2019,2021,kind", [f"{r},{'ab'[i % 2]}" for i, r in enumerate(REGIONS)]),
        # The values include these years. The other names show that the line is a header.
        ("region,2019,2021,sales", [f"a,{1000 + 70 * i},{2100 - i},3" for i in range(30)]),
        ("2019,2021,2024", [f"{i}.5,{i},{i * 3}" for i in range(30)]),
        ("size,10,20,30,sold", [f"{'SML'[i % 3]},{i},{i},{i},{i}" for i in range(30)]),
        ("0,1,2", [f"{i % 2},{i},{i * 2}" for i in range(30)]),
        ("message,spam", ["hello,ham", "buy,spam"] * 20),
        ("id,spam", [f"{i},{('ham', 'spam')[i % 2]}" for i in range(30)]),
        ("region,2019,2021", []),
    ],
)
def test_require_header_names_with_years_and_counts_are_accepted(header, rows, write):
    source = open_file(write("t.csv", join_lines(header, rows)))
    assert list(source.columns) == header.split(",")
    assert sum(batch.num_rows for batch in source.iter_batches()) == len(rows)


@pytest.mark.parametrize(
    "rows",
    [
        [f"{20 + i % 40},{i}.5,{'ab'[i % 2]}" for i in range(40)],
        [f"{i % 7 + 5},{i % 7 + 6},{i % 7 + 7}" for i in range(40)],  # 5,6,7
        [f"{39 + i},{('cook', 'nurse')[i % 2]},{('high', 'low')[i % 2]}" for i in range(40)],
        [f"{('cook', 'nurse')[i % 2]},{('high', 'low')[i % 2]}" for i in range(40)],
        [f"{i % 2},{(i + 1) % 2}" for i in range(40)],  # 0,1
        [f"{2020 + i % 5},{2021 + i % 5},{'ab'[i % 2]}" for i in range(40)],
        ["39,?,13", *(f"{i},{i},{i}" for i in range(40))],
        [f"{i * 2},{i},{i % 3}" for i in range(3, 40)],
    ],
)
def test_require_header_row_of_data_is_refused_with_both_remedies(rows, write):
    path = write("t.csv", "\n".join(rows) + "\n")
    with pytest.raises(DataError, match="as in a row of data.* with --names; if these") as refusal:
        open_file(path)
    names = [f"c{i}" for i in range(rows[0].count(",") + 1)]
    assert sum(b.num_rows for b in open_file(path, names).iter_batches()) == len(rows)
    # The option that the message suggests makes the first line a header.
    names = str(refusal.value).rpartition("--names ")[2].strip("'").split(",")
    source = open_file(path, names)
    assert list(source.columns) == names
    assert sum(batch.num_rows for batch in source.iter_batches()) == len(rows) - 1


def test_open_names_equal_to_first_line_make_it_a_header(write):
    source = open_file(write("t.csv", "a, b\n1,2\n"), ("a", "b"))
    assert [batch.to_pydict() for batch in source.iter_batches()] == [{"a": ["1"], "b": ["2"]}]


OTHER_DELIMITERS = [
    ("semicolons", "x;kind\n1,5;a\n2,5;b\n", "by semicolons: use --delimiter ';' --decimal ,"),
    ("points", "x;kind\n1.5;a\n", "by semicolons: use --delimiter ';'$"),
    ("tabs", "x\tkind\n1\ta\n", "by tabs: use --delimiter tab"),
    ("bars", "x|kind\n1|a\n", r"by bars: use --delimiter '\|'"),
    # Every line has as many commas, so no row is ragged.
    ("two parts", "a, EUR;kind\n" + "1,5;a\n" * 3, "--delimiter ';' --decimal ,"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"), OTHER_DELIMITERS, ids=[o[0] for o in OTHER_DELIMITERS]
)
def test_open_other_delimiter_is_refused_with_remedy(name, content, message, write):
    with pytest.raises(DataError, match=message):
        list(open_file(write("t.csv", content)).iter_batches())


def test_open_comma_by_option_is_used_without_suspicion(write):
    path = write("t.csv", "a, b;c\n" + "1,5;6\n" * 5)
    assert open_file(path, delimiter=",").columns == ("a", "b;c")
