"""The Open Inference Protocol: bodies in JSON and in the binary extension, built by hand."""

import json
import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import BooleanColumn, CategoryColumn, DateColumn
from serving.bundle.column_schema import GAP_NOT_ACCEPTED
from serving.codec import open_inference_tensors
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import build_tensor_metadata, decode_inference_request
from serving.errors import ServingError
from tests.fuzzing import examples

ROWS = np.array([[1.5, 1, -2], [0, 0, 3e38]], "f4")
OUTPUTS = {"label": np.array([1, 0]), "probabilities": np.array([[0.25, 0.75], [1, 0]], "f4")}
DTYPES = {
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
    """Return an input with this data in JSON, or with these parameters."""
    declaration = {"name": name, "shape": shape, "datatype": datatype}
    return declaration | ({"parameters": parameters} if data is None else {"data": data})


def pack_texts(values):
    """Return a binary BYTES tensor."""
    parts = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def decode(model, inputs, content=b"", **members):
    """Decode a request with these inputs, binary content, and further members of its JSON."""
    head = json.dumps({"inputs": inputs, **members}).encode()
    return decode_inference_request(
        EncodedRequest(head + content, json_length=len(head) if content else None), model.schema
    )


def decode_raw(model, content):
    """Return the inputs of a request without JSON."""
    return decode_inference_request(EncodedRequest(content, json_length=0), model.schema).inputs


def get_error(model, *arguments, **members):
    """Return the message of the error that refuses a request or its answer."""
    with pytest.raises(ServingError) as raised:
        decode(model, *arguments, **members).encode_answer(model.manifest, OUTPUTS)
    return raised.value.message


@pytest.mark.parametrize("data", [ROWS.tolist(), ROWS.ravel().tolist()])
@pytest.mark.parametrize("members", [{}, {"id": "7"}, {"outputs": [{"name": "label"}], "id": "["}])
def test_decode_nested_or_flat_json_numbers_are_rows(numeric_model, data, members):
    decoded = decode(numeric_model, [tensor("features", [2, 3], "FP32", data)], **members)
    assert decoded.inputs["features"].dtype == np.float32
    np.testing.assert_array_equal(decoded.inputs["features"], ROWS)


@pytest.mark.parametrize("data", [ROWS.tolist(), ROWS.ravel().tolist()])
def test_decode_well_formed_json_numbers_creates_no_python_objects(
    numeric_model, data, monkeypatch
):
    monkeypatch.delattr(open_inference_tensors, "_read_numbers")
    inputs = [tensor("features", [2, 3], "FP32", data)]
    for members in ({}, {"id": "[7]"}, {"outputs": [{"name": "label"}]}, {"parameters": {"a": []}}):
        np.testing.assert_array_equal(
            decode(numeric_model, inputs, **members).inputs["features"], ROWS
        )


@pytest.mark.parametrize("datatype", DTYPES)
def test_decode_numbers_of_every_datatype_are_rows(numeric_model, datatype):
    rows = np.array([[1, 1, 0], [0, 0, 1]]).astype(DTYPES[datatype])
    in_json = tensor("features", [2, 3], datatype, rows.tolist())
    binary = tensor("features", [2, 3], datatype, binary_data_size=rows.nbytes)
    for decoded in (
        decode(numeric_model, [in_json]),
        decode(numeric_model, [binary], rows.tobytes()),
    ):
        np.testing.assert_array_equal(decoded.inputs["features"], rows.astype("f4"))


def test_decode_bf16_is_the_upper_half_of_float32(numeric_model):
    halves = (ROWS.view("<u4") >> 16).astype("<u2")
    inputs = [tensor("features", [2, 3], "BF16", binary_data_size=12)]
    truncated = (halves.astype("<u4") << 16).view("<f4")
    np.testing.assert_array_equal(
        decode(numeric_model, inputs, halves.tobytes()).inputs["features"], truncated
    )


def test_decode_aligned_binary_float32_is_a_view_of_the_body(numeric_model):
    for spaces in range(4):
        inputs = [tensor("features", [2, 3], "FP32", binary_data_size=24)]
        head = json.dumps({"inputs": inputs}).encode() + b" " * spaces
        body = head + ROWS.tobytes()
        features = decode_inference_request(
            EncodedRequest(body, json_length=len(head)), numeric_model.schema
        ).inputs["features"]
        np.testing.assert_array_equal(features, ROWS)
        is_aligned = (np.frombuffer(body, "u1").ctypes.data + len(head)) % 4 == 0
        assert np.shares_memory(features, np.frombuffer(body, "u1")) == is_aligned


def test_decode_columns_of_each_type_in_json_or_binary(mixed_model):
    day, shape = 86400.0, [2]
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
    content = {
        name: pack_texts(column) if datatype == "BYTES" else column.tobytes()
        for name, (datatype, column) in values.items()
    }
    binary = [
        tensor(name, shape, datatype, binary_data_size=len(content[name]))
        for name, (datatype, _) in values.items()
    ]

    def to_json(column):
        listed = column if isinstance(column, list) else column.tolist()
        return [None if value != value else value for value in listed]  # noqa: PLR0124

    flat = [
        tensor(name, shape, datatype, to_json(column))
        for name, (datatype, column) in values.items()
    ]
    nested = [
        tensor(name, [2, 1], datatype, [[value] for value in to_json(column)])
        for name, (datatype, column) in values.items()
    ]
    mixed = [binary[0], *flat[1:]]
    for decoded in (
        decode(mixed_model, flat),
        decode(mixed_model, nested[::-1]),
        decode(mixed_model, binary, b"".join(content.values())),
        decode(mixed_model, mixed, content["age"]),
    ):
        assert list(decoded.inputs) == list(expected)
        for name, array in decoded.inputs.items():
            assert array.shape == (2, 1)
            np.testing.assert_equal(array.ravel().tolist(), expected[name])
    with_texts = [flat[3], tensor("since", shape, "BYTES", ["1970-01-02", None])]
    since = decode(mixed_model, with_texts).inputs["since"]
    np.testing.assert_equal(since.ravel().tolist(), [day, np.nan])


def test_decode_body_without_json_is_read_as_the_only_input(numeric_model, mixed_model):
    decoded = decode_inference_request(
        EncodedRequest(ROWS.tobytes(), json_length=0), numeric_model.schema
    )
    np.testing.assert_array_equal(decoded.inputs["features"], ROWS)
    answer = decoded.encode_answer(numeric_model.manifest, OUTPUTS)
    assert answer.media_type == "application/octet-stream"
    with pytest.raises(ServingError, match="since the model has 5 inputs; got 0"):
        decode_raw(mixed_model, b"")


def create_model(column):
    """Return a model of this column alone."""
    return SimpleNamespace(schema=InputSchema([column]))


def test_decode_body_without_json_of_a_category_is_read_as_one_text():
    def create_city_model(missing="impute", unseen="unknown"):
        return create_model(
            CategoryColumn(
                name="city",
                type="category",
                missing=missing,
                unseen=unseen,
                categories=["Hull", "1"],
            )
        )

    def get_refusal(content, model):
        with pytest.raises(ServingError) as raised:
            decode_raw(model, content)
        return raised.value.status, raised.value.message

    # The body is the text itself, without a length in front or a zero byte at the end.
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
        inputs = decode_raw(create_city_model(), content)
        assert list(inputs) == ["city"]
        assert (inputs["city"].dtype, inputs["city"].tolist()) == (np.object_, [[text]])
    assert get_refusal(b"\xff", create_city_model()) == (
        422,
        'expected BYTES in UTF-8; got other bytes in element 0 of input "city"',
    )
    _, message = get_refusal(b"York", create_city_model(unseen="refuse"))
    assert 'one of "Hull", "1" in instance 0, field \'city\'' in message
    _, message = get_refusal(b"", create_city_model(missing="refuse"))
    assert f"an empty text, {GAP_NOT_ACCEPTED}" in message


def test_decode_body_without_json_of_a_date_or_booleans_is_read_as_an_array():
    dates = create_model(
        DateColumn(
            name="since", type="date", missing="impute", minimum="2000-01-01", maximum="2024-01-01"
        )
    )
    seconds = np.array([86400.25, np.nan], "<f8")
    inputs = decode_raw(dates, seconds.tobytes())
    np.testing.assert_array_equal(inputs["since"], seconds[:, None])
    with pytest.raises(ServingError, match="in elements of 8 bytes, FP64; got 12 bytes"):
        decode_raw(dates, bytes(12))
    booleans = create_model(BooleanColumn(name="b", type="boolean", missing="impute"))
    inputs = decode_raw(booleans, np.ones(2, "<f4").tobytes())
    np.testing.assert_array_equal(inputs["features"], [[1], [1]])


def split_answer(answer):
    """Return the JSON of a binary answer, and its binary tensors by name."""
    ((name, length),) = answer.headers
    assert name == "Inference-Header-Content-Length"
    head, rest = json.loads(answer.content[: int(length)]), answer.content[int(length) :]
    binary = {}
    for output in head["outputs"]:
        if size := output.get("parameters", {}).get("binary_data_size"):
            binary[output["name"]], rest = rest[:size], rest[size:]
    assert not rest
    return head, binary


def test_encode_answer_is_json_by_default(numeric_model):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    answer = decode(numeric_model, inputs, id="my id").encode_answer(
        numeric_model.manifest, OUTPUTS
    )
    assert (answer.media_type, answer.headers) == ("application/json", ())
    label = {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]}
    assert json.loads(answer.content) == {
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
    decoded = decode(numeric_model, inputs, outputs=[{"name": "label"}])
    assert json.loads(decoded.encode_answer(numeric_model.manifest, OUTPUTS).content) == {
        "model_name": "m",
        "model_version": "17",
        "outputs": [label],
    }


def test_encode_answer_requested_binary_outputs_are_binary(numeric_model):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    parameters = {"binary_data_output": True}
    decoded = decode(numeric_model, inputs, parameters=parameters)
    head, binary = split_answer(decoded.encode_answer(numeric_model.manifest, OUTPUTS))
    assert binary == {name: array.tobytes() for name, array in OUTPUTS.items()}
    assert all("data" not in output for output in head["outputs"])
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    decoded = decode(numeric_model, inputs, outputs=outputs, parameters=parameters)
    head, binary = split_answer(decoded.encode_answer(numeric_model.manifest, OUTPUTS))
    assert list(binary) == ["probabilities"]
    assert head["outputs"][0]["data"] == [1, 0]
    decoded = decode(numeric_model, inputs, parameters=parameters)
    labels = {"label": np.array(["ü", ""])}
    head, binary = split_answer(decoded.encode_answer(numeric_model.manifest, labels))
    assert head["outputs"][0]["datatype"] == "BYTES"
    assert binary["label"] == pack_texts(["ü", ""])


def test_build_tensor_metadata_describes_the_graph(numeric_model, mixed_model, regression):
    assert build_tensor_metadata(numeric_model.manifest) == {
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    metadata = build_tensor_metadata(mixed_model.manifest)
    datatypes = [one["datatype"] for one in metadata["inputs"]]
    assert datatypes == ["FP32", "FP32", "BYTES", "BYTES", "FP64"]
    assert all(one["shape"] == [-1, 1] for one in metadata["inputs"])
    assert metadata["outputs"][0]["datatype"] == "BYTES"
    value = [{"name": "value", "datatype": "FP32", "shape": [-1, 2]}]
    assert build_tensor_metadata(regression.manifest)["outputs"] == value


def features(data=(1, 1, 1), shape=(1, 3), datatype="FP32"):
    return [tensor("features", list(shape), datatype, list(data))]


INVALID_REQUESTS = [
    ([], {}, 'expected the input "features"; got none'),
    ({}, {}, '"inputs" to be a list; got an object'),
    ([5], {}, "an input to be an object; got the number 5"),
    (features() * 2, {}, 'got "features" twice'),
    ([tensor("x", [1, 3], "FP32", [1])], {}, 'inputs among "features", each once; got "x"'),
    ([{"name": "features"}], {}, '"datatype" of input "features" to be a text; got null'),
    (features(datatype="FP8"), {}, 'got "FP8" for input "features"'),
    (
        features(datatype="BYTES"),
        {},
        'expected numbers, preferably FP32, in input "features"; got BYTES',
    ),
    (features(shape=[3]), {}, 'expected "shape" of input "features" to be [n, 3]; got [3]'),
    (features(shape=[1, 2]), {}, "to be [n, 3]; got [1, 2]"),
    (features(shape=[1, 3, 1]), {}, "to be [n, 3]; got [1, 3, 1]"),
    (features(shape=[-1, 3]), {}, "to be [n, 3]; got another value"),
    (features(shape=[True, 3]), {}, "to be [n, 3]; got another value"),
    *[
        ([tensor("features", shape, "FP32", [1, 1, 1])], {}, "to be [n, 3]; got another value")
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
    (
        [{"name": "features", "datatype": "FP32", "data": [1, 1, 1]}],
        {},
        "[n, 3]; got another value",
    ),
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
    (features([None, 1, 1]), {}, f"field 'x'; got NaN, {GAP_NOT_ACCEPTED}"),
    (features([1, 1, 1e39]), {}, "field 'z'; got a number that float32 cannot hold"),
    (features([1, 5, 1]), {}, "expected true or false in instance 0, field 'y'; got the number 5"),
    (features(), {"id": 5}, '"id" to be a text of at most 256 characters; got the number 5'),
    (features(), {"id": "x" * 257}, "of at most 256 characters"),
    (features(), {"ids": ""}, 'got the text "ids"'),
    (features(), {"outputs": [{"name": "logits"}]}, 'among label, probabilities; got "logits"'),
    (features(), {"outputs": [{"name": "label"}] * 2}, 'every output once; got "label" twice'),
    (
        features(),
        {"outputs": [{"name": "label", "parameters": {"classification": 3}}]},
        'got "classification" among the parameters of "label"',
    ),
    (features(), {"parameters": {"binary_data_output": 1}}, "to be true or false"),
    (features(), {"parameters": [1]}, '"parameters" of the request to be an object'),
    ([features()[0] | {"parameters": {"binary_data_size": 4}}], {}, "got both"),
    ([tensor("features", [1, 3], "FP32", binary_data_size=12)], {}, "after the JSON; got 0"),
    ([tensor("features", [1, 3], "FP32", binary_data_size=-1)], {}, "got another value"),
]


@pytest.mark.parametrize(("inputs", "members", "expected"), INVALID_REQUESTS)
def test_decode_invalid_request_error_names_the_fault(numeric_model, inputs, members, expected):
    assert expected in get_error(numeric_model, inputs, **members)


def test_decode_invalid_binary_tensor_error_names_the_fault(numeric_model, mixed_model):
    def declare(size, shape=(1, 3), datatype="FP32"):
        return [tensor("features", list(shape), datatype, binary_data_size=size)]

    assert "no bytes after the last tensor; got 4" in get_error(
        numeric_model, declare(12), bytes(16)
    )
    assert "expected 12 bytes of input" in get_error(numeric_model, declare(12), bytes(8))
    assert "in elements of 4 bytes" in get_error(numeric_model, declare(11), bytes(11))
    assert "expected 3 elements" in get_error(numeric_model, declare(24), bytes(24))
    nan = np.array([np.nan, 1, 1], "f4").tobytes()
    assert f"field 'x'; got NaN, {GAP_NOT_ACCEPTED}" in get_error(numeric_model, declare(12), nan)
    assert "cannot hold" in get_error(
        numeric_model, declare(24, datatype="FP64"), np.array([1, 1, 1e39]).tobytes()
    )
    for content, expected in (
        (pack_texts(["1"])[:-1], "got a truncated one after 0 elements"),
        (pack_texts(["1"]) + b"\0", "got a truncated one after 1 element"),
        (b"\1\0\0\0\xff", "expected BYTES in UTF-8; got other bytes in element 0"),
        (pack_texts(["1", "1"]), "expected 1 element of"),
        (pack_texts(["9"]), 'expected one of "1", "2" in instance 0, field \'grade\''),
    ):
        inputs = [tensor("grade", [1], "BYTES", binary_data_size=len(content))]
        assert expected in get_error(mixed_model, inputs, content)


@pytest.mark.parametrize("length", [-1, 10**9])
def test_decode_json_length_beyond_the_body_is_refused(numeric_model, length):
    with pytest.raises(ServingError, match="as Inference-Header-Content-Length says"):
        decode_inference_request(EncodedRequest(b"{}", json_length=length), numeric_model.schema)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"inputs":[NaN]}', b"\xff", b"[" * 9999])
def test_decode_body_that_is_no_request_is_refused(numeric_model, body):
    with pytest.raises(ServingError):
        decode_inference_request(EncodedRequest(body), numeric_model.schema)


@pytest.mark.parametrize("filling", ["[],", "{},", '"",', "[[],[]],"])
def test_decode_hostile_body_is_refused_in_memory_linear_in_its_length(numeric_model, filling):
    data = (filling * (2**19 // len(filling)))[:-1]
    head = '{"inputs":[{"name":"features","shape":[9,3],"datatype":"FP32","data":['
    text = f"{head}{data}]}}]}}".encode()
    tracemalloc.start()
    try:
        with pytest.raises(ServingError):
            decode_inference_request(EncodedRequest(text), numeric_model.schema)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(finite, st.booleans().map(float), finite), max_size=6))
def test_decode_every_encoding_gives_the_same_array(numeric_model, rows):
    array = np.array(rows, "f4").reshape(-1, 3)
    shape = list(array.shape)
    binary = tensor("features", shape, "FP32", binary_data_size=array.nbytes)
    for decoded in (
        decode(numeric_model, [tensor("features", shape, "FP32", array.tolist())]),
        decode(numeric_model, [tensor("features", shape, "FP64", array.ravel().tolist())]),
        decode_inference_request(
            EncodedRequest(array.tobytes(), json_length=0), numeric_model.schema
        ),
        *([decode(numeric_model, [binary], array.tobytes())] if rows else []),
    ):
        features = decoded.inputs["features"]
        assert (features.dtype, features.shape) == (np.float32, array.shape)
        np.testing.assert_array_equal(features, array)


def encode_body(inputs, content=b"", **members):
    """Return a body, and the length of its JSON part if a binary part follows."""
    head = json.dumps({"inputs": inputs, **members}).encode()
    return head + content, len(head) if content else None


VALID = [
    ("numeric_model", encode_body(features(), id="a", outputs=[{"name": "label"}])),
    ("numeric_model", encode_body(features([[1, 1, 1]]))),
    (
        "numeric_model",
        encode_body([tensor("features", [2, 3], "FP32", binary_data_size=24)], ROWS.tobytes()),
    ),
    (
        "numeric_model",
        encode_body([tensor("features", [1, 3], "FP16", binary_data_size=6)], bytes(6)),
    ),
    ("numeric_model", (ROWS.tobytes(), 0)),
    (
        "mixed_model",
        encode_body(
            [tensor("grade", [2], "BYTES", ["1", "2"]), tensor("age", [2], "FP64", [1, 2])]
        ),
    ),
    (
        "mixed_model",
        encode_body(
            [
                tensor("grade", [2], "BYTES", binary_data_size=10),
                tensor("since", [2, 1], "FP64", binary_data_size=16),
            ],
            pack_texts(["1", "2"]) + bytes(16),
        ),
    ),
]


@pytest.mark.slow
@examples(300)
@given(st.data())
def test_decode_damaged_body_is_decoded_or_refused(numeric_model, mixed_model, damage, data):
    name, (body, length) = data.draw(st.sampled_from(VALID))
    model = {"numeric_model": numeric_model, "mixed_model": mixed_model}[name]
    if length and data.draw(st.booleans()):
        length += data.draw(st.integers(-3, 3))
    try:
        inputs = decode_inference_request(
            EncodedRequest(damage(data, body), json_length=length), model.schema
        ).inputs
    except ServingError as error:
        assert error.status in (400, 422)
    else:
        assert len({len(array) for array in inputs.values()}) == 1
        for array in inputs.values():
            assert array.dtype.kind == "O" or not np.isinf(array).any()


def test_decode_more_than_16_outputs_is_refused(numeric_model):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    for count in (16, 17):
        outputs = [{"name": f"an output {index}"} for index in range(count)]
        message = get_error(numeric_model, inputs, outputs=outputs)
        assert ('"outputs" to name each output once; got 17 names' in message) == (count == 17)


def test_decode_bytes_tensor_with_a_number_error_names_its_index(mixed_model):
    grades = tensor("grade", [2], "BYTES", ["1", "2"])
    message = get_error(mixed_model, [grades, tensor("work", [2], "BYTES", ["private", 3])])
    assert message == 'expected "data" of input "work" to be texts; got the number 3 at place 1'


def test_decode_value_instead_of_a_row_error_names_the_instance(numeric_model):
    message = get_error(numeric_model, [tensor("features", [2, 3], "FP32", [[1, 1, 0], 5])])
    assert message.startswith('expected "data" of input "features" to be lists of 3 values; got ')
    assert message.endswith("the number 5 in instance 1")


def test_decode_parameters_of_more_than_4096_characters_are_refused(numeric_model):
    inputs = [tensor("features", [2, 3], "FP32", ROWS.tolist())]
    empty = len(json.dumps({"a": ""}, separators=(",", ":")))
    for size in (4096, 4097):
        members = {"parameters": {"a": "x" * (size - empty)}}
        if size <= 4096:
            assert decode(numeric_model, inputs, **members).inputs["features"].shape == (2, 3)
        else:
            assert "in at most 4096 characters; got more" in get_error(
                numeric_model, inputs, **members
            )


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["1", "2", "1"], "as its shape says; got more"), (["1"], "got fewer in 5 bytes")],
)
def test_decode_binary_texts_count_differs_from_shape_is_refused(mixed_model, values, expected):
    content = pack_texts(values)
    message = get_error(
        mixed_model, [tensor("grade", [2], "BYTES", binary_data_size=len(content))], content
    )
    assert message.startswith('expected 2 elements of input "grade", ')
    assert expected in message
