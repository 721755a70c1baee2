import gzip

import pytest

from trainer.data.files import csv_dialect, csv_file
from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError

TABLE = [("Stadt", "Wert"), ("Köln", "1,5"), ("Zürich", "2"), ("a;b", 'x"y')]


def written(sign):
    quoted = [[f'"{c.replace(chr(34), 2 * chr(34))}"' for c in row] for row in TABLE]
    return "".join(sign.join(row) + "\r\n" for row in quoted)


def rows(source):
    return [
        tuple(row)
        for batch in source.batches()
        for row in zip(*batch.to_pydict().values(), strict=True)
    ]


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be"]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_are_read_as_is_said(sign, encoding, pack, write, monkeypatch):
    monkeypatch.setattr(csv_file, "BLOCK", 32)  # letters may be parted anywhere
    monkeypatch.setattr(csv_file, "COLUMN", 1)
    name = "t.csv.gz" if pack is gzip.compress else "t.csv"
    path = write(name, pack(written(sign).encode(encoding)))
    source = open_file(path, delimiter=sign, encoding=encoding)
    assert source.columns == TABLE[0]
    assert rows(source) == TABLE[1:]
    assert source.row_names(0, 2) == ["row 2", "row 4"]


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\n', "\ufeffsep=;\n"])
def test_the_line_that_excel_writes_first_is_taken_at_its_word(line, write):
    source = open_file(write("t.csv", line + "a;b\n1,5;2\n"))
    assert source.columns == ("a", "b")
    # A spreadsheet hides that line, an editor shows it.
    assert source.row_names(0) == ["row 2 (line 3 of the file)"]
    assert rows(source) == [("1,5", "2")]
    with pytest.raises(DataError, match=r"got 3 columns instead of 2 in row 3 \(line 4 of"):
        open_file(write("t.csv", line + "a;b\n1;2\n3;4;5\n"))


PLAIN = "x;kind\n1,5;a\n2,5;b\n"
OTHERS = [
    ("semicolons", PLAIN.encode(), "by semicolons: say --delimiter ';' --decimal ,"),
    ("points", b"x;kind\n1.5;a\n", "by semicolons: say --delimiter ';'$"),
    ("tabs", b"x\tkind\n1\ta\n", "by tabs: say --delimiter tab"),
    ("bars", b"x|kind\n1|a\n", r"by bars: say --delimiter '\|'"),
    # As many commas in each line: no row is ragged.
    (
        "two parts",
        b"a, EUR;kind\n" + b"1,5;a\n" * 3,
        "--delimiter ';' --decimal ,",
    ),
    ("UTF-16", PLAIN.encode("utf-16"), "UTF-16; say --encoding utf-16,"),
    ("UTF-16 without a mark", PLAIN.encode("utf-16-le"), "UTF-16; say --encoding utf-16-le,"),
    ("UTF-16 big end first", PLAIN.encode("utf-16-be"), "UTF-16; say --encoding utf-16-be,"),
    (
        "Latin-1",
        "x,k\n1,Köln\n".encode("latin-1"),
        "line 2; if it reads 'Köln', say --encoding cp1252",
    ),
    ("Windows", "x,k\n1,5 €\n".encode("cp1252"), "line 2; if it reads '€', say --encoding cp1252"),
]


@pytest.mark.parametrize(("name", "content", "said"), OTHERS, ids=[o[0] for o in OTHERS])
def test_what_is_written_otherwise_is_named_with_the_remedy(name, content, said, write):
    with pytest.raises(DataError, match=said):
        list(open_file(write("t.csv", content)).batches())


def test_a_comma_that_is_said_is_not_doubted(write):
    path = write("t.csv", "a, b;c\n" + "1,5;6\n" * 5)
    assert open_file(path, delimiter=",").columns == ("a", "b;c")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_a_file_in_utf_8_is_not_read_as_one_byte_a_letter(encoding, write, monkeypatch):
    monkeypatch.setattr(csv_dialect, "BLOCK", 3)
    with pytest.raises(DataError, match="UTF-8 throughout; say --encoding utf-8"):
        open_file(write("t.csv", "x,k\n1,Köln\n"), encoding=encoding)
    assert open_file(write("t.csv", "x,k\n1,Koeln\n"), encoding=encoding).columns == ("x", "k")


@pytest.mark.parametrize(("encoding", "said"), [("utf-16", "BOM"), ("utf-16-le", "say another")])
def test_another_encoding_than_is_said_is_named(encoding, said, write):
    with pytest.raises(DataError, match=rf"text in {encoding.upper()};.*{said}"):
        open_file(write("t.csv", "x,kind\n1,ab\n" * 9 + "1"), encoding=encoding)


@pytest.mark.parametrize("said", [{"delimiter": ";"}, {"encoding": "cp1252"}])
def test_other_files_have_no_such_choice(said, write):
    with pytest.raises(DataError, match="which only a CSV file has"):
        open_file(write("t.parquet", b""), **said)
