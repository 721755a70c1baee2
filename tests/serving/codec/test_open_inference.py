"""The Open Inference Protocol; bodies are put together by hand, as PROTOCOLS.md writes them."""

import json
import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import BooleanColumn, CategoryColumn, DateColumn
from serving.codec import open_inference_tensors as inference_tensor
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import build_tensor_metadata, decode_inference_request
from serving.errors import ServingError
from tests.fuzzing import examples

ROWS = np.array([[1.5, 1, -2], [0, 0, 3e38]], "f4")
OUTPUTS = {"label": np.array([1, 0]), "probabilities": np.array([[0.25, 0.75], [1, 0]], "f4")}
NUMBERS = {
    "FP32": "<f4",
    "FP64": "<f8",
    "FP16": "<f2",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "BOOL": "?",
}


def tensor(name, shape, datatype, data=None, **parameters):
    found = {"name": name, "shape": shape, "datatype": datatype}
    return found | ({"parameters": parameters} if data is None else {"data": data})


def texts(values):
    parts = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def ask(model, inputs, content=b"", **request):
    head = json.dumps({"inputs": inputs, **request}).encode_answer()
    return decode_inference_request(
        EncodedRequest(head + content, json_length=len(head) if content else None), model.fields
    )


def error(model, *arguments, **request):
    with pytest.raises(ServingError) as raised:
        ask(model, *arguments, **request).encode_answer(model.manifest, OUTPUTS)
    return raised.value.message


@pytest.mark.parametrize("data", [ROWS.tolist(), ROWS.ravel().tolist()])
@pytest.mark.parametrize("said", [{}, {"id": "7"}, {"outputs": [{"name": "label"}], "id": "["}])
def test_numbers_in_json_nested_or_flat_are_rows(vector, data, said):
    question = ask(vector, [tensor("features", [2, 3], "FP32", data)], **said)
    assert question.inputs["features"].dtype == np.float32
    np.testing.assert_array_equal(question.inputs["features"], ROWS)


@pytest.mark.parametrize("data", [ROWS.tolist(), ROWS.ravel().tolist()])
def test_ordinary_numbers_never_are_python_objects(vector, data, monkeypatch):
    monkeypatch.delattr(inference_tensor, "_read_numbers")
    inputs = [tensor("features", [2, 3], "FP32", data)]
    for said in ({}, {"id": "[7]"}, {"outputs": [{"name": "label"}]}, {"parameters": {"a": []}}):
        np.testing.assert_array_equal(ask(vector, inputs, **said).inputs["features"], ROWS)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_of_every_datatype_are_rows(vector, datatype):
    rows = np.array([[1, 1, 0], [0, 0, 1]]).astype(NUMBERS[datatype])
    plain = tensor("features", [2, 3], datatype, rows.tolist())
    raw = tensor("features", [2, 3], datatype, binary_data_size=rows.nbytes)
    for question in (ask(vector, [plain]), ask(vector, [raw], rows.tobytes())):
        np.testing.assert_array_equal(question.inputs["features"], rows.astype("f4"))


def test_bf16_is_the_upper_half_of_float32(vector):
    raw = (ROWS.view("<u4") >> 16).astype("<u2")
    found = ask(vector, [tensor("features", [2, 3], "BF16", binary_data_size=12)], raw.tobytes())
    cut = (raw.astype("<u4") << 16).view("<f4")
    np.testing.assert_array_equal(found.inputs["features"], cut)


def test_binary_float32_is_read_where_it_is(vector):
    for spaces in range(4):
        inputs = [tensor("features", [2, 3], "FP32", binary_data_size=24)]
        head = json.dumps({"inputs": inputs}).encode() + b" " * spaces
        body = head + ROWS.tobytes()
        found = decode_inference_request(
            EncodedRequest(body, json_length=len(head)), vector.fields
        ).inputs["features"]
        np.testing.assert_array_equal(found, ROWS)
        aligned = (np.frombuffer(body, "u1").ctypes.data + len(head)) % 4 == 0
        assert np.shares_memory(found, np.frombuffer(body, "u1")) == aligned


def test_columns_of_each_type_come_as_json_or_binary(table):
    day, two = 86400.0, [2]
    values = {
        "age": ("FP32", np.array([1.5, np.nan], "f4")),
        "member": ("BOOL", np.array([True, False])),
        "work": ("BYTES", ["private", ""]),
        "grade": ("INT64", np.array([1, 2])),
        "since": ("FP64", np.array([day, np.nan])),
    }
    expected = {
        "age": [1.5, np.nan],
        "member": [1, 0],
        "work": ["private", ""],
        "grade": ["1", "2"],
        "since": [day, np.nan],
    }
    content = {n: texts(v) if k == "BYTES" else v.tobytes() for n, (k, v) in values.items()}
    binary = [tensor(n, two, k, binary_data_size=len(content[n])) for n, (k, _) in values.items()]

    def plain(array):
        listed = array if isinstance(array, list) else array.tolist()
        return [None if value != value else value for value in listed]  # noqa: PLR0124

    flat = [tensor(n, two, k, plain(v)) for n, (k, v) in values.items()]
    nested = [tensor(n, [2, 1], k, [[x] for x in plain(v)]) for n, (k, v) in values.items()]
    mixed = [binary[0], *flat[1:]]
    for question in (
        ask(table, flat),
        ask(table, nested[::-1]),
        ask(table, binary, b"".join(content.values())),
        ask(table, mixed, content["age"]),
    ):
        assert list(question.inputs) == list(expected)
        for name, array in question.inputs.items():
            assert array.shape == (2, 1)
            np.testing.assert_equal(array.ravel().tolist(), expected[name])
    iso = [flat[3], tensor("since", two, "BYTES", ["1970-01-02", None])]
    np.testing.assert_equal(ask(table, iso).inputs["since"].ravel().tolist(), [day, np.nan])


def test_raw_mode_is_one_input_and_nothing_else(vector, table):
    question = decode_inference_request(
        EncodedRequest(ROWS.tobytes(), json_length=0), vector.fields
    )
    np.testing.assert_array_equal(question.inputs["features"], ROWS)
    reply = question.encode_answer(vector.manifest, OUTPUTS)
    assert reply.media_type == "application/octet-stream"
    with pytest.raises(ServingError, match="since the model has 5 inputs; got 0"):
        decode_inference_request(EncodedRequest(b"", json_length=0), table.fields)


def one(column):
    """A model of this column alone."""
    return SimpleNamespace(fields=InputSchema([column]))


def test_raw_mode_of_one_text_column_is_one_text():
    def city(missing="impute", unseen="unknown"):
        return one(
            CategoryColumn(
                name="city",
                type="category",
                missing=missing,
                unseen=unseen,
                categories=["Hull", "1"],
            )
        )

    def decoded(content, model):
        return decode_inference_request(EncodedRequest(content, json_length=0), model.fields).inputs

    def refused(content, model):
        with pytest.raises(ServingError) as raised:
            decoded(content, model)
        return raised.value.status, raised.value.message

    # The body is the text itself: no length leads it, and no zero byte ends it.
    for content, text in (
        (b"Hull", "Hull"),
        (b" Hull\n", "Hull"),
        ("Łódź".encode(), "Łódź"),
        (b"", ""),
        (b"NA", ""),
        (b"\4\0\0\0Hull", "\4\0\0\0Hull"),
        (b"Hull\nYork", "Hull\nYork"),
        (b"1", "1"),
    ):
        found = decoded(content, city())
        assert list(found) == ["city"]
        assert (found["city"].dtype, found["city"].tolist()) == (np.object_, [[text]])
    status, message = refused(b"\xff", city())
    assert (status, message) == (
        422,
        'expected BYTES in UTF-8; got other bytes in element 0 of input "city"',
    )
    assert (
        'one of "Hull", "1" in instance 0, field \'city\''
        in refused(b"York", city(unseen="refuse"))[1]
    )
    assert "an empty text, and the model fills no gap" in refused(b"", city(missing="refuse"))[1]


def test_raw_mode_of_one_column_of_dates_or_numbers_is_an_array():
    dates = one(
        DateColumn(
            name="since", type="date", missing="impute", minimum="2000-01-01", maximum="2024-01-01"
        )
    )
    seconds = np.array([86400.25, np.nan], "<f8")
    found = decode_inference_request(
        EncodedRequest(seconds.tobytes(), json_length=0), dates.fields
    ).inputs
    np.testing.assert_array_equal(found["since"], seconds[:, None])
    with pytest.raises(ServingError, match="in elements of 8 bytes, FP64; got 12 bytes"):
        decode_inference_request(EncodedRequest(bytes(12), json_length=0), dates.fields)
    truths = one(BooleanColumn(name="b", type="boolean", missing="impute"))
    found = decode_inference_request(
        EncodedRequest(np.ones(2, "<f4").tobytes(), json_length=0), truths.fields
    ).inputs
    np.testing.assert_array_equal(found["features"], [[1], [1]])


def parts(reply):
    """The JSON of a binary answer, and its raw tensors by name."""
    ((name, length),) = reply.headers
    assert name == "Inference-Header-Content-Length"
    head, rest = json.loads(reply.content[: int(length)]), reply.content[int(length) :]
    raw = {}
    for output in head["outputs"]:
        if size := output.get("parameters", {}).get("binary_data_size"):
            raw[output["name"]], rest = rest[:size], rest[size:]
    assert not rest
    return head, raw


def test_the_answer_is_tensors_in_json(vector):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    reply = ask(vector, inputs, id="my id").encode_answer(vector.manifest, OUTPUTS)
    assert (reply.media_type, reply.headers) == ("application/json", ())
    label = {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]}
    assert json.loads(reply.content) == {
        "model_name": "m",
        "model_version": "17",
        "id": "my id",
        "outputs": [
            label,
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 2],
                "data": [0.25, 0.75, 1.0, 0.0],
            },
        ],
    }
    one = ask(vector, inputs, outputs=[{"name": "label"}]).encode_answer(vector.manifest, OUTPUTS)
    assert json.loads(one.content) == {"model_name": "m", "model_version": "17", "outputs": [label]}


def test_outputs_are_raw_where_they_are_asked_to_be(vector):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    all_raw = {"parameters": {"binary_data_output": True}}
    head, raw = parts(ask(vector, inputs, **all_raw).encode_answer(vector.manifest, OUTPUTS))
    assert raw == {name: array.tobytes() for name, array in OUTPUTS.items()}
    assert all("data" not in output for output in head["outputs"])
    mine = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    head, raw = parts(ask(vector, inputs, outputs=mine, **all_raw).encode(vector.manifest, OUTPUTS))
    assert list(raw) == ["probabilities"]
    assert head["outputs"][0]["data"] == [1, 0]
    words = {"label": np.array(["ü", ""])}
    head, raw = parts(ask(vector, inputs, **all_raw).encode(vector.manifest, words))
    assert head["outputs"][0]["datatype"] == "BYTES"
    assert raw["label"] == texts(["ü", ""])


def test_the_face_is_that_of_the_graph(vector, table, regression):
    assert build_tensor_metadata(vector.manifest) == {
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    found = build_tensor_metadata(table.manifest)
    assert [i["datatype"] for i in found["inputs"]] == ["FP32", "FP32", "BYTES", "BYTES", "FP64"]
    assert all(i["shape"] == [-1, 1] for i in found["inputs"])
    assert found["outputs"][0]["datatype"] == "BYTES"
    value = [{"name": "value", "datatype": "FP32", "shape": [-1, 2]}]
    assert build_tensor_metadata(regression.manifest)["outputs"] == value


def features(data=(1, 1, 1), shape=(1, 3), datatype="FP32"):
    return [tensor("features", list(shape), datatype, list(data))]


FAULTS = [
    ([], {}, 'expected the input "features"; got none'),
    ({}, {}, '"inputs" to be a list; got an object'),
    ([5], {}, "an input to be an object; got the number 5"),
    (features() * 2, {}, 'got "features" twice'),
    ([tensor("x", [1, 3], "FP32", [1])], {}, 'inputs out of "features", each once; got "x"'),
    ([{"name": "features"}], {}, '"datatype" of input "features" to be a text; got null'),
    (features(datatype="FP8"), {}, 'got "FP8" of input "features"'),
    (features(datatype="BYTES"), {}, "of numbers, best of FP32; got BYTES"),
    (features(shape=[3]), {}, 'expected "shape" of input "features" to be [n, 3]; got [3]'),
    (features(shape=[1, 2]), {}, "to be [n, 3]; got [1, 2]"),
    (features(shape=[1, 3, 1]), {}, "to be [n, 3]; got [1, 3, 1]"),
    (features(shape=[-1, 3]), {}, "to be [n, 3]; got another"),
    (features(shape=[True, 3]), {}, "to be [n, 3]; got another"),
    *[
        ([tensor("features", shape, "FP32", [1, 1, 1])], {}, "to be [n, 3]; got another")
        for shape in (
            5,
            1.5,
            "1,3",
            True,
            None,
            {},
            {"0": 1},
            [],
            [[1], 3],
            [None, 3],
            [1.0, 3],
            ["1", 3],
            [2**40, 3],
        )
    ],
    ([{"name": "features", "datatype": "FP32", "data": [1, 1, 1]}], {}, "[n, 3]; got another"),
    (features(shape=[2, 3]), {}, 'expected 6 elements of input "features", as its shape says'),
    (features([[1, 1, 1]], [2, 3]), {}, "expected 6 elements"),
    (features([[1, 1], [1]], [1, 3]), {}, "expected 3 values in instance 0"),
    (features([1, [1], 1]), {}, "to be of FP32; got a list at place 1"),
    (features([[1, [1], 1]]), {}, "to be of FP32; got a list at place 1"),
    (features([[1, [1], 1]]), {"id": "["}, "to be of FP32; got a list at place 1"),
    (features([1, [1], 1]), {"outputs": [{"name": "label"}]}, "got a list at place 1"),
    (features([1, 1, "1"]), {}, 'to be of FP32; got the text "1" at place 2'),
    (features([1, True, 1]), {}, "to be of FP32; got true at place 1"),
    (features([1, 1, 1.5], datatype="INT8"), {}, "to be of INT8; got the number 1.5 at place 2"),
    (features([1, 1, 128], datatype="INT8"), {}, "to be of INT8; got the number 128"),
    (features([1, 1, -1], datatype="UINT64"), {}, "to be of UINT64; got the number -1"),
    (features([1, 2, 1], datatype="BOOL"), {}, "to be of BOOL; got the number 2"),
    (features([None, 1, 1]), {}, "field 'x'; got NaN, and the model fills no gap here"),
    (features([1, 1, 1e39]), {}, "field 'z'; got a number that float32 cannot hold"),
    (features([1, 5, 1]), {}, "expected true or false in instance 0, field 'y'; got the number 5"),
    (features(), {"id": 5}, '"id" to be a text of at most 256 characters; got the number 5'),
    (features(), {"id": "x" * 257}, "of at most 256 characters"),
    (features(), {"ids": ""}, 'got the text "ids"'),
    (features(), {"outputs": [{"name": "logits"}]}, 'out of label, probabilities; got "logits"'),
    (features(), {"outputs": [{"name": "label"}] * 2}, 'every output once; got "label" twice'),
    (
        features(),
        {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
        'got "classification" among the parameters of "label"',
    ),
    (features(), {"parameters": {"binary_data_output": 1}}, "to be true or false"),
    (features(), {"parameters": [1]}, '"parameters" of the request to be an object'),
    ([features()[0] | {"parameters": {"binary_data_size": 4}}], {}, "got both"),
    ([tensor("features", [1, 3], "FP32", binary_data_size=12)], {}, "behind the JSON; got 0"),
    ([tensor("features", [1, 3], "FP32", binary_data_size=-1)], {}, "got another value"),
]


@pytest.mark.parametrize(("inputs", "said", "came"), FAULTS)
def test_a_fault_is_named(vector, inputs, said, came):
    assert came in error(vector, inputs, **said)


def test_a_fault_in_binary_is_named(vector, table):
    def raw(size, shape=(1, 3), datatype="FP32"):
        return [tensor("features", list(shape), datatype, binary_data_size=size)]

    assert "no bytes behind the last tensor; got 4" in error(vector, raw(12), bytes(16))
    assert "expected 12 bytes of input" in error(vector, raw(12), bytes(8))
    assert "in elements of 4 bytes" in error(vector, raw(11), bytes(11))
    assert "expected 3 elements" in error(vector, raw(24), bytes(24))
    nan = np.array([np.nan, 1, 1], "f4").tobytes()
    assert "field 'x'; got NaN, and the model fills no gap" in error(vector, raw(12), nan)
    assert "cannot hold" in error(
        vector, raw(24, datatype="FP64"), np.array([1, 1, 1e39]).tobytes()
    )
    for content, came in (
        (texts(["1"])[:-1], "one that breaks off after element 0"),
        (texts(["1"]) + b"\0", "one that breaks off after element 1"),
        (b"\1\0\0\0\xff", "expected BYTES in UTF-8; got other bytes in element 0"),
        (texts(["1", "1"]), "expected 1 elements"),
        (texts(["9"]), 'expected one of "1", "2" in instance 0, field \'grade\''),
    ):
        inputs = [tensor("grade", [1], "BYTES", binary_data_size=len(content))]
        assert came in error(table, inputs, content)


@pytest.mark.parametrize("length", [-1, 10**9])
def test_a_length_that_the_body_does_not_have_is_refused(vector, length):
    with pytest.raises(ServingError, match="as Inference-Header-Content-Length says"):
        decode_inference_request(EncodedRequest(b"{}", json_length=length), vector.fields)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"inputs":[NaN]}', b"\xff", b"[" * 9999])
def test_what_is_no_request_is_refused(vector, body):
    with pytest.raises(ServingError):
        decode_inference_request(EncodedRequest(body), vector.fields)


@pytest.mark.parametrize("filling", ["[],", "{},", '"",', "[[],[]],"])
def test_the_size_of_a_hostile_body_does_not_show_in_the_memory_its_refusal_takes(vector, filling):
    data = (filling * (2**19 // len(filling)))[:-1]
    head = '{"inputs":[{"name":"features","shape":[9,3],"datatype":"FP32","data":['
    text = f"{head}{data}]}}]}}".encode()
    tracemalloc.start()
    try:
        with pytest.raises(ServingError):
            decode_inference_request(EncodedRequest(text), vector.fields)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(finite, st.booleans().map(float), finite), max_size=6))
def test_all_ways_lead_to_the_same_array(vector, rows):
    array = np.array(rows, "f4").reshape(-1, 3)
    shape = list(array.shape)
    raw = tensor("features", shape, "FP32", binary_data_size=array.nbytes)
    for question in (
        ask(vector, [tensor("features", shape, "FP32", array.tolist())]),
        ask(vector, [tensor("features", shape, "FP64", array.ravel().tolist())]),
        decode_inference_request(EncodedRequest(array.tobytes(), json_length=0), vector.fields),
        *([ask(vector, [raw], array.tobytes())] if rows else []),
    ):
        found = question.inputs["features"]
        assert (found.dtype, found.shape) == (np.float32, array.shape)
        np.testing.assert_array_equal(found, array)


def whole(inputs, content=b"", **said):
    head = json.dumps({"inputs": inputs, **said}).encode()
    return head + content, len(head) if content else None


VALID = [
    ("vector", whole(features(), id="a", outputs=[{"name": "label"}])),
    ("vector", whole(features([[1, 1, 1]]))),
    ("vector", whole([tensor("features", [2, 3], "FP32", binary_data_size=24)], ROWS.tobytes())),
    ("vector", whole([tensor("features", [1, 3], "FP16", binary_data_size=6)], bytes(6))),
    ("vector", (ROWS.tobytes(), 0)),
    (
        "table",
        whole([tensor("grade", [2], "BYTES", ["1", "2"]), tensor("age", [2], "FP64", [1, 2])]),
    ),
    (
        "table",
        whole(
            [
                tensor("grade", [2], "BYTES", binary_data_size=10),
                tensor("since", [2, 1], "FP64", binary_data_size=16),
            ],
            texts(["1", "2"]) + bytes(16),
        ),
    ),
]


@pytest.mark.slow
@examples(300)
@given(st.data())
def test_a_damaged_body_is_a_question_or_refused(vector, table, damage, data):
    name, (body, length) = data.draw(st.sampled_from(VALID))
    model = {"vector": vector, "table": table}[name]
    if length and data.draw(st.booleans()):
        length += data.draw(st.integers(-3, 3))
    try:
        inputs = decode_inference_request(
            EncodedRequest(damage(data, body), json_length=length), model.fields
        ).inputs
    except ServingError as error:
        assert error.status in (400, 422)
    else:
        assert len({len(array) for array in inputs.values()}) == 1
        for array in inputs.values():
            assert array.dtype.kind == "O" or not np.isinf(array).any()


def test_more_outputs_than_any_graph_has_are_refused_by_their_number(vector):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    for count in (16, 17):
        outputs = [{"name": f"an output {place}"} for place in range(count)]
        said = error(vector, inputs, outputs=outputs)
        assert ('"outputs" to name each output once; got 17 names' in said) == (count == 17)


def test_number_among_the_texts_of_bytes_is_refused_by_its_place(table):
    grades = tensor("grade", [2], "BYTES", ["1", "2"])
    said = error(table, [grades, tensor("work", [2], "BYTES", ["private", 3])])
    assert said == 'expected "data" of input "work" to be texts; got the number 3 at place 1'


def test_value_in_the_place_of_a_row_is_refused_by_its_instance(vector):
    said = error(vector, [tensor("features", [2, 3], "FP32", [[1, 1, 0], 5])])
    assert said.startswith('expected "data" of input "features" to be lists of 3 values; got ')
    assert said.endswith("the number 5 in instance 1")


def test_parameters_of_more_than_4096_characters_are_refused(vector):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    empty = len(json.dumps({"a": ""}, separators=(",", ":")))
    for size in (4096, 4097):
        said = {"parameters": {"a": "x" * (size - empty)}}
        if size <= 4096:
            assert ask(vector, inputs, **said).inputs["features"].shape == (2, 3)
        else:
            assert "in at most 4096 characters; got more" in error(vector, inputs, **said)


@pytest.mark.parametrize(
    ("values", "came"),
    [(["1", "2", "1"], "as its shape says; got more"), (["1"], "got fewer in 5 bytes")],
)
def test_binary_texts_of_another_number_than_the_shape_says_are_refused(table, values, came):
    content = texts(values)
    said = error(table, [tensor("grade", [2], "BYTES", binary_data_size=len(content))], content)
    assert said.startswith('expected 2 elements of input "grade", ')
    assert came in said
