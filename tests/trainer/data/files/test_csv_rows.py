import pytest

from trainer.data.files import csv_rows
from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError


def test_rows_are_called_as_spreadsheets_and_editors_number_them(write):
    source = open_file(write("t.csv", 'a,b\n1,x\n\n2,"two\nlines"\n3,y\n4,z\n'))
    assert source.row_names(0, 1, 2, 3) == [
        "row 2",
        "row 4",
        "row 5 (line 6 of the file)",
        "row 6 (line 7 of the file)",
    ]
    assert source.row_names() == []


def test_without_a_header_the_first_row_is_row_1(write):
    source = open_file(write("t.csv", "1,x\n2,y\n"), ("a", "b"))
    assert source.row_names(1, 0) == ["row 2", "row 1"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_do_not_count(end, write):
    assert open_file(write("t.csv", end.join(["a,b", "1,2", "3,4"]))).row_names(1) == ["row 3"]


def test_rows_far_on_are_counted_from_the_header_alone(write, monkeypatch):
    monkeypatch.setattr(csv_rows, "FARTHEST", 2)
    source = open_file(write("t.csv", "a,b\n1,2\n\n3,4\n"))
    assert source.row_names(0, 1) == ["row 2", "row 3"]


def test_a_ragged_row_after_a_cell_of_two_lines_is_found(write):
    text = 'a,b\n1,"x\ny"\n3,4,5\n'
    with pytest.raises(DataError, match=r"3 columns instead of 2 in row 3 \(line 4 of the file\)"):
        list(open_file(write("t.csv", text)).batches())
