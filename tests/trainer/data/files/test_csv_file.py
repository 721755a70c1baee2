import csv
import gzip
import io

import pytest

from trainer.data.files import csv_file
from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError

GERMAN_TABLE = [("Stadt", "Wert"), ("Köln", "1,5"), ("Zürich", "2"), ("a;b", 'x"y')]


def read_rows(source):
    return [
        row
        for batch in source.iter_batches()
        for row in zip(*batch.to_pydict().values(), strict=True)
    ]


def shrink_blocks(monkeypatch, n_bytes):
    """Let blocks end inside cells and characters."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", n_bytes)
    monkeypatch.setattr(csv_file, "BLOCK_BYTES_PER_COLUMN", 1)


def test_iter_batches_any_cells_are_as_the_file_writes_them(write):
    text = 'a, b ,c\n1,"x, y",\n 2 ,"two\nlines",na\n\n"3","say ""so""",ü\n'
    source = open_file(write("t.csv", text))
    assert source.columns == ("a", "b", "c")
    expected = [row for row in csv.reader(io.StringIO(text)) if row][1:]
    assert read_rows(source) == [tuple(c or None for c in r) for r in expected]
    assert read_rows(source) == read_rows(source)  # each time from the first row


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_iter_batches_byte_order_mark_line_end_and_gzip_change_nothing(mark, end, pack, write):
    content = mark + end.join([b"a,b", b"1,x", b"2,y"])
    source = open_file(write("T.CSV.gz" if pack is gzip.compress else "t.csv", pack(content)))
    assert source.columns == ("a", "b")
    assert read_rows(source) == [("1", "x"), ("2", "y")]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_iter_batches_delimiter_and_encoding_options_are_used(
    sign, encoding, pack, write, monkeypatch
):
    shrink_blocks(monkeypatch, 32)
    cells = [[f'"{c.replace(chr(34), 2 * chr(34))}"' for c in row] for row in GERMAN_TABLE]
    text = "".join(sign.join(row) + "\r\n" for row in cells)
    name = "t.csv.gz" if pack is gzip.compress else "t.csv"
    source = open_file(write(name, pack(text.encode(encoding))), delimiter=sign, encoding=encoding)
    assert source.columns == GERMAN_TABLE[0]
    assert read_rows(source) == GERMAN_TABLE[1:]
    assert source.name_rows(0, 2) == ["row 2", "row 4"]


def test_iter_batches_small_blocks_have_the_same_rows(write, monkeypatch):
    lines = [f'{i},"{"é" * (i % 7)}\n",{i * i}' for i in range(500)]
    path = write("t.csv", "\n".join(["a,b,c", *lines]))
    expected = read_rows(open_file(path))
    shrink_blocks(monkeypatch, 64)
    source = open_file(path)
    assert len(list(source.iter_batches())) > 50
    assert read_rows(source) == expected
    assert [row[0] for row in expected] == [str(i) for i in range(500)]


def test_open_names_replace_a_missing_header(write):
    path = write("t.csv", "1,x\n2,y\n")
    source = open_file(path, ("n", "k"))
    assert source.columns == ("n", "k")
    assert read_rows(source) == [("1", "x"), ("2", "y")]
    with pytest.raises(DataError, match="got 2 columns instead of 3 in row 1"):
        open_file(path, ("n", "k", "m"))
    with pytest.raises(DataError, match="expected distinct column names; got 'n' twice"):
        open_file(path, ("n", "n"))


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_open_separator_line_of_excel_sets_the_delimiter(line, write):
    source = open_file(write("t.csv", line + "a;b\n1,5;2\n"))
    assert source.columns == ("a", "b")
    # A spreadsheet hides that line, and an editor shows it.
    assert source.name_rows(0) == ["row 2 (line 3 of the file)"]
    assert read_rows(source) == [("1,5", "2")]
    with pytest.raises(DataError, match=r"got 3 columns instead of 2 in row 3 \(line 4 of"):
        open_file(write("t.csv", line + "a;b\n1;2\n3;4;5\n"))


ROWS = "x,k\n" + "1,a\n" * 9
FAULTS = [
    ("ragged", ROWS + "1,2,3\n", "got 3 columns instead of 2 in row 11"),
    ("short", ROWS + "1\n", "got 1 column instead of 2 in row 11"),
    ("ragged after blank lines", ROWS + "\n\n1\n", "got 1 column instead of 2 in row 13"),
    (
        "ragged, with semicolons",
        "a;b\n1,5;2\n",
        "2 columns instead of 1 in row 2.*by semicolons: use --delimiter ';' --decimal ,",
    ),
    (
        "encoding",
        ROWS.encode() + b"\xe9,a\n",
        "an invalid byte in line 11; .*'é', use --encoding cp1252",
    ),
    ("encoding of the header", b"caf\xe9,k\n1,2\n", "an invalid byte in line 1"),
    ("UTF-16", ROWS.encode("utf-16"), "looks like UTF-16; use --encoding utf-16,"),
    ("breaks off in a letter", ROWS.encode() + b"1,\xc3", "an invalid byte in line 11"),
    ("empty", "", "Empty CSV file"),
    ("blank", "\n\n", "Empty CSV"),
    ("twice", "x,x\n1,2\n", "got 'x' twice"),
    ("twice but for a space", "x, x\n1,2\n", "got 'x' twice"),
    ("unnamed", "x,,k,\n1,2,3,4\n", "a name for every column; got none for columns 2, 4"),
    ("numbers", "39,13.5,a\n1,2,b\n", "first line; got the numbers '39', '13.5'.*--names"),
    ("tabs", "x\tk\n1\ta\n", "seems to be separated by tabs"),
]


@pytest.mark.parametrize(("name", "content", "message"), FAULTS, ids=[f[0] for f in FAULTS])
def test_iter_batches_faulty_file_is_refused_with_its_fault(name, content, message, write):
    with pytest.raises(DataError, match=message):
        list(open_file(write("t.csv", content)).iter_batches())


@pytest.mark.parametrize("line", ["1,2,3\n", "1,\xff\n"])
def test_iter_batches_fault_in_late_row_is_refused_with_its_row(line, write):
    content = ("x,k\n" + "1,a\n" * 400_000 + line).encode("latin-1")
    source = open_file(write("t.csv", content))
    with pytest.raises(DataError, match="row 400002|line 400002"):
        list(source.iter_batches())


def test_iter_batches_open_quotation_mark_is_suspected(write, monkeypatch):
    shrink_blocks(monkeypatch, 64)
    with pytest.raises(DataError, match="a row of more than 64 bytes: is a quotation mark"):
        list(open_file(write("t.csv", 'x,k\n1,a\n"1,' + "a\n1," * 99)).iter_batches())


def test_iter_batches_truncated_gzip_is_refused(write):
    packed = gzip.compress("".join(f"{i},{i * i % 991}\n" for i in range(9999)).encode())
    with pytest.raises(DataError, match=r"t.csv.gz: expected a readable file; Truncated"):
        list(open_file(write("t.csv.gz", packed[:-2000]), ("a", "b")).iter_batches())


TEXT = "x;kind\n1,5;a\n2,5;b\n"
OTHER_ENCODINGS = [
    ("UTF-16", TEXT.encode("utf-16"), "UTF-16; use --encoding utf-16,"),
    ("UTF-16 without a mark", TEXT.encode("utf-16-le"), "UTF-16; use --encoding utf-16-le,"),
    ("UTF-16 big end first", TEXT.encode("utf-16-be"), "UTF-16; use --encoding utf-16-be,"),
    (
        "Latin-1",
        "x,k\n1,Köln\n".encode("latin-1"),
        "line 2; if it reads 'Köln', use --encoding cp1252",
    ),
    ("Windows", "x,k\n1,5 €\n".encode("cp1252"), "line 2; if it reads '€', use --encoding cp1252"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"), OTHER_ENCODINGS, ids=[o[0] for o in OTHER_ENCODINGS]
)
def test_open_other_encoding_is_refused_with_remedy(name, content, message, write):
    with pytest.raises(DataError, match=message):
        list(open_file(write("t.csv", content)).iter_batches())


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_open_utf8_with_option_of_one_byte_encoding_is_refused(encoding, write, monkeypatch):
    monkeypatch.setattr(csv_file, "DECODED_BYTES", 3)
    with pytest.raises(DataError, match="UTF-8 throughout; use --encoding utf-8"):
        open_file(write("t.csv", "x,k\n1,Köln\n"), encoding=encoding)
    assert open_file(write("t.csv", "x,k\n1,Koeln\n"), encoding=encoding).columns == ("x", "k")


@pytest.mark.parametrize(
    ("encoding", "message"), [("utf-16", "BOM"), ("utf-16-le", "choose another")]
)
def test_open_text_not_in_option_encoding_is_refused(encoding, message, write):
    with pytest.raises(DataError, match=rf"text in {encoding.upper()};.*{message}"):
        open_file(write("t.csv", "x,kind\n1,ab\n" * 9 + "1"), encoding=encoding)


def test_name_rows_blank_lines_and_line_breaks_count_as_in_spreadsheets_and_editors(write):
    source = open_file(write("t.csv", 'a,b\n1,x\n\n2,"two\nlines"\n3,y\n4,z\n'))
    assert source.name_rows(0, 1, 2, 3) == [
        "row 2",
        "row 4",
        "row 5 (line 6 of the file)",
        "row 6 (line 7 of the file)",
    ]
    assert source.name_rows() == []


def test_name_rows_without_header_first_row_is_row_1(write):
    source = open_file(write("t.csv", "1,x\n2,y\n"), ("a", "b"))
    assert source.name_rows(1, 0) == ["row 2", "row 1"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_name_rows_any_line_end_gives_the_same_number(end, write):
    assert open_file(write("t.csv", end.join(["a,b", "1,2", "3,4"]))).name_rows(1) == ["row 3"]


def test_name_rows_late_rows_are_counted_without_blank_lines(write, monkeypatch):
    monkeypatch.setattr(csv_file, "MAX_COUNTED_ROWS", 2)
    source = open_file(write("t.csv", "a,b\n1,2\n\n3,4\n"))
    assert source.name_rows(0, 1) == ["row 2", "row 3"]


def test_name_rows_ragged_row_after_line_break_in_cell_has_row_and_line(write):
    text = 'a,b\n1,"x\ny"\n3,4,5\n'
    with pytest.raises(DataError, match=r"3 columns instead of 2 in row 3 \(line 4 of the file\)"):
        list(open_file(write("t.csv", text)).iter_batches())
