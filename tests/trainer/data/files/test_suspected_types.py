import pytest

from trainer.data.checks import check_file_columns
from trainer.data.files.column_inference import infer_columns
from trainer.data.files.suspected_types import suspect
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table


def suspicion(rows, cells, **said):
    """What is suspected of a column of these cells, in two batches."""
    middle = len(cells) // 2
    parts = [cells[:middle], cells[middle:]]
    source = rows(*({"x": part, "y": ["a", "b"] * (len(part) // 2)} for part in parts))
    reading = ReadOptions(**said)
    found = suspect(source, infer_columns(source, reading), reading)
    assert found[1].suspicion is None
    return found[0].suspicion


COUNT = [str(i) for i in range(40)]


@pytest.mark.parametrize("place", [0, 7, 39])
def test_numbers_that_a_few_cells_made_texts_are_named_with_the_cells(place, rows):
    cells = [*COUNT]
    cells[place] = "lost"
    found = suspicion(rows, cells)
    assert f"x: 1 of 40 values are no numbers: 'lost' in row {place + 1}" in found.detail
    assert "and others" not in found.detail
    for option in ("--missing", "--category x", "--number x"):
        assert option in found.remedy
    assert suspicion(rows, cells, category=("x",)) is None


def test_of_many_odd_cells_the_first_are_named_and_all_counted(rows):
    found = suspicion(rows, ["lost"] * 10 + COUNT[:30])
    cells = "'lost' in row 1, 'lost' in row 2, 'lost' in row 3 and others"
    assert found.detail == f"x: 10 of 40 values are no numbers: {cells}"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([f"{i},5" for i in range(40)], "'0,5' in row 1 has a decimal comma"),
        ([f"{i} €" for i in range(40)], "a currency sign"),
        ([f"{i}%" for i in range(40)], "a percent sign"),
        ([f"1,{i:03},000" for i in range(40)], "thousands separators"),
        ([f"{i + 1},{i:03}" for i in range(40)], "may be a decimal sign or a thousands separator"),
        # One of them that can only be the one decides for all.
        ([*(f"{i + 1},{i:03}" for i in range(39)), "1,5"], "'1,5' in row 40 has a decimal comma"),
        ([*(f"{i + 1},{i:03}" for i in range(39)), "1,234.5"], "has thousands separators"),
        (
            [*(f"2024-03-{i % 28 + 1:02}" for i in range(39)), "soon"],
            "no ISO 8601 dates: 'soon' in row 40",
        ),
    ],
)
def test_numbers_and_dates_that_are_written_otherwise_are_named(cells, said, rows):
    assert said in suspicion(rows, cells).detail


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
def test_texts_are_not_suspected(cells, rows):
    assert suspicion(rows, cells) is None


def test_a_decimal_sign_that_is_said_leaves_only_what_is_odd(rows):
    found = suspicion(rows, [*(f"{i},5" for i in range(39)), "lost"], decimal=",")
    assert "1 of 40 values are no numbers: 'lost' in row 40" in found.detail


def test_nothing_is_read_again_for_columns_that_are_well(rows):
    source = rows({"x": COUNT, "y": ["a", "b"] * 20})
    inferred = infer_columns(source, ReadOptions())
    asked = source.asked
    assert suspect(source, inferred, ReadOptions()) == inferred
    assert source.asked == asked


def test_load_words_that_are_gaps_no_more_are_named_as_no_numbers(tmp_path):
    path = tmp_path / "t.csv"
    cells = [str(i / 7) if i % 8 else "NA" for i in range(40)]
    path.write_text("x,y\n" + "".join(f"{c},{'pq'[i % 2]}\n" for i, c in enumerate(cells)))
    (found,) = check_file_columns(load_table(str(path), ReadOptions(missing=("-9999",))))
    assert found.detail == (
        "x: 5 of 40 values are no numbers: 'NA' in row 2, 'NA' in row 10, 'NA' in row 18 and others"
    )
