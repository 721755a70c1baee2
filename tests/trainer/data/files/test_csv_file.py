import csv
import gzip
import io

import pytest

from trainer.data.files import csv_file
from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError


def cells(source):
    return [
        row for batch in source.batches() for row in zip(*batch.to_pydict().values(), strict=True)
    ]


def test_cells_come_as_they_are_written(write):
    text = 'a, b ,c\n1,"x, y",\n 2 ,"two\nlines",na\n\n"3","say ""so""",ü\n'
    source = open_file(write("t.csv", text))
    assert source.columns == ("a", "b", "c")
    expected = [row for row in csv.reader(io.StringIO(text)) if row][1:]
    assert cells(source) == [tuple(c or None for c in r) for r in expected]
    assert cells(source) == cells(source)  # again from the first row


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_marks_line_ends_and_packing_change_nothing(mark, end, pack, write):
    content = mark + end.join([b"a,b", b"1,x", b"2,y"])
    source = open_file(write("T.CSV.gz" if pack is gzip.compress else "t.csv", pack(content)))
    assert source.columns == ("a", "b")
    assert cells(source) == [("1", "x"), ("2", "y")]


def test_blocks_end_anywhere(write, monkeypatch):
    lines = [f'{i},"{"é" * (i % 7)}\n",{i * i}' for i in range(500)]
    path = write("t.csv", "\n".join(["a,b,c", *lines]))
    whole = cells(open_file(path))
    monkeypatch.setattr(csv_file, "BLOCK", 64)
    monkeypatch.setattr(csv_file, "COLUMN", 1)
    source = open_file(path)
    assert len(list(source.batches())) > 50
    assert cells(source) == whole
    assert [row[0] for row in whole] == [str(i) for i in range(500)]


def test_names_stand_in_for_a_header(write):
    path = write("t.csv", "1,x\n2,y\n")
    source = open_file(path, ("n", "k"))
    assert source.columns == ("n", "k")
    assert cells(source) == [("1", "x"), ("2", "y")]
    with pytest.raises(DataError, match="got 2 columns instead of 3 in row 1"):
        open_file(path, ("n", "k", "m"))
    with pytest.raises(DataError, match="expected distinct column names; got 'n' twice"):
        open_file(path, ("n", "n"))


GOOD = "x,k\n" + "1,a\n" * 9
FAULTS = [
    ("ragged", GOOD + "1,2,3\n", "got 3 columns instead of 2 in row 11"),
    ("short", GOOD + "1\n", "got 1 column instead of 2 in row 11"),
    ("ragged after blank lines", GOOD + "\n\n1\n", "got 1 column instead of 2 in row 13"),
    (
        "ragged, with semicolons",
        "a;b\n1,5;2\n",
        "2 columns instead of 1 in row 2.*by semicolons: say --delimiter ';' --decimal ,",
    ),
    (
        "encoding",
        GOOD.encode() + b"\xe9,a\n",
        "an invalid byte in line 11; .*'é', say --encoding cp1252",
    ),
    ("encoding of the header", b"caf\xe9,k\n1,2\n", "an invalid byte in line 1"),
    ("UTF-16", GOOD.encode("utf-16"), "looks like UTF-16; say --encoding utf-16,"),
    ("breaks off in a letter", GOOD.encode() + b"1,\xc3", "an invalid byte in line 11"),
    ("empty", "", "Empty CSV file"),
    ("blank", "\n\n", "Empty CSV"),
    ("twice", "x,x\n1,2\n", "got 'x' twice"),
    ("twice but for a space", "x, x\n1,2\n", "got 'x' twice"),
    ("unnamed", "x,,k,\n1,2,3,4\n", "a name for every column; got none for columns 2, 4"),
    ("numbers", "39,13.5,a\n1,2,b\n", "first line; got the numbers '39', '13.5'.*--names"),
    ("tabs", "x\tk\n1\ta\n", "seems to be separated by tabs"),
]


@pytest.mark.parametrize(("name", "content", "said"), FAULTS, ids=[f[0] for f in FAULTS])
def test_faults_are_named(name, content, said, write):
    with pytest.raises(DataError, match=said):
        list(open_file(write("t.csv", content)).batches())


@pytest.mark.parametrize("late", ["1,2,3\n", "1,\xff\n"])
def test_faults_far_into_the_file_are_named_too(late, write):
    content = ("x,k\n" + "1,a\n" * 400_000 + late).encode("latin-1")
    source = open_file(write("t.csv", content))
    with pytest.raises(DataError, match="row 400002|line 400002"):
        list(source.batches())


def test_a_quotation_mark_left_open_is_suspected(write, monkeypatch):
    monkeypatch.setattr(csv_file, "BLOCK", 64)
    monkeypatch.setattr(csv_file, "COLUMN", 1)
    with pytest.raises(DataError, match="a row of more than 64 bytes: is a quotation mark"):
        list(open_file(write("t.csv", 'x,k\n1,a\n"1,' + "a\n1," * 99)).batches())


def test_a_packed_file_that_breaks_off_is_named(write):
    packed = gzip.compress("".join(f"{i},{i * i % 991}\n" for i in range(9999)).encode())
    with pytest.raises(DataError, match=r"t.csv.gz: expected a readable file; Truncated"):
        list(open_file(write("t.csv.gz", packed[:-2000]), ("a", "b")).batches())
