"""Records and rows of several types in JSON: the two decoders agree, and errors are precise."""

import json
import tracemalloc
from datetime import timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from serving.codec import json_strict, validation
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_strict import decode_json_strict
from serving.codec.rows import decode_json
from serving.errors import ServingError
from tests.fuzzing import examples
from tests.growth import assert_linear


def make_schema(missing="impute", unseen="unknown"):
    """Return a schema with a column of each type."""
    return InputSchema(
        [
            NumberColumn(name="age", type="number", missing=missing, minimum=0, maximum=1),
            BooleanColumn(name="member", type="boolean", missing=missing),
            CategoryColumn(
                name="work",
                type="category",
                missing=missing,
                unseen=unseen,
                categories=["private", "state"],
            ),
            CategoryColumn(
                name="grade", type="category", missing=missing, unseen=unseen, categories=["1", "2"]
            ),
            DateColumn(
                name="since",
                type="date",
                missing=missing,
                minimum="2000-01-01",
                maximum="2024-01-01",
            ),
        ]
    )


TABLE, STRICT = make_schema(), make_schema("refuse", "refuse")
VECTOR = InputSchema(
    [
        NumberColumn(name="x", type="number", missing="impute", minimum=0, maximum=1),
        BooleanColumn(name="y", type="boolean", missing="impute"),
        NumberColumn(name="z", type="number", missing="refuse", minimum=0, maximum=1),
    ]
)
RECORD = {"age": 39, "member": True, "work": "private", "grade": 2, "since": "2012-06-01"}
ROW = list(RECORD.values())


def make_body(instances):
    return json.dumps({"instances": instances}).encode()


def get_error(text, schema=TABLE):
    with pytest.raises(ServingError) as raised:
        decode_json(text, schema)
    return raised.value.to_dict()


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
numbers |= st.integers(-(2**63), 2**64 - 1)
booleans = st.booleans() | st.sampled_from([0, 1, 0.0, 1.0])
texts = st.text(max_size=4) | st.sampled_from(["private", " state ", "[", '"}]', "[{", "1"])
grades = texts | st.integers(-(2**63), 2**64 - 1) | st.sampled_from([1.0, -0.0, 2e15])
dates = st.dates().map(str) | st.datetimes().map(lambda d: d.isoformat())
zones = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
dates |= st.datetimes(timezones=zones).map(lambda d: d.isoformat())
KINDS = {"age": numbers, "member": booleans, "work": texts, "grade": grades, "since": dates}
optional = {name: st.none() | kind for name, kind in KINDS.items()}
records = st.fixed_dictionaries({}, optional=optional)
instances = st.lists(records | st.tuples(*optional.values()), max_size=6)
vectors = st.fixed_dictionaries(
    {"z": numbers}, optional={"x": st.none() | numbers, "y": st.none() | booleans}
) | st.tuples(st.none() | numbers, st.none() | booleans, numbers)


@pytest.mark.slow
@examples(100)
@given(instances)
def test_json_decoders_valid_table_gives_the_same_arrays(rows):
    fast = decode_json_fast(make_body(rows), TABLE)
    assert fast is not None
    assert_same(fast, decode_json_strict(make_body(rows), TABLE))
    assert all(len(column) == len(rows) for column in fast.values())


@given(st.lists(vectors, max_size=6))
def test_json_decoders_valid_table_of_numbers_and_booleans_gives_the_same_arrays(rows):
    fast = decode_json_fast(make_body(rows), VECTOR)
    assert fast is not None
    assert_same(fast, decode_json_strict(make_body(rows), VECTOR))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | dates,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from([*RECORD, "x", "y", "z", "agee"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@examples(100)
@given(st.lists(anything | records | vectors, max_size=3))
def test_decode_json_fast_accepts_nothing_that_the_strict_decoder_refuses(rows):
    text = make_body(rows)
    for schema in (TABLE, STRICT, VECTOR):
        fast = decode_json_fast(text, schema)
        try:
            strict = decode_json_strict(text, schema)
        except ServingError:
            assert fast is None
        else:
            assert fast is None or assert_same(fast, strict) is None


@pytest.mark.slow
@examples(60)
@given(st.data())
def test_decode_json_strict_strides_change_neither_arrays_nor_errors(data):
    rows = data.draw(st.lists(records | st.tuples(*optional.values()), max_size=20))
    text = bytearray(make_body(rows))
    for _ in range(data.draw(st.integers(0, 2))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from(b'[]{},":1e '))
    if data.draw(st.booleans()):  # valid, but the fast decoder refuses it
        text = bytearray(text.replace(b"[", b'[{"age":1' + b"0" * 25 + b"},", 1))
    stride = data.draw(st.integers(1, 60))

    def decode_in_strides(stride):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_strict, "STRIDE_CHARACTERS", stride)
            try:
                return decode_json_strict(bytes(text), TABLE)
            except ServingError as error:
                return error.to_dict()

    with_strides, without = decode_in_strides(stride), decode_in_strides(10**9)
    if "error" in without:
        assert with_strides == without
    else:
        assert_same(with_strides, without)


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_decode_json_random_bytes_are_refused(text):
    with pytest.raises(ServingError):
        decode_json(text, TABLE)


def test_decode_json_records_and_rows_in_one_body_are_the_same_instances():
    shuffled = dict(reversed(RECORD.items()))
    found = decode_json(make_body([RECORD, ROW, shuffled]), TABLE)
    assert list(found) == list(RECORD)
    assert [column.ravel().tolist() for column in found.values()] == [
        [39.0] * 3,
        [1.0] * 3,
        ["private"] * 3,
        ["2"] * 3,
        [1338508800.0] * 3,
    ]


def test_decode_json_absent_key_and_null_are_the_same_gap():
    found = decode_json(make_body([{}, dict.fromkeys(RECORD), [None] * 5, {"work": ""}]), TABLE)
    for name, column in found.items():
        if name in ("work", "grade"):
            assert column.tolist() == [[""]] * 4
        else:
            assert np.isnan(column).all()


def test_decode_json_fast_more_records_than_a_block_keep_their_order(monkeypatch):
    monkeypatch.setattr(validation, "VALUES_PER_BLOCK", 14)
    found = decode_json_fast(make_body([{"age": i, "work": str(i)} for i in range(30)]), TABLE)
    assert found["age"].ravel().tolist() == list(range(30))
    assert found["work"].ravel().tolist() == [str(i) for i in range(30)]


INVALID = [  # instance, message of the error, its details without the instance's number
    (
        {**RECORD, "aeg": 1},
        'expected no other fields than the model\'s in instance 1; got "aeg"; did you mean "age"?',
        {"field": "aeg"},
    ),
    (
        {"nothing like it": 1},
        'expected no other fields than the model\'s in instance 1; got "nothing like it"',
        {"field": "nothing like it"},
    ),
    (
        {"member": True},
        "expected a finite number in instance 1, field 'age'; got no such key, and "
        "this column accepts no missing value",
        {"field": "age"},
    ),
    (
        {**RECORD, "grade": None},
        "expected a text or a whole number in instance 1, field 'grade'; "
        "got null, and this column accepts no missing value",
        {"field": "grade"},
    ),
    (
        {**RECORD, "work": "mars"},
        'expected one of "private", "state" in instance 1, field \'work\'; got the text "mars"',
        {"field": "work"},
    ),
    (
        {**RECORD, "since": "soon"},
        "expected a date in ISO 8601, such as 2024-05-17 or "
        "2024-05-17T12:30:00Z, or a number of seconds since 1970-01-01 UTC in instance 1, field "
        "'since'; got the text \"soon\"",
        {"field": "since"},
    ),
    (
        {**RECORD, "age": {"a": [1]}},
        "expected a finite number in instance 1, field 'age'; got an object",
        {"field": "age"},
    ),
    (
        [39, "yes", "private", 1, "2024-01-01"],
        "expected true or false in instance 1, field 'member' (position 1); got the text \"yes\"",
        {"field": "member", "position": 1},
    ),
    (
        [39, True, "private", 1],
        "expected 5 values in instance 1, one per feature; got 4",
        {"expected": 5, "got": 4},
    ),
    (
        [39, True, 'a "word', 1],
        'expected one of "private", "state" in instance 1, field \'work\' '
        '(position 2); got the text "a \\"word"',
        {"field": "work", "position": 2},
    ),
    (
        [39, True, "private"],
        "expected 5 values in instance 1, one per feature; got 3",
        {"expected": 5, "got": 3},
    ),
    (
        [*ROW, 1],
        "expected 5 values in instance 1, one per feature; got more",
        {"expected": 5, "got": "more"},
    ),
    (
        "row",
        "expected instance 1 to be an object of named values or a list of 5 values; got the "
        'text "row"',
        {},
    ),
]


@pytest.mark.parametrize(("instance", "message", "details"), INVALID)
def test_decode_json_invalid_instance_error_names_instance_and_field(instance, message, details):
    answer = get_error(make_body([RECORD, instance]), STRICT)
    assert answer == {
        "error": message,
        "code": "invalid_instances",
        "details": {"instance": 1} | details,
    }


def test_decode_json_repeated_key_is_refused():
    for schema in (TABLE, VECTOR):
        name = schema.columns[0].name
        answer = get_error(f'{{"instances":[{{"{name}":1,"{name}":1}}]}}'.encode(), schema)
        assert answer["error"] == f'expected every field once in instance 0; got "{name}" twice'


def test_decode_json_boolean_column_of_a_matrix_accepts_only_0_and_1():
    assert decode_json(b'{"instances":[[1,0,3]]}', VECTOR)["features"].tolist() == [[1, 0, 3]]
    answer = get_error(b'{"instances":[[1,2,3]]}', VECTOR)
    assert answer["error"].startswith("expected true or false in instance 0, field 'y'")


def test_decode_json_truncated_record_is_not_json():
    whole = make_body([RECORD])
    for end in range(1, len(whole)):
        assert get_error(whole[:end])["code"] == "not_json"


@pytest.mark.slow
def test_decode_json_too_many_empty_records_are_refused():
    wide = InputSchema(
        [
            NumberColumn(name=f"x{i}", type="number", missing="impute", minimum=0, maximum=1)
            for i in range(1000)
        ]
    )
    assert len(decode_json(make_body([{}] * 1000), wide)["features"]) == 1000
    text = b'{"instances":[' + b"{}," * 2**12 + b"{}]}"
    tracemalloc.start()
    try:
        answer = get_error(text, wide)
        assert tracemalloc.get_traced_memory()[1] < 2**20 * 64
    finally:
        tracemalloc.stop()
    assert (
        "expected at most 1048 instances of 1000 fields in a body of this length"
        in (answer["error"])
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        "{},",
        "[],",
        '{"age":[',
        '{"age":{',
        '{"age":{},',
        "[[],",
        '{"work":"',
        '{"work":"a"},',
        '{"a":1},',
        "[1,1],[1,1,",
        '"a":',
    ],
)
def test_decode_json_hostile_body_takes_no_more_memory_than_its_text(head):
    text = ('{"instances":[' + head * (2**20 // len(head))).encode()
    tracemalloc.start()
    try:
        get_error(text, STRICT)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("head", ['{"age":[', "[[],", '{"work":"a"},', "[1,1],[1,1,"])
def test_decode_json_hostile_body_takes_linear_time(head):
    def refuse(size):
        text = ('{"instances":[' + head * (size // len(head))).encode()
        return lambda: get_error(text, STRICT)

    assert_linear(refuse, 2**17)


@pytest.mark.parametrize(
    "instance", ["[{}]", "[[{}]]", '{{"age":[{}]}}', '{{"age":[{}]}},1', '{{"work":"[",{}}}']
)
def test_decode_json_one_hostile_instance_takes_no_more_memory_than_its_text(instance):
    member = '"age":1,' if instance.endswith(",{}}}") else "1,"
    filling = (member * (2**20 // len(member)))[:-1]
    text = f'{{"instances":[{instance.format(filling)}]}}'.encode()
    tracemalloc.start()
    try:
        get_error(text, STRICT)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


def test_decode_json_long_unknown_key_takes_linear_time_and_is_cut():
    def refuse(size):
        text = f'{{"instances":[{{"{"agea" * size}":1}}]}}'.encode()
        return lambda: get_error(text)

    assert len(refuse(500_000)()["error"]) < 200
    assert_linear(refuse, 250_000)
