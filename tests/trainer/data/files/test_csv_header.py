import pytest

from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError

REGIONS = [f"{('north', 'south', 'east')[i % 3]},{100 + i}.5,{90 + i}" for i in range(30)]


def lines(header, rows):
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("region,2019,2021,sales", [f"{r},{i * 10}" for i, r in enumerate(REGIONS)]),
        ("region,2021,2022,sales", [f"{r},{i * 10}" for i, r in enumerate(REGIONS)]),
        ("region,2019,2021,kind", [f"{r},{'ab'[i % 2]}" for i, r in enumerate(REGIONS)]),
        # Years among which values fall: the other names say what the line is.
        ("region,2019,2021,sales", [f"a,{1000 + 70 * i},{2100 - i},3" for i in range(30)]),
        ("2019,2021,2024", [f"{i}.5,{i},{i * 3}" for i in range(30)]),
        ("size,10,20,30,sold", [f"{'SML'[i % 3]},{i},{i},{i},{i}" for i in range(30)]),
        ("0,1,2", [f"{i % 2},{i},{i * 2}" for i in range(30)]),
        ("message,spam", ["hello,ham", "buy,spam"] * 20),
        ("id,spam", [f"{i},{('ham', 'spam')[i % 2]}" for i in range(30)]),
        ("region,2019,2021", []),
    ],
)
def test_names_with_years_and_numbers_are_a_header(header, rows, write):
    source = open_file(write("t.csv", lines(header, rows)))
    assert list(source.columns) == header.split(",")
    assert sum(batch.num_rows for batch in source.batches()) == len(rows)


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
def test_a_row_of_data_is_not_taken_for_names(rows, write):
    path = write("t.csv", "\n".join(rows) + "\n")
    with pytest.raises(DataError, match="as in a row of data.* with --names; if these") as refused:
        open_file(path)
    names = [f"c{i}" for i in range(rows[0].count(",") + 1)]
    assert sum(b.num_rows for b in open_file(path, names).batches()) == len(rows)
    # What it says to do if it is a header is taken as said.
    said = str(refused.value).rpartition("--names ")[2].strip("'").split(",")
    source = open_file(path, said)
    assert list(source.columns) == said
    assert sum(batch.num_rows for batch in source.batches()) == len(rows) - 1


def test_names_that_are_the_first_line_are_a_header(write):
    source = open_file(write("t.csv", "a, b\n1,2\n"), ("a", "b"))
    assert [batch.to_pydict() for batch in source.batches()] == [{"a": ["1"], "b": ["2"]}]
