"""Columns that the model does not have: `--extra ignore` skips them in every format."""

import io
import json
import random
import struct
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from serving import create_app
from serving.codec import json_syntax
from serving.codec.input_schema import MAX_EXTRA_COLUMNS, InputSchema
from serving.codec.json_syntax import find_value_end
from serving.codec.messages import EncodedRequest
from serving.errors import InvalidInstancesError, NotJsonError, ServingError
from serving.inference.predictor import PROTOCOL_DECODERS
from tests.fuzzing import examples
from tests.serving.codec import conftest as models
from tests.serving.codec.arrow_messages import INT, NULL, Ref, field, records, schema, table
from tests.serving.codec.test_arrow import mutate
from tests.serving.codec.test_linear_time import assert_linear_time

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
TABLE, VECTOR = (
    InputSchema(columns, should_ignore_extra=True) for columns in (models.TABLE, models.VECTOR)
)
STRICT_TABLE, STRICT_VECTOR = InputSchema(models.TABLE), InputSchema(models.VECTOR)
COUNT = 5
COLUMNS = {
    "age": [20.0, None, 30.5, 40.0, 50.0],
    "member": [True, False, None, True, True],
    "work": ["private", None, "abroad", "state", "private"],
    "grade": ["1", "2", "1", "1", "2"],
    "since": ["2001-02-03", None, "2020-01-01", "2020-01-01", "2020-01-01"],
}
EXTRA = {  # values of columns that the model does not have
    "id": [10**25 + place for place in range(COUNT)],  # simdjson refuses such integers
    "note": ['a "quoted" [bracket] {brace}, and a comma'] * COUNT,
    "nested": [[{"age": 1}, [[]], {}, None, 1e5, "x\n"]] * COUNT,
    "object": [{"age": 99, "since": {"grade": []}}] * COUNT,
    "": [None, 1, "x", True, -0.5],
}


def interleave(columns, extra):
    """Return all columns, those of the model between the extra ones."""
    names = [name for pair in zip(extra, columns, strict=False) for name in pair]
    names += [name for name in (*extra, *columns) if name not in names]
    return {name: {**columns, **extra}[name] for name in names}


def to_records(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def decode(protocol, content, schema, media=JSON, json_length=None):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return PROTOCOL_DECODERS[protocol](
        EncodedRequest(content, media, json_length=json_length), schema
    ).inputs


def get_error(*arguments, kind=InvalidInstancesError, **options):
    with pytest.raises(kind) as raised:
        decode(*arguments, **options)
    return raised.value.message


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


EXPECTED = decode("rows", {"instances": to_records(COLUMNS)}, STRICT_TABLE)


@pytest.mark.parametrize("protocol", ["rows", "tensorflow"])
@pytest.mark.parametrize("extra", [["note"], ["nested"], ["object", ""], [*EXTRA]])
def test_records_extra_keys_are_ignored(extra, protocol):
    body = {"instances": to_records(interleave(COLUMNS, {name: EXTRA[name] for name in extra}))}
    assert_equal(decode(protocol, body, TABLE), EXPECTED)
    assert "expected no other fields than the model's" in get_error(protocol, body, STRICT_TABLE)


def test_records_extra_keys_of_some_records_are_ignored():
    found = to_records(COLUMNS)
    found[3]["other"] = {"deep": [1, 2]}
    assert_equal(decode("rows", {"instances": found}, TABLE), EXPECTED)


def test_record_extra_key_twice_is_ignored_and_a_column_twice_is_refused():
    one = b'{"instances":[{"grade":"1","x":1,"x":2}]}'
    assert decode("rows", one, TABLE)["grade"] == [["1"]]
    assert 'got "grade" twice' in get_error("rows", one.replace(b'"x"', b'"grade"'), TABLE)


def test_record_wrong_value_among_extra_keys_error_names_instance_and_field():
    body = to_records(interleave(COLUMNS, EXTRA))
    body[4]["age"] = "old"
    message = get_error("rows", {"instances": body}, TABLE)
    assert message.startswith("expected a finite number in instance 4, field 'age'; got the text")


def test_record_with_no_column_of_the_model_is_refused():
    # Both columns accept gaps, so that the record would be all gaps.
    schema = InputSchema(models.VECTOR[1:], should_ignore_extra=True)
    assert np.isnan(decode("rows", b'{"instances":[{}]}', schema)["features"]).all()
    for body in (
        b'{"instances":[{"q":1,"r":2}]}',
        b'{"instances":[{"y":true},{"q":[],"r":1e999}]}',
    ):
        assert "expected at least one of the model's fields in instance" in get_error(
            "rows", body, schema
        )


def test_row_without_names_must_have_the_number_of_columns():
    row = [1, True, None, 4]
    for body in ({"instances": [row]}, {"instances": [{"x": 1, "id": 2}, row]}):
        assert "expected 3 numbers in instance" in get_error("rows", body, VECTOR)
    assert "expected 3 values in instance 0" in get_error("rows", b"1,1,1,1\n", VECTOR, CSV)
    assert "rows of 12 bytes" in get_error("rows", bytes(16), VECTOR, "application/octet-stream")


@pytest.mark.parametrize(
    "value",
    [
        "[1 2]",
        "[1,]",
        '{"a" 1}',
        '{"a":1,}',
        "[}",
        '{"a":[}',
        "[01]",
        "{1:2}",
        '["a\nb"]',
        "[tru]",
        '[1,"\\x"]',
        "{,}",
    ],
)
def test_record_extra_value_that_is_not_json_is_refused(value):
    body = f'{{"instances":[{{"grade":"1","x":{value}}}]}}'.encode()
    with pytest.raises(ValueError, match="."):
        json.loads(body)
    message = get_error("rows", body, TABLE, kind=NotJsonError)
    assert message.startswith("expected a JSON body; got invalid JSON at line")


@pytest.mark.parametrize("extra", [["note"], ["nested"], [*EXTRA]])
@pytest.mark.parametrize("spaces", [(",", ":"), (", ", ": "), (",\n", ": ")])
@pytest.mark.slow
def test_records_of_a_long_body_extra_keys_are_ignored(extra, spaces):
    records = to_records(interleave(COLUMNS, {name: EXTRA[name] for name in extra})) * 2500
    body = json.dumps({"instances": records}, separators=spaces).encode()
    assert len(body) > 2**20
    expected = {name: np.tile(array, (2500, 1)) for name, array in EXPECTED.items()}
    assert_equal(decode("rows", body, TABLE), expected)


@examples(100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=30,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_find_value_end_any_value_returns_its_end(value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert find_value_end(f" {text}]", 0) == len(text) + 1
    if text[-1] in ']}"':
        with pytest.raises(json.JSONDecodeError):
            find_value_end(text[:-1], 0)


def test_find_value_end_very_deep_nesting_is_found():
    text = '[{"a":' * 100_000 + "1" + "}]" * 100_000
    assert find_value_end(text, 0) == len(text)


def test_find_value_end_long_list_yields(monkeypatch):
    yields = []
    monkeypatch.setattr(json_syntax, "yield_to_loop", lambda: yields.append(1))
    find_value_end("[" + "1," * 200_000 + "1]", 0)
    find_value_end("[" + "[]," * 200_000 + "1]", 0)
    assert len(yields) >= 2 * 200_000 // json_syntax.CHARACTERS_BEFORE_YIELD


@pytest.mark.parametrize("value", ["NaN", "[-Infinity]", str(10**30), "1e999"])
def test_extra_value_beyond_json_is_ignored_in_records_and_refused_in_columns(value):
    record = f'{{"instances":[{{"grade":"1","x":{value}}}]}}'.encode()
    assert decode("rows", record, TABLE)["grade"] == [["1"]]
    assert decode("tensorflow", record, TABLE)["grade"] == [["1"]]
    column = f'{{"inputs":{{"grade":["1"],"x":[{value}]}}}}'.encode()
    get_error("tensorflow", column, TABLE, kind=NotJsonError)


# TensorFlow's columns and named tensors


def test_tensorflow_columns_extra_ones_are_ignored():
    strange = {name: EXTRA[name] for name in ("note", "nested", "object")} | {"other": 1, "o": {}}
    body = {"inputs": interleave(COLUMNS, strange)}
    assert_equal(decode("tensorflow", body, TABLE), EXPECTED)
    assert "no other keys than" in get_error("tensorflow", body, STRICT_TABLE)
    assert "at least one of the model's columns" in get_error(
        "tensorflow", {"inputs": strange}, TABLE
    )
    assert "no other keys than" in get_error("tensorflow", {**body, "other": 1}, TABLE)


@pytest.mark.parametrize("key", ["aaa", "zzz"])
def test_tensorflow_named_tensors_extra_keys_are_ignored(key):
    rows = [[1.0, 1, 2.0], [3.0, 0, 4.0]]
    expected = decode("rows", {"instances": rows}, STRICT_VECTOR)
    instances = [{**dict(sorted({"features": row, key: {"features": []}}.items()))} for row in rows]
    bodies = [{"instances": instances}, {"inputs": {key: [[1]], "features": rows}}]
    bodies.append({"instances": [*instances[:1], {"features": rows[1]}]})
    bodies.append({"signature_name": "serving_default", "instances": instances})
    for body in bodies:
        assert_equal(decode("tensorflow", body, VECTOR), expected)
        get_error("tensorflow", body, STRICT_VECTOR)
    body = {"instances": [instances[0], {key: 1}]}
    assert "instance 1" in get_error("tensorflow", body, VECTOR)


def test_tensorflow_records_with_an_extra_key_called_features_are_records():
    instances = [{"x": 1, "y": 0, "z": 2, "note": "features"}, {"x": 1, "features": [5]}]
    for order in (1, -1):
        found = decode("tensorflow", {"instances": instances[::order]}, VECTOR)["features"]
        np.testing.assert_array_equal(found, [[1, 0, 2], [1, np.nan, np.nan]][::order])


# CSV


def write_csv(columns):
    def cell(value):
        return "" if value is None else str(value).replace("'", "").replace('"', "")

    lines = [
        columns,
        *([f'"{cell(v)}"' for v in row] for row in zip(*columns.values(), strict=True)),
    ]
    return "\n".join(",".join(line) for line in lines).encode()


def test_csv_extra_names_in_the_first_line_are_ignored():
    body = write_csv(interleave(COLUMNS, EXTRA))
    assert_equal(decode("rows", body, TABLE, CSV), EXPECTED)
    assert "the names of the 5 columns in the first line" in get_error(
        "rows", body, STRICT_TABLE, CSV
    )
    twice = write_csv(COLUMNS).replace(b"\n", b",x,x\n", 1).replace(b'"\n', b'",7,7\n') + b",7,7"
    assert_equal(decode("rows", twice, TABLE, CSV), EXPECTED)


def test_csv_extra_names_rows_must_have_the_length_of_the_first_line():
    body = b"id,grade,age,member,work,since\n1,1,,,,\n2,1,,,\n"
    message = get_error("rows", body, TABLE, CSV)
    assert message.startswith("expected 6 values in instance 1, one per column")
    assert 'got no "age"' in get_error("rows", b"id,grade,member,work,since\n", TABLE, CSV)
    assert "one of them twice" in get_error(
        "rows", b"age,grade,age,member,work,since\n", TABLE, CSV
    )


def test_csv_of_numbers_extra_names_are_ignored():
    found = decode("rows", b"id,z,x,y\n7,3,1,1\n8,,2,0\n", VECTOR, CSV)["features"]
    np.testing.assert_array_equal(found, [[1, 1, 3], [2, 0, np.nan]])


# Arrow

VIEWS = [None, "short", "longer than twelve bytes", "x", "another that is long"]
ARROWS = {
    "int8": pa.array([1, None, 3, 4, 5], pa.int8()),
    "uint64": pa.array([1, 2, 3, 4, 5], pa.uint64()),
    "half": pa.array(np.ones(COUNT, np.float16)),
    "boolean": pa.array([True, None, False, True, True]),
    "text": pa.array(["a", None, "c", "d", "e"]),
    "large binary": pa.array([b"a", None, b"c", b"d", b"e"], pa.large_binary()),
    "large": pa.array(["a", None, "c", "d", "e"], pa.large_string()),
    "view": pa.array(VIEWS, pa.string_view()),
    "binary": pa.array([b"a", None, b"c", b"d", b"e"]),
    "binary view": pa.array([v and v.encode() for v in VIEWS], pa.binary_view()),
    "fixed binary": pa.array([b"ab"] * COUNT, pa.binary(2)),
    "null": pa.nulls(COUNT),
    "decimal": pa.array([Decimal("1.5")] * COUNT, pa.decimal128(5, 2)),
    "large decimal": pa.array([Decimal("1.5")] * COUNT, pa.decimal256(50, 2)),
    "date": pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * COUNT, pa.date32()),
    "time": pa.array([5] * COUNT, pa.time64("us")),
    "timestamp": pa.array([5] * COUNT, pa.timestamp("ns", "UTC")),
    "duration": pa.array([5] * COUNT, pa.duration("s")),
    "interval": pa.array([(1, 2, 3)] * COUNT, pa.month_day_nano_interval()),
    "list": pa.array([[1, 2], None, [], [3], [4]], pa.list_(pa.int32())),
    "large list": pa.array([["a"], None, [], ["b"], ["c"]], pa.large_list(pa.string())),
    "fixed list": pa.array([[1.0, 2.0]] * COUNT, pa.list_(pa.float32(), 2)),
    "list view": pa.array([[1], None, [], [3], [4]], pa.list_view(pa.int32())),
    "large list view": pa.array([[1], None, [], [3], [4]], pa.large_list_view(pa.int32())),
    "struct": pa.array([{"a": 1, "b": ["x"]}] * COUNT),
    "map": pa.array([[("k", 1)]] * COUNT, pa.map_(pa.string(), pa.int64())),
    "views in a struct": pa.array(
        [{"a": v, "b": [v, v]} for v in VIEWS],
        pa.struct({"a": pa.string_view(), "b": pa.list_(pa.string_view())}),
    ),
    "dictionary": pa.array(["a", "b", "a", None, "a"]).dictionary_encode(),
    "dictionary in a struct": pa.StructArray.from_arrays(
        [pa.array(["a", "b", "a", None, "a"]).dictionary_encode()], ["d"]
    ),
    "run ends": pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b"]),
}
TYPED = {
    "age": pa.array(COLUMNS["age"]),
    "member": pa.array(COLUMNS["member"]),
    "work": pa.array(COLUMNS["work"], pa.string_view()),
    "grade": pa.array(COLUMNS["grade"]).dictionary_encode(),
    "since": pa.array(COLUMNS["since"]),
}


def write_arrow(columns, *, rows_of_a_batch=2):
    stream, written = io.BytesIO(), pa.table(columns)
    with pa.ipc.new_stream(stream, written.schema) as writer:
        writer.write_table(written, max_chunksize=rows_of_a_batch)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ARROWS)
def test_arrow_extra_column_of_each_type_is_ignored(kind):
    extra = {"first": ARROWS[kind], "second": ARROWS["text"], "third": ARROWS[kind]}
    columns = interleave(TYPED, extra) | {"last": ARROWS[kind]}
    body = write_arrow(columns)
    assert_equal(decode("rows", body, TABLE, ARROW), EXPECTED)
    assert "expected no other columns than the model's" in get_error(
        "rows", body, STRICT_TABLE, ARROW
    )


def test_arrow_extra_columns_of_all_types_are_ignored():
    assert_equal(decode("rows", write_arrow(interleave(TYPED, ARROWS)), TABLE, ARROW), EXPECTED)
    both = {f"{name} {copy}": array for name, array in ARROWS.items() for copy in "ab"}
    assert_equal(decode("rows", write_arrow(both | TYPED), TABLE, ARROW), EXPECTED)


def test_arrow_extra_column_of_a_union_error_names_it():
    union = pa.UnionArray.from_sparse(pa.array([0] * COUNT, pa.int8()), [ARROWS["text"]])
    message = get_error("rows", write_arrow({"u": union, **TYPED}), TABLE, ARROW, kind=ServingError)
    assert 'a column "u" of a type that cannot be left out' in message


def test_arrow_stream_of_only_extra_columns_is_refused():
    message = get_error("rows", write_arrow({"text": ARROWS["text"]}), TABLE, ARROW)
    assert message == "expected the model's columns; got a stream of none"


def test_arrow_mutated_streams_with_extra_columns_are_decoded_or_refused():
    rng, body = random.Random(16), write_arrow(interleave(TYPED, ARROWS))
    taken = 0
    for _ in range(500):
        try:
            found = decode("rows", mutate(body, rng), TABLE, ARROW)
        except ServingError as error:
            assert error.status in (400, 422)
        else:
            taken += 1
            assert len({array.shape for array in found.values()}) == 1
    assert 50 < taken < 480


INT8 = {0: ("<i", 8), 1: ("<B", 1)}


def parent_of_twins(child):
    """Return a struct whose two children are the same table of the buffer."""

    def write(out):
        at = len(out)
        out.extend(struct.pack("<I", 2) + bytes(8))
        target = child.write(out)
        for slot in (at + 4, at + 8):
            struct.pack_into("<I", out, slot, target - slot)
        return at

    return table({2: ("<B", 13), 3: table({}), 5: Ref(write)})


def test_arrow_extra_column_nested_exponentially_is_refused():
    column = field("leaf", INT, INT8)
    for _ in range(40):  # a trillion columns
        column = parent_of_twins(column)
    body = schema(column, field("age", NULL)) + records(1, [(1, 0)], [])
    assert len(body) < 20_000
    message = get_error("rows", body, TABLE, ARROW, kind=ServingError)
    assert "nested in more than one other" in message


# The Open Inference Protocol


def tensor(name, values, datatype="BYTES"):
    return {"name": name, "datatype": datatype, "shape": [len(values)], "data": values}


def tensors(columns):
    kinds = {"age": "FP64", "member": "BOOL"}
    return [tensor(name, columns[name], kinds.get(name, "BYTES")) for name in columns]


def test_inference_extra_inputs_are_ignored():
    extra = [
        tensor("id", [1, 2], "INT64"),
        {"name": "bare"},
        tensor("age2", [[]], "of a kind"),
        {"name": "bare", "shape": 5, "data": {"x": []}},
    ]
    body = {"inputs": [*extra, *tensors(COLUMNS), *extra]}
    assert_equal(decode("inference_v2", body, TABLE), EXPECTED)
    assert "expected inputs among" in get_error("inference_v2", body, STRICT_TABLE)
    assert "at least one of the model's columns" in get_error(
        "inference_v2", {"inputs": extra}, TABLE
    )
    twice = {"inputs": [*tensors(COLUMNS), *tensors(COLUMNS)]}
    assert '"age" twice' in get_error("inference_v2", twice, TABLE)
    for wrong in ({}, {"name": 5}, {"name": "x", "other": 1}):
        get_error("inference_v2", {"inputs": [*tensors(COLUMNS), wrong]}, TABLE)


def test_inference_extra_binary_inputs_are_ignored():
    rows = np.array([[1, 1, 2], [3, 0, 4]], "<f4")
    extra = {"name": "id", "datatype": "INT64", "shape": [2]}
    features = {
        "name": "features",
        "datatype": "FP32",
        "shape": [2, 3],
        "parameters": {"binary_data_size": 24},
    }

    def body(size, kept=24):
        head = json.dumps(
            {"inputs": [{**extra, "parameters": {"binary_data_size": size}}, features]}
        ).encode()
        return head + bytes(16) + rows.tobytes()[:kept], len(head)

    content, length = body(16)
    found = decode("inference_v2", content, VECTOR, json_length=length)
    np.testing.assert_array_equal(found["features"], rows)
    get_error("inference_v2", content, STRICT_VECTOR, json_length=length)
    for size in (15, 17, -1, True, 10**9):
        content, length = body(size)
        get_error("inference_v2", content, VECTOR, json_length=length)
    content, length = body(16, kept=23)
    get_error("inference_v2", content, VECTOR, json_length=length)


def test_inference_of_numbers_extra_inputs_are_ignored():
    rows = [[1.0, 1.0, 2.0], [3.0, 0.0, 4.0]]
    for data in (rows, [value for row in rows for value in row]):
        features = {"name": "features", "datatype": "FP32", "shape": [2, 3], "data": data}
        body = {"inputs": [tensor("id", [1, 2], "INT64"), features]}
        np.testing.assert_array_equal(
            decode("inference_v2", body, VECTOR)["features"], np.array(rows, np.float32)
        )
    message = get_error("inference_v2", {"inputs": [tensor("id", [1], "INT64")]}, VECTOR)
    assert message == 'expected the input "features"; got none'


# Cost


def make_extra_values(count):
    return {f"extra {place}": place for place in range(count)}


TOO_MANY = {
    "record": ("rows", lambda n: {"instances": [{"grade": "1", **make_extra_values(n)}]}, JSON),
    "record, strict": (
        "rows",
        lambda n: {"instances": [{**make_extra_values(n), "grade": 1, "x": 10**30}]},
        JSON,
    ),
    "record, nested": (
        "rows",
        lambda n: {"instances": [{**make_extra_values(n), "grade": 1, "x": [1]}]},
        JSON,
    ),
    "tensorflow": (
        "tensorflow",
        lambda n: {"inputs": {**make_extra_values(n), "grade": ["1"]}},
        JSON,
    ),
    "csv": ("rows", lambda n: ",".join([*make_extra_values(n), *COLUMNS]).encode() + b"\n", CSV),
    "arrow": (
        "rows",
        lambda n: schema(
            *(field(name, NULL) for name in make_extra_values(n)), field("grade", NULL)
        ),
        ARROW,
    ),
    "inputs": (
        "inference_v2",
        lambda n: {
            "inputs": [*({"name": name} for name in make_extra_values(n)), tensor("grade", ["1"])]
        },
        JSON,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", TOO_MANY)
def test_extra_columns_a_few_thousand_are_ignored_and_more_are_refused(form):
    protocol, make, media = TOO_MANY[form]
    decode(protocol, make(MAX_EXTRA_COLUMNS - 1), TABLE, media)
    message = get_error(protocol, make(MAX_EXTRA_COLUMNS + 10), TABLE, media)
    assert (
        f"expected at most {len(TABLE) + MAX_EXTRA_COLUMNS}" in message
        or "expected 5 values" in message
    )


HOSTILE = {
    "deep": ("rows", '{"instances":[{"x":1,"q":', "[", "]}]}"),
    "deep objects": ("rows", '{"instances":[{"x":1,"q":', '{"a":', "1}]}"),
    "flat": ("rows", '{"instances":[{"x":1,"r":1e999,"q":[', "1,", "1]}]}"),
    "empty lists": ("rows", '{"instances":[{"x":1,"r":1e999,"q":[', "[],", "1]}]}"),
    "records": ("rows", '{"instances":[', '{"x":1,"q":[{"x":[]}]},', '{"x":1,"q":1e999}]}'),
    "records of others": ("rows", '{"instances":[', '{"q":1,"x":1},', '{"x":"y"}]}'),
    "faults of a list in a record": (
        "rows",
        '{"instances":[',
        '{"x":1,"q":[{},{},{}, {}]},',
        "[]]}",
    ),
    "named tensors": ("tensorflow", '{"instances":[', '{"features":[1,1,1],"q":[]},', "[]]}"),
    "tensors": ("inference_v2", '{"inputs":[', '{"name":"q","data":[]},', '{"name":"q"}]}'),
    "tensor": ("inference_v2", '{"inputs":[{"name":"q","data":[', "[],", "1]}]}"),
    "column": ("tensorflow", '{"inputs":{"q":[', "[],", "1]}}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("body", HOSTILE)
def test_extra_columns_body_twice_as_long_takes_at_most_thrice_the_time(body):
    protocol, head, part, tail = HOSTILE[body]

    def make(size):
        content = (head + part * ((size - len(head)) // len(part)) + tail).encode()

        def run():
            try:
                decode(protocol, content, VECTOR)
            except ServingError as error:
                assert 400 <= error.status < 500

        return run

    assert_linear_time(make)


# The whole server


def test_server_extra_ignore_answers_records_with_extra_columns(adults, mixed):
    client = create_app(models=adults, extra="ignore").test_client()
    strict = create_app(models=adults).test_client()
    body = {"instances": [mixed.record]}
    more = {"instances": [{"id": 7, **mixed.record, "tags": ["a", {"b": 1}]}]}
    assert client.post("/predict", json=more).data == strict.post("/predict", json=body).data
    refused = strict.post("/predict", json=more)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "invalid_instances")


@pytest.mark.parametrize("models_of", ["adults", "shipped"])
def test_openapi_extra_ignore_allows_extra_columns(models_of, request):
    folder = request.getfixturevalue(models_of)
    schemas = {
        extra: create_app(models=folder, extra=extra)
        .test_client()
        .get("/openapi.json")
        .get_json()["components"]["schemas"]
        for extra in ("refuse", "ignore")
    }
    name = "adults" if models_of == "adults" else "digits"
    record, strict = (schemas[e][f"{name}.record"] for e in ("ignore", "refuse"))
    assert (record["additionalProperties"], strict["additionalProperties"]) == (True, False)
    assert "are ignored" in record["description"]
    inputs = schemas["ignore"][f"{name}.tensorflow"]["oneOf"][1]["properties"]["inputs"]
    assert inputs.get("anyOf", [inputs])[0]["additionalProperties"] is True
    tensors = schemas["ignore"][f"{name}.tensors"]["properties"]["inputs"]
    assert "maxItems" not in tensors
    assert "maxItems" in schemas["refuse"][f"{name}.tensors"]["properties"]["inputs"]
    for schema_of in (
        "rows",
        "tensorflow",
        "tensors",
        "parameters",
    ):  # other objects allow no extra keys
        found = schemas["ignore"][f"{name}.{schema_of}"]
        assert found.get("additionalProperties", False) is False


@pytest.mark.slow
def test_server_process_extra_ignore_answers_records_with_extra_columns(
    shared_server, adults, mixed
):
    server = shared_server(adults, "--workers", "1", "--extra", "ignore")
    body = {"instances": [mixed.record | {"more": [[1]]}]}
    answer = requests.post(f"{server.url}/predict", json=body, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["predictions"]
