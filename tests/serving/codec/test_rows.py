"""The protocol of `/predict` in each of its media types."""

import csv
import datetime
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import NumberColumn
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.codec.rows import decode_rows_request
from serving.errors import InvalidInstancesError, MalformedBodyError, ServingError
from tests.fuzzing import examples

NPY, RAW, CSV = "application/x-npy", "application/octet-stream", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
OUTPUTS = {"label": np.array([1, 0]), "probabilities": np.array([[0.25, 0.75], [1, 0]], "f4")}


def decode(content, media, model):
    return decode_rows_request(EncodedRequest(content, media), model.schema).inputs


def write_npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def write_arrow(table, **options):
    stream = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(stream, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return stream.getvalue()


def get_error(content, media, model):
    with pytest.raises(ServingError) as raised:
        decode(content, media, model)
    return raised.value.message


ROWS = np.array([[1.5, 1, -2], [0, 0, 3e38]], "f4")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i8", "<u2", "i1", "?"])
def test_decode_npy_any_dtype_and_order_gives_float32_rows(numeric_model, kind, order):
    rows = np.array([[1, 1, 0], [0, 0, 1]]).astype(kind, order=order)
    found = decode(write_npy(rows), NPY, numeric_model)["features"]
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, rows.astype("f4"))
    np.testing.assert_array_equal(
        decode(write_npy(rows[0]), NPY, numeric_model)["features"], rows[:1]
    )
    assert decode(write_npy(rows[:0]), NPY, numeric_model)["features"].shape == (0, 3)


def test_decode_npy_and_raw_float32_is_not_copied(numeric_model):
    body = write_npy(ROWS)
    assert np.shares_memory(decode(body, NPY, numeric_model)["features"], np.frombuffer(body, "u1"))
    raw = ROWS.tobytes()
    found = decode(raw, RAW, numeric_model)["features"]
    assert np.shares_memory(found, np.frombuffer(raw, "u1"))
    np.testing.assert_array_equal(found, ROWS)
    assert decode(b"", RAW, numeric_model)["features"].shape == (0, 3)


def test_decode_npy_and_raw_invalid_body_is_refused(numeric_model, mixed_model):
    assert "(n, 3), a number per feature; got (2, 2)" in get_error(
        write_npy(np.eye(2)), NPY, numeric_model
    )
    assert "got (1, 2, 3)" in get_error(write_npy(np.zeros((1, 2, 3))), NPY, numeric_model)
    assert "got one of '<c16'" in get_error(write_npy(np.zeros(3, complex)), NPY, numeric_model)
    assert "got one of '|O'" in get_error(
        write_npy(np.array([None] * 3), allow_pickle=True), NPY, numeric_model
    )
    assert "expected a file of NumPy's format" in get_error(b"\x93NUMPY", NPY, numeric_model)
    assert "as its header says; got 20 bytes" in get_error(write_npy(ROWS)[:-4], NPY, numeric_model)
    for shape in (
        b"(9999999999999,3)",
        b"(99999999999999999999999,)",
        b"(0, 7)",
        b"(-2, -3)",
        b"(2, ,3)",
        b"(2 3, 1)",
        b"((2, 3))",
        b"(2, 10**9)",
    ):
        wrong = write_npy(ROWS).replace(b"(2, 3), }" + b" " * (len(shape) - 6), shape + b", }")
        assert "expected a" in get_error(wrong, NPY, numeric_model)
    assert "send JSON, CSV or an Arrow stream" in get_error(write_npy(ROWS), NPY, mixed_model)
    assert "expected rows of 12 bytes" in get_error(b"12345678", RAW, numeric_model)


@pytest.mark.parametrize("media", [NPY, RAW])
def test_decode_npy_and_raw_wrong_number_error_names_instance_and_field(numeric_model, media):
    for column, value, got in (
        (0, np.nan, "got NaN, and this column accepts no missing value"),
        (0, np.inf, "got the number inf"),
        (2, -np.inf, "got the number -inf"),
        (1, 2, "expected true or false in instance 1, field 'y'; got the number 2"),
    ):
        rows = ROWS.copy()
        rows[1, column] = value
        message = get_error(
            write_npy(rows) if media == NPY else rows.tobytes(), media, numeric_model
        )
        assert got in message
        assert "instance 1, field" in message
    assert "that float32 cannot hold" in get_error(
        write_npy(np.array([1e39, 0, 0])), NPY, numeric_model
    )
    signalling = np.array([[0x7F800001] * 3], "<u4").tobytes()
    assert "got NaN" in get_error(signalling, RAW, numeric_model)
    gaps = np.array([[1, np.nan, np.nan]], "f4")
    np.testing.assert_array_equal(decode(gaps.tobytes(), RAW, numeric_model)["features"], gaps)


times = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2100, 1, 1))
columns = {
    "age": (st.floats(width=32, allow_nan=False, allow_infinity=False), pa.float32()),
    "member": (st.booleans(), pa.bool_()),
    "work": (st.text(max_size=3) | st.sampled_from(["private", "state"]), pa.string()),
    "since": (times, pa.timestamp("us")),
}


def compute_expected_input(name, values):
    """Return the values that the graph should receive for a column, without using the codec."""
    if name == "work":
        gaps = ("", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "?")
        texts = ["" if v is None else v.strip() for v in values]
        return [["" if text.lower() in gaps else text] for text in texts]
    if name == "since":
        utc = datetime.UTC
        values = [v and v.replace(tzinfo=utc).timestamp() for v in values]
    return [[np.nan if v is None else float(v)] for v in values]


@pytest.mark.slow
@examples(60)
@given(st.data())
def test_decode_arrow_any_table_gives_its_columns(mixed_model, data):
    count = data.draw(st.integers(0, 9))
    drawn, arrays = {}, {}
    for name in data.draw(st.permutations([*columns])):
        values, kind = columns[name]
        drawn[name] = data.draw(st.lists(st.none() | values, min_size=count, max_size=count))
        arrays[name] = pa.array(drawn[name], kind)
        if name == "work" and data.draw(st.booleans()):
            arrays[name] = arrays[name].dictionary_encode()
    arrays["grade"] = pa.array([1] * count, data.draw(st.sampled_from([pa.int8(), pa.uint64()])))
    legacy = data.draw(st.booleans())
    body = write_arrow(pa.table(arrays), use_legacy_format=legacy, emit_dictionary_deltas=False)
    found = decode(body, ARROW, mixed_model)
    assert list(found) == ["age", "member", "work", "grade", "since"]
    for name, values in drawn.items():
        expected = compute_expected_input(name, values)
        if name == "work":
            assert found[name].tolist() == expected
        else:
            np.testing.assert_allclose(
                found[name], np.reshape(expected, (-1, 1)), rtol=1e-15, atol=1e-6
            )
    assert found["grade"].tolist() == [["1"]] * count


KINDS = [
    ("age", [3, None], pa.int64(), [3, np.nan]),
    ("age", [3, None], pa.uint8(), [3, np.nan]),
    ("age", np.array([3, 0.5], "f2"), pa.float16(), [3, 0.5]),
    ("age", [3.5, float("nan")], pa.float64(), [3.5, np.nan]),
    ("age", [None, None], pa.null(), [np.nan, np.nan]),
    *(
        ("age", [3, None], kind, [3, np.nan])
        for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint16(), pa.uint32(), pa.uint64())
    ),
    ("age", [0.5, None], pa.float32(), [0.5, np.nan]),
    ("member", [1, 0], pa.int32(), [1, 0]),
    ("member", [True, None], pa.bool_(), [1, np.nan]),
    *(("work", ["state", None], kind, ["state", ""]) for kind in (pa.string(), pa.string_view())),
    *(
        ("work", [b"state", None], kind, ["state", ""])
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    ),
    ("work", ["state", None], pa.large_string(), ["state", ""]),
    ("since", [datetime.date(1970, 1, 2), None], pa.date32(), [86400, np.nan]),
    ("since", [datetime.date(1970, 1, 2), None], pa.date64(), [86400, np.nan]),
    ("since", ["1970-01-02", None], pa.string(), [86400, np.nan]),
    ("since", [1, None], pa.timestamp("s", "Asia/Tokyo"), [1, np.nan]),
    ("since", [1500, None], pa.timestamp("ms"), [1.5, np.nan]),
    ("since", [1_500_000, None], pa.timestamp("us"), [1.5, np.nan]),
    ("since", [1, None], pa.timestamp("ns"), [1e-9, np.nan]),
]


@pytest.mark.parametrize(("name", "values", "kind", "expected"), KINDS)
def test_decode_arrow_every_type_gives_what_the_graph_takes(
    mixed_model, name, values, kind, expected
):
    grades = pa.array(["1", "2"])
    found = decode(
        write_arrow(pa.table({name: pa.array(values, kind), "grade": grades})), ARROW, mixed_model
    )
    np.testing.assert_equal(found[name].ravel().tolist(), expected)


def test_decode_arrow_columns_of_numbers_give_one_matrix(numeric_model):
    body = write_arrow(
        pa.table({"z": [1.5, None], "x": pa.array([1, 2], pa.int8()), "y": [True, None]})
    )
    np.testing.assert_array_equal(
        decode(body, ARROW, numeric_model)["features"],
        np.array([[1, 1, 1.5], [2, np.nan, np.nan]], "f4"),
    )


@pytest.mark.parametrize(
    ("columns", "got"),
    [
        ({"agee": [1]}, 'expected no other columns than the model\'s; got "agee"; did you mean'),
        ({"age": [1.0]}, "field 'grade'; got null, and this column accepts no missing value"),
        ({"grade": ["3"]}, 'expected one of "1", "2" in instance 0, field \'grade\''),
        ({"grade": ["1"], "age": ["1"]}, "expected a finite number in instance 0, field 'age'"),
        ({"grade": ["1", "1"], "member": [1, 5]}, "instance 1, field 'member'; got the number 5"),
        ({"grade": ["1"], "age": [[1]]}, "got values of another type"),
        ({"grade": ["1"], "age": [datetime.date(2000, 1, 1)]}, "got a column of times"),
    ],
)
def test_decode_arrow_wrong_column_error_names_it(mixed_model, columns, got):
    assert got in get_error(write_arrow(pa.table(columns)), ARROW, mixed_model)


def test_decode_arrow_compressed_or_truncated_stream_is_refused(numeric_model):
    whole = pa.table({"x": np.arange(99.0)})
    assert "without compression" in get_error(
        write_arrow(whole, compression="zstd"), ARROW, numeric_model
    )
    body = write_arrow(whole)
    for cut in range(9, len(body), 97):
        with pytest.raises(MalformedBodyError, match="expected an Arrow stream"):
            decode(body[:-cut], ARROW, numeric_model)
    with pytest.raises(MalformedBodyError, match="no schema"):
        decode(b"", ARROW, numeric_model)


TRUTHS = {"true": True, "1": True, "False": False, "0": False}


def write_csv(rows, **options):
    stream = io.StringIO(newline="")
    csv.writer(stream, **options).writerows(rows)
    return stream.getvalue().encode()


@pytest.mark.slow
@examples(60)
@given(st.data())
def test_decode_csv_written_by_csv_module_equals_json(mixed_model, data):
    count = data.draw(st.integers(0, 6))
    words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"))
    rows = [
        (
            data.draw(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.just("")),
            data.draw(st.sampled_from(["true", "False", "1", "0", ""])),
            data.draw(words),
            data.draw(st.sampled_from("12")),
            data.draw(st.dates() | st.just("")),
        )
        for _ in range(count)
    ]
    quoting = data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    ends = data.draw(st.sampled_from(["\r\n", "\n"]))
    head = [[*mixed_model.schema.column_positions]] * data.draw(st.booleans())
    body = write_csv([*head, *rows], quoting=quoting, lineterminator=ends)
    found = decode(body, CSV, mixed_model)
    as_json = [
        [None if v == "" else v, TRUTHS.get(y), w, g, str(d) if d else None]
        for v, y, w, g, d in rows
    ]
    expected = decode(json.dumps({"instances": as_json}).encode(), "application/json", mixed_model)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column)


@pytest.mark.parametrize(
    "body",
    [
        b"1.5,1,2\n2,0,3\n",
        b"1.5,1,2\r\n2,0,3",
        b"x,y,z\n1.5,true,2\n\n2,false,3\n",
        b'"1.5","1","+2."\n2,0,"3"\n',
        b"\xef\xbb\xbf1.5, 1 ,2\n\n\n2,0,3\n\n",
    ],
)
def test_decode_csv_numbers_in_any_layout_give_the_same_rows(numeric_model, body):
    np.testing.assert_array_equal(
        decode(body, CSV, numeric_model)["features"], [[1.5, 1, 2], [2, 0, 3]]
    )


@pytest.mark.parametrize(
    ("body", "got"),
    [
        (
            b"1,1",
            "expected 3 values in instance 0, one per column, with commas between them; got 2",
        ),
        (b"1,1,1\n1,1,1,1\n", "in instance 1, one per column, with commas between them; got 4"),
        (b"1,1,1\n1,1,abc\n", "in instance 1, field 'z'; got the text \"abc\""),
        (b"1,1,1_0", "field 'z'; got the text \"1_0\""),
        (b",1,1", "field 'x'; got null, and this column accepts no missing value"),
        (b"1,2,1", "expected true or false in instance 0, field 'y'"),
        (b"1,1,1e39", "float32 cannot hold"),
        (b'1,1,"1', "expected a valid CSV body; got an invalid one: unexpected end of data"),
        (b'1,1,"1"2', "expected a valid CSV body"),
        (b"1,1,\xff", "an invalid byte at position 4"),
        (b"1" + b"," * 2**20, "expected 3 values in instance 0"),
        (b"1\r2,1,1", "expected a valid CSV body; got an invalid one: new-line character"),
    ],
)
def test_decode_csv_invalid_body_error_names_what_is_wrong(numeric_model, body, got):
    assert got in get_error(body, CSV, numeric_model)


def test_decode_csv_empty_line_of_a_single_column_is_a_gap():
    alone = InputSchema(
        [NumberColumn(name="z", type="number", missing="impute", minimum=0, maximum=1)]
    )
    found = decode_rows_request(EncodedRequest(b"1\n\n2\n", CSV), alone).inputs["features"]
    np.testing.assert_array_equal(found, np.array([[1], [np.nan], [2]], "f4"))


def get_answer(body, accept="", model=None, outputs=OUTPUTS):
    return decode_rows_request(
        EncodedRequest(body, accepted_media_type=accept), model.schema
    ).encode_answer(model.manifest, outputs)


@pytest.mark.parametrize("where", ["before", "after"])
def test_rows_request_parameters_select_the_outputs(numeric_model, where):
    def get_answer_to(parameters):
        parts = ['"instances":[[1,1,1],[2,0,2]]', f'"parameters" : {json.dumps(parameters)}']
        body = f"{{{','.join(parts[:: 1 if where == 'after' else -1])}}}"
        return json.loads(get_answer(body.encode(), model=numeric_model).content)

    head = {"model": "m", "version": 17}
    predictions = {"predictions": [1, 0]}
    probabilities = {"probabilities": [[0.25, 0.75], [1.0, 0.0]]}
    assert get_answer_to({"outputs": ["label"]}) == head | predictions
    assert get_answer_to({"outputs": ["probabilities"]}) == head | probabilities
    for every in ({}, None, {"outputs": ["probabilities", "label"]}):
        assert get_answer_to(every) == head | predictions | probabilities
    for wrong, got in (
        ({"outputs": ["logits"]}, 'expected outputs among label, probabilities; got "logits"'),
        ({"outputs": ["label", "label"]}, 'expected every output once; got "label" twice'),
        ({"outputs": []}, "at least one output"),
        ({"outputs": "label"}, 'expected "outputs" to be a list of names; got the text "label"'),
        ({"output": ["label"]}, 'got an object with the key "output"'),
        ([1], "got a list"),
        ({"outputs": ["x" * 5000]}, 'expected "parameters" of fewer than 4096 characters'),
    ):
        with pytest.raises(InvalidInstancesError) as raised:
            get_answer_to(wrong)
        assert got in raised.value.message


def test_rows_request_nested_value_with_parameters_is_refused(numeric_model):
    for parameters in ('{"outputs":["label"]}', '{"outputs":["\\u005b"]}', '["[[[["]'):
        body = f'{{"parameters":{parameters},"instances":[[1,[1],1]]}}'.encode()
        assert "instance 0, field 'y' (position 1); got a list" in get_error(
            body, "application/json", numeric_model
        )


def test_rows_request_accept_header_csv_returns_csv(numeric_model):
    body = b'{"instances":[[1,1,1],[2,0,2]]}'
    assert get_answer(body, "text/csv", numeric_model) == (
        b"1,0.25,0.75\n0,1.0,0.0\n",
        "text/csv",
        (),
        200,
    )
    texts = {**OUTPUTS, "label": np.array(['a "b", c', "d"])}
    assert get_answer(body, "text/csv", numeric_model, texts).content.startswith(
        b'"a ""b"", c",0.25'
    )
    values = {"value": np.array([[1.5, 2], [3, 4]], "f4")}
    assert get_answer(body, "text/csv", numeric_model, values).content == b"1.5,2.0\n3.0,4.0\n"
    assert (
        get_answer(body, "text/csv", numeric_model, {"value": np.zeros((0, 1), "f4")}).content
        == b""
    )
    assert get_answer(body, "image/png", numeric_model).media_type == "application/json"


def test_rows_request_unknown_media_type_error_names_the_accepted_ones(numeric_model):
    message = get_error(b"x", "text/xml", numeric_model)
    assert message.startswith("expected Content-Type: application/json; got text/xml")
    assert all(media in message for media in (NPY, CSV, ARROW, RAW))


VALID = [
    (NPY, "numeric_model", write_npy(ROWS)),
    (NPY, "numeric_model", write_npy(ROWS.astype(">f8", order="F"))),
    (RAW, "numeric_model", ROWS.tobytes()),
    (CSV, "numeric_model", b"x,y,z\n1,1,1\n2,,3\n"),
    (CSV, "mixed_model", b'1,true,"a ""b""",1,2000-01-01\r\n'),
    (
        "application/json",
        "mixed_model",
        b'{"instances":[{"age":1,"grade":2}],"parameters":{"a":[1]}}',
    ),
    *(
        (
            ARROW,
            "mixed_model",
            write_arrow(
                pa.table(
                    {
                        "age": [1.5, None],
                        "member": [True, None],
                        "work": pa.array(["a", None]).dictionary_encode(),
                        "grade": ["1", "2"],
                        "since": pa.array([datetime.date(2000, 1, 1), None]),
                    }
                ),
                use_legacy_format=legacy,
            ),
        )
        for legacy in (True, False)
    ),
]


@pytest.mark.slow
@examples(600)
@given(st.data())
def test_rows_request_damaged_body_is_decoded_or_refused(numeric_model, mixed_model, damage, data):
    media, name, body = data.draw(st.sampled_from(VALID))
    model = {"numeric_model": numeric_model, "mixed_model": mixed_model}[name]
    try:
        inputs = decode(damage(data, body), media, model)
    except ServingError as error:
        assert error.status in (400, 415, 422)
    else:
        assert len({len(array) for array in inputs.values()}) == 1
        for array in inputs.values():
            assert array.dtype.kind == "O" or not np.isinf(array).any()
