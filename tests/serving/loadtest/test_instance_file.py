"""Instances read from files are accepted or refused as by the server."""

import json

import pytest

from serving.loadtest.instance_file import InstanceFileError, read_instances
from serving.loadtest.target import SchemaColumn
from tests.load_requests import MIXED_COLUMNS, MIXED_RECORD, make_target

HEADER = ",".join(MIXED_RECORD)
TARGET = make_target(targets=("income",), columns=MIXED_COLUMNS)


@pytest.mark.parametrize(
    "text", ["", "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null", "None", "?", " na "]
)
def test_read_csv_default_missing_text_is_a_missing_value(text, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n39,40.5,true,{text},2,2012-06-01\n")
    assert read_instances(path, TARGET) == [MIXED_RECORD | {"work": None}]


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("FALSE", False), ("0", False)]
)
def test_read_csv_boolean_as_word_or_digit_is_converted(text, value, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{HEADER}\n39,40.5,{text},Private,2,2012-06-01\n")
    (row,) = read_instances(path, TARGET)
    assert row["member"] is value


WITHOUT_OPTIONAL_VALUES = MIXED_RECORD | {"age": None, "since": None}
REQUIRED_VALUES = {"hours/week": 3, "grade": 2}
COMPLETED = {
    "age": None,
    "hours/week": 3,
    "member": None,
    "work": None,
    "grade": "2",
    "since": None,
}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            json.dumps({"instances": [MIXED_RECORD, WITHOUT_OPTIONAL_VALUES]}),
            [MIXED_RECORD, WITHOUT_OPTIONAL_VALUES],
        ),
        (
            json.dumps([MIXED_RECORD, list(MIXED_RECORD.values())], indent=2),
            [MIXED_RECORD, MIXED_RECORD],
        ),
        (json.dumps(MIXED_RECORD), [MIXED_RECORD]),
        (json.dumps(list(MIXED_RECORD.values())), [MIXED_RECORD]),
        (
            f"\n{json.dumps(MIXED_RECORD)}\n\n{json.dumps(REQUIRED_VALUES)}\n",
            [MIXED_RECORD, COMPLETED],
        ),
        (
            f"{json.dumps(list(WITHOUT_OPTIONAL_VALUES.values()))}\r\n{json.dumps(MIXED_RECORD)}",
            [WITHOUT_OPTIONAL_VALUES, MIXED_RECORD],
        ),
        (f"{HEADER},income\n39,40.5,true,Private,2,2012-06-01,>50K\n", [MIXED_RECORD]),
        (f'\ufeff{HEADER}\r\nNA,40.5,1,"Private",2,\r\n\r\n', [WITHOUT_OPTIONAL_VALUES]),
        ("grade,hours/week\n2,3", [COMPLETED]),
        (
            json.dumps(
                {"instances": [MIXED_RECORD | {"work": "Ábroad\u2028"}]}, ensure_ascii=False
            ),
            [MIXED_RECORD | {"work": "Ábroad\u2028"}],
        ),
    ],
)
def test_read_every_file_format_returns_the_rows(tmp_path, text, rows):
    path = tmp_path / "rows"
    path.write_bytes(text.encode())
    assert read_instances(path, TARGET) == rows


def to_json_lines(*records):
    return "\n".join(map(json.dumps, records))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one instance or more"),
        ("[]", "expected one instance or more"),
        (HEADER, "expected one instance or more"),
        (
            to_json_lines(MIXED_RECORD, MIXED_RECORD | {"age": "old"}),
            "line 2: expected a number .*'age'; got 'old'",
        ),
        (to_json_lines(MIXED_RECORD, MIXED_RECORD) + "\n{", "line 3: expected JSON"),
        ("{\n1", "line 2: expected JSON"),
        ('{"instances": 1}', "to be a list"),
        (json.dumps([MIXED_RECORD, 1]), "instance 1: expected a record or a list of values; got 1"),
        (json.dumps([MIXED_RECORD, [1, 2]]), "instance 1: expected one value per column, 6; got 2"),
        (to_json_lines(MIXED_RECORD | {"agee": 1}), "instance 0: .*got 'agee'; did you mean 'age'"),
        (
            to_json_lines(MIXED_RECORD | {"grade": "4"}),
            "one of '1', '2', '3' in column 'grade'; got '4'",
        ),
        (
            to_json_lines(MIXED_RECORD | {"grade": None}),
            "'grade'; got none, and the model does not accept",
        ),
        (to_json_lines({"grade": "2"}), "'hours/week'; got none"),
        (to_json_lines(MIXED_RECORD | {"hours/week": 1e39}), "a number in the range of float32"),
        (to_json_lines(MIXED_RECORD | {"age": True}), "expected a number"),
        (
            to_json_lines(MIXED_RECORD | {"member": 2}),
            "true or false or a missing value in column 'member'; got 2",
        ),
        (to_json_lines(MIXED_RECORD | {"since": "yesterday"}), "expected a date in ISO 8601"),
        (
            to_json_lines(MIXED_RECORD | {"work": 1.5}),
            "expected a text or a missing value in column 'work'; got 1.5",
        ),
        (f"{HEADER}\n39,40,true,State,2,2012-01-01\n39,old,true,State,2,\n", "line 3: .*got 'old'"),
        (f"{HEADER}\n39,40\n", "line 2: expected as many values as names .*, 6; got 2"),
        (f"{HEADER},age\n", "line 1: expected every column once"),
        (
            f"{HEADER},id\n1,1,1,1,1,,7",
            "line 2: expected only the model's columns.*'id'; remove it",
        ),
        (f'{HEADER}\n1,1,1,"1" x,1,\n', "line 2: expected CSV"),
    ],
)
def test_read_invalid_instance_is_refused_with_its_location(tmp_path, text, message):
    path = tmp_path / "rows"
    path.write_text(text)
    with pytest.raises(InstanceFileError, match=message):
        read_instances(path, TARGET)


def test_read_unreadable_file_is_refused_with_its_name(tmp_path):
    (tmp_path / "rows").write_bytes(b"\xff\xfe")
    for name in ("rows", "none"):
        with pytest.raises(InstanceFileError, match=f"expected a text file in UTF-8; got .*{name}"):
            read_instances(tmp_path / name, TARGET)


def test_read_values_spelled_as_in_the_training_data_are_converted(tmp_path):
    target = make_target(
        columns=(
            SchemaColumn(
                "paid", "boolean", accepts_missing=True, boolean_texts={"yes": True, "no": False}
            ),
            SchemaColumn("since", "date", accepts_missing=True, date_format="%d/%m/%Y"),
        )
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


def test_read_unicode_and_number_spellings_match_as_in_the_server(tmp_path):
    target = make_target(
        columns=(
            SchemaColumn(
                "código", "category", True, categories=("1", "café", "NA"), missing_texts=("-",)
            ),
            SchemaColumn("n", "number", True, missing_texts=("-",)),
        )
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
