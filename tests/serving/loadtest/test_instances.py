"""Rows that are drawn, and rows of a file."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pytest

from serving import create_app
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.instance_file import InstanceFileError, read_instances
from serving.loadtest.instances import date_to_number, generate_instances
from serving.loadtest.target import LoadTarget, SchemaColumn

COLUMNS = (
    SchemaColumn("age", "number", True, True, 17.0, 90.0),
    SchemaColumn("hours/week", "number", False, False, 1.25, 99.0),
    SchemaColumn("member", "boolean", True),
    SchemaColumn(
        "work",
        "category",
        True,
        categories=("Private", "Self-employed", "State"),
        takes_unseen=True,
    ),
    SchemaColumn("grade", "category", False, categories=("1", "2", "3")),
    SchemaColumn("since", "date", True, False, "2000-01-01", "2024-12-31"),
)
RECORD = {
    "age": 39,
    "hours/week": 40.5,
    "member": True,
    "work": "Private",
    "grade": "2",
    "since": "2012-06-01",
}
HEADER = ",".join(RECORD)


def target_of(*columns):
    return LoadTarget(
        ServerAddress("127.0.0.1", 1),
        "",
        "adults",
        True,
        1,
        "binary",
        ("<=50K", ">50K"),
        ("income",),
        columns,
        {},
        {},
        False,
    )


TARGET = target_of(*COLUMNS)


def values(column, count, rng):
    return [row[column.name] for row in generate_instances(target_of(column), count, rng)]


def test_every_row_has_every_column_in_order(rng):
    rows = generate_instances(TARGET, 50, rng)
    assert len(rows) == 50
    assert all(list(row) == list(RECORD) for row in rows)
    assert len({json.dumps(row) for row in rows}) == 50
    assert rows == generate_instances(TARGET, 50, np.random.default_rng(0))
    assert rows != generate_instances(TARGET, 50, np.random.default_rng(1))


def test_a_tenth_is_gaps_where_they_are_filled_and_nowhere_else(rng):
    rows = generate_instances(TARGET, 5000, rng)
    for column in COLUMNS:
        gaps = sum(row[column.name] is None for row in rows)
        # Five standard deviations of a binomial distribution.
        assert abs(gaps - 500) < 5 * np.sqrt(450) if column.fills_gaps else gaps == 0


def test_numbers_fill_their_range(rng):
    drawn = np.array(values(SchemaColumn("x", "number", False, False, -3.5, 1e-3), 2000, rng))
    assert drawn.min() >= -3.5
    assert drawn.max() <= 1e-3
    assert np.ptp(drawn) > 3.4
    assert max(len(str(abs(x))) for x in drawn if abs(x) > 0.1) <= 8


def test_whole_numbers_stay_whole_and_reach_both_ends(rng):
    drawn = values(SchemaColumn("x", "number", False, True, 0.0, 3.0), 500, rng)
    assert {type(x) for x in drawn} == {int}
    assert set(drawn) == {0, 1, 2, 3}


def test_a_range_of_one_number_gives_it(rng):
    assert set(
        values(SchemaColumn("x", "number", False, False, 0.123456789, 0.123456789), 5, rng)
    ) == {0.123456789}
    largest = float(np.finfo(np.float32).max)
    drawn = values(SchemaColumn("x", "number", False, False, -largest, largest), 50, rng)
    assert np.isfinite(np.array(drawn, np.float32)).all()


def test_every_category_comes_and_as_often_as_the_others(rng):
    column = SchemaColumn("c", "category", True, categories=tuple(map(str, range(40))))
    # The gaps are taken from the rows, not from the categories.
    counts = Counter(v for v in values(column, 100, rng) if v is not None)
    assert set(counts) == set(column.categories)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert Counter(values(SchemaColumn("b", "boolean", False), 10, rng)) == {True: 5, False: 5}


def test_dates_are_as_exact_as_their_range_and_within_it(rng):
    days = values(SchemaColumn("d", "date", False, False, "1955-03-01", "1955-03-03"), 200, rng)
    assert {date.fromisoformat(d) for d in days} == {date(1955, 3, d) for d in (1, 2, 3)}
    assert set(
        values(SchemaColumn("d", "date", False, False, "1970-01-01", "1970-01-01"), 9, rng)
    ) == {"1970-01-01"}
    low, high = "2024-05-17", "2024-05-17T12:00:00+00:00"
    moments = values(SchemaColumn("d", "date", False, False, low, high), 200, rng)
    found = [datetime.fromisoformat(m) for m in moments]
    assert min(found) >= datetime.fromisoformat(f"{low}T00:00:00+00:00")
    assert max(found) <= datetime.fromisoformat(high)
    assert len(set(found)) > 190
    low, high = "2024-05-17T12:00:00.25+00:00", "2024-05-17T12:00:00.75+00:00"
    assert len(values(SchemaColumn("d", "date", False, False, low, high), 9, rng)) == 9


def test_the_server_takes_every_row(adults, rng):
    client = create_app(models=adults).test_client()
    for row in generate_instances(TARGET, 200, rng):
        answer = client.post("/predict", json={"instances": [row]})
        assert answer.status_code == 200, answer.json


@pytest.mark.parametrize(
    "text", ["", "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null", "None", "?", " na "]
)
def test_text_that_stands_for_a_gap_is_one_in_a_table(text, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n39,40.5,true,{text},2,2012-06-01\n")
    assert read_instances(path, TARGET) == [RECORD | {"work": None}]


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("FALSE", False), ("0", False)]
)
def test_truth_is_written_as_a_word_or_a_number_in_a_table(text, value, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n39,40.5,{text},Private,2,2012-06-01\n")
    (row,) = read_instances(path, TARGET)
    assert row["member"] is value


GAPPED = RECORD | {"age": None, "since": None}
SPARSE = {"hours/week": 3, "grade": 2}
FILLED = {"age": None, "hours/week": 3, "member": None, "work": None, "grade": "2", "since": None}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (json.dumps({"instances": [RECORD, GAPPED]}), [RECORD, GAPPED]),
        (json.dumps([RECORD, list(RECORD.values())], indent=2), [RECORD, RECORD]),
        (json.dumps(RECORD), [RECORD]),
        (json.dumps(list(RECORD.values())), [RECORD]),
        (f"\n{json.dumps(RECORD)}\n\n{json.dumps(SPARSE)}\n", [RECORD, FILLED]),
        (f"{json.dumps(list(GAPPED.values()))}\r\n{json.dumps(RECORD)}", [GAPPED, RECORD]),
        (f"{HEADER},income\n39,40.5,true,Private,2,2012-06-01,>50K\n", [RECORD]),
        (f'\ufeff{HEADER}\r\nNA,40.5,1,"Private",2,\r\n\r\n', [GAPPED]),
        ("grade,hours/week\n2,3", [FILLED]),
        (
            json.dumps({"instances": [RECORD | {"work": "Ábroad\u2028"}]}, ensure_ascii=False),
            [RECORD | {"work": "Ábroad\u2028"}],
        ),
    ],
)
def test_rows_are_read_of_every_form_of_file(tmp_path, text, rows):
    path = tmp_path / "rows"
    path.write_bytes(text.encode())
    assert read_instances(path, TARGET) == rows


def lines(*records):
    return "\n".join(map(json.dumps, records))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected an instance or more"),
        ("[]", "expected an instance or more"),
        (HEADER, "expected an instance or more"),
        (lines(RECORD, RECORD | {"age": "old"}), "line 2: expected a number .*'age'; got 'old'"),
        (lines(RECORD, RECORD) + "\n{", "line 3: expected JSON"),
        ("{\n1", "line 2: expected JSON"),
        ('{"instances": 1}', "to be a list"),
        (json.dumps([RECORD, 1]), "instance 1: expected a record or a list of values; got 1"),
        (json.dumps([RECORD, [1, 2]]), "instance 1: expected a value for each column, 6; got 2"),
        (lines(RECORD | {"agee": 1}), "instance 0: .*got 'agee'; did you mean 'age'"),
        (lines(RECORD | {"grade": "4"}), "one of '1', '2', '3' in column 'grade'; got '4'"),
        (lines(RECORD | {"grade": None}), "'grade'; got none, and the model fills no gap"),
        (lines({"grade": "2"}), "'hours/week'; got none"),
        (lines(RECORD | {"hours/week": 1e39}), "a number that float32 can hold"),
        (lines(RECORD | {"age": True}), "expected a number"),
        (lines(RECORD | {"member": 2}), "true or false or a gap in column 'member'; got 2"),
        (lines(RECORD | {"since": "yesterday"}), "expected a date in ISO 8601"),
        (lines(RECORD | {"work": 1.5}), "expected a text or a gap in column 'work'; got 1.5"),
        (f"{HEADER}\n39,40,true,State,2,2012-01-01\n39,old,true,State,2,\n", "line 3: .*got 'old'"),
        (f"{HEADER}\n39,40\n", "line 2: expected as many values as names .*, 6; got 2"),
        (f"{HEADER},age\n", "line 1: expected every column once"),
        (f"{HEADER},id\n1,1,1,1,1,,7", "line 2: expected no other columns.*'id'; take it out"),
        (f'{HEADER}\n1,1,1,"1" x,1,\n', "line 2: expected CSV"),
    ],
)
def test_what_the_model_does_not_take_is_named_by_its_line(tmp_path, text, message):
    path = tmp_path / "rows"
    path.write_text(text)
    with pytest.raises(InstanceFileError, match=message):
        read_instances(path, TARGET)


def test_what_is_no_text_is_named(tmp_path):
    (tmp_path / "rows").write_bytes(b"\xff\xfe")
    for name in ("rows", "none"):
        with pytest.raises(
            InstanceFileError, match=f"expected a file of text in UTF-8; got .*{name}"
        ):
            read_instances(tmp_path / name, TARGET)


def test_a_date_is_the_number_that_its_column_has():
    column = SchemaColumn("t", "date", fills_gaps=False, minimum="2020-01-01", maximum="2024-01-01")
    for written, number in (
        ("iso8601", 1679097600),
        ("seconds", 1679097600),
        ("milliseconds", 1679097600000),
        ("%Y%m%d", 20230318),
    ):
        of_format = replace(column, format=written)
        assert date_to_number("2023-03-18", of_format) == number
        assert date_to_number("2023-03-18T00:00:00+00:00", of_format) == number
        assert date_to_number("20230318T0000", of_format) == number
        assert date_to_number("2023-03-17T23:00-01:00", of_format) == number
    assert date_to_number("1679097600000", replace(column, format="milliseconds")) == 1679097600000


def test_instances_in_the_spelling_of_the_training_data_are_read(tmp_path):
    target = target_of(
        SchemaColumn("paid", "boolean", fills_gaps=True, texts={"yes": True, "no": False}),
        SchemaColumn("since", "date", fills_gaps=True, format="%d/%m/%Y"),
    )
    (tmp_path / "rows.csv").write_text("paid,since\nYes,22/06/2025\nno,2025-06-22\n,\n")
    assert read_instances(tmp_path / "rows.csv", target) == [
        {"paid": True, "since": "2025-06-22T00:00:00"},
        {"paid": False, "since": "2025-06-22"},
        {"paid": None, "since": None},
    ]
    (tmp_path / "rows.csv").write_text("paid,since\nyes,06/22/2025\n")
    with pytest.raises(InstanceFileError, match="a date in ISO 8601"):
        read_instances(tmp_path / "rows.csv", target)


def test_a_file_in_another_spelling_is_read_as_a_server_reads_it(tmp_path):
    target = target_of(
        SchemaColumn("código", "category", True, categories=("1", "café", "NA"), gaps=("-",)),
        SchemaColumn("n", "number", True, gaps=("-",)),
    )
    (tmp_path / "t.csv").write_text("co\u0301digo,n\n1.0,2\ncafe\u0301,-\nNA,3\n-,4\n")
    assert read_instances(tmp_path / "t.csv", target) == [
        {"código": "1", "n": 2},
        {"código": "café", "n": None},
        {"código": "NA", "n": 3},
        {"código": None, "n": 4},
    ]
    record = '{"instances": [{"co\u0301digo": 1.0, "n": 2}]}'
    (tmp_path / "t.json").write_text(record)
    assert read_instances(tmp_path / "t.json", target) == [{"código": "1", "n": 2}]
    (tmp_path / "t.json").write_text(record.replace('"n"', '"código"'))
    with pytest.raises(InstanceFileError, match="every column once"):
        read_instances(tmp_path / "t.json", target)
