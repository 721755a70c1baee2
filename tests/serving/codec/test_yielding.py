"""Long bodies and answers: the codec yields to gevent's event loop, so that others are served."""

import io
import json

import gevent
import numpy as np
import pyarrow as pa
import pytest

from serving.bundle import NumberColumn
from serving.codec import csv, open_inference_tensors, tensorflow
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.rows import decode_rows_request
from serving.codec.tensorflow import decode_tensorflow_request
from serving.codec.validation import NUMBERS_PER_BLOCK, VALUES_PER_BLOCK
from serving.errors import InvalidInstancesError

ARROW = "application/vnd.apache.arrow.stream"
WIDE = InputSchema(
    [
        NumberColumn(name=f"c{i}", type="number", missing="impute", minimum=0, maximum=1)
        for i in range(500)
    ]
)
NAMES = ",".join(WIDE.column_positions)
LINE = ",1" * 499
GAPS = [[None] * 500] * 400


def write_arrow(count):
    stream = io.BytesIO()
    columns = pa.table({"work": ["private"] * count, "grade": ["1"] * count})
    with pa.ipc.new_stream(stream, columns.schema) as writer:
        writer.write_table(columns)
    return stream.getvalue()


def tensor(datatype, count, values):
    shape = [count, len(WIDE)]
    inputs = [{"name": "features", "shape": shape, "datatype": datatype, "data": values}]
    return json.dumps({"inputs": inputs}).encode()


def count_yields(decode):
    """Return the result of `decode`, and how many times another greenlet ran in the meantime."""
    yields = 0

    def other():
        nonlocal yields
        while True:
            gevent.sleep(1e-9)
            yields += 1

    greenlet = gevent.spawn(other)
    try:
        gevent.sleep(0.01)
        yields = 0
        found = gevent.spawn(decode).get()
        return found, yields
    finally:
        greenlet.kill()


def instances(value):
    return json.dumps({"instances": value}).encode()


BODIES = {  # decoder, content and media type of bodies of 200,000 values each
    "records": (decode_rows_request, instances([{"c0": 1.5}] * 400), ""),
    "gaps in rows": (decode_rows_request, instances(GAPS), ""),
    "gaps in columns": (decode_tensorflow_request, json.dumps({"inputs": GAPS}).encode(), ""),
    "gaps in a tensor": (decode_inference_request, tensor("FP32", 400, [None] * 200_000), ""),
    "truths in a tensor": (decode_inference_request, tensor("BOOL", 400, [True] * 200_000), ""),
    "csv": (decode_rows_request, (NAMES + f"\nNA{LINE}" * 400).encode(), "text/csv"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BODIES)
def test_decode_wide_table_yields_in_proportion_to_its_values(case):
    decode, body, media = BODIES[case]
    request = EncodedRequest(body, media) if media else EncodedRequest(body)
    decoded, yields = count_yields(lambda: decode(request, WIDE))
    assert decoded.inputs["features"].shape == (400, 500)
    assert yields >= 200_000 // VALUES_PER_BLOCK // 2


def test_decode_arrow_texts_yields(mixed_model):
    decoded, yields = count_yields(
        lambda: decode_rows_request(EncodedRequest(write_arrow(100_000), ARROW), mixed_model.schema)
    )
    assert decoded.inputs["work"].shape == (100_000, 1)
    assert (
        yields >= 4 * 100_000 // VALUES_PER_BLOCK // 2
    )  # two columns, each decoded and then validated


def test_decode_json_long_matrix_yields(numeric_model):
    rows = b"[1.25,1,3.5]," * 100_000
    body = b'{"instances":[' + rows[:-1] + b"]}"
    decoded, yields = count_yields(
        lambda: decode_rows_request(EncodedRequest(body), numeric_model.schema)
    )
    assert decoded.inputs["features"].shape == (100_000, 3)
    assert yields >= 3


@pytest.mark.parametrize("datatype", ["INT64", "UINT8", "BOOL"])
def test_decode_tensor_of_integers_builds_no_python_objects(datatype, monkeypatch):
    monkeypatch.delattr(open_inference_tensors, "_read_numbers")
    request = EncodedRequest(tensor(datatype, 2, [0, 1] * 500))
    found = decode_inference_request(request, WIDE).inputs["features"]
    assert found.tolist() == [[0, 1] * 250] * 2


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1])
def test_decode_tensor_accepts_the_largest_integers(value):
    found = decode_inference_request(
        EncodedRequest(tensor("INT64", 1, [value] * 500)), WIDE
    ).inputs["features"]
    assert (found == float(value)).all()


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT64", 2**63), ("INT64", 0.5), ("UINT8", 256), ("UINT8", -1), ("BOOL", 2), ("BOOL", 0.5)],
)
@pytest.mark.parametrize("others", [0, None])
def test_decode_tensor_number_of_another_datatype_error_names_its_index(datatype, value, others):
    values = [others] * 499 + [value]
    with pytest.raises(InvalidInstancesError, match=f"of {datatype}; got .* at place 499"):
        decode_inference_request(EncodedRequest(tensor(datatype, 1, values)), WIDE)


@pytest.mark.parametrize("header", [NAMES, NAMES.replace(",", " , ") + "\r", f"\ufeff{NAMES}"])
def test_decode_csv_numbers_below_a_header_are_read_by_numpy(header, monkeypatch):
    monkeypatch.delattr(csv, "_read_instances")
    body = f"{header}\n1{LINE}\n2{LINE}\n".encode()
    found = decode_rows_request(EncodedRequest(body, "text/csv"), WIDE).inputs["features"]
    assert found[:, 0].tolist() == [1, 2]
    assert (found[:, 1:] == 1).all()


LINES = {
    "line ends": b"\n" * 2_000_000,
    "carriage returns": b"\r\n" * 1_000_000,
    "line ends below a quoted value": b'"",' + b"," * 498 + b"\n" * 2_000_000,
    "empty lines between rows": (b"," * 499 + b"\n\n") * 2_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LINES)
def test_decode_csv_empty_lines_yields(case):
    _, yields = count_yields(
        lambda: decode_rows_request(EncodedRequest(LINES[case], "text/csv"), WIDE)
    )
    assert yields >= 10


def test_decode_bytes_tensor_in_json_yields(mixed_model):
    count = 100_000
    tensors = [
        {"name": "work", "shape": [count], "datatype": "BYTES", "data": ["private"] * count},
        {"name": "grade", "shape": [count], "datatype": "BYTES", "data": ["1"] * count},
    ]
    request = EncodedRequest(json.dumps({"inputs": tensors}).encode())
    decoded, yields = count_yields(lambda: decode_inference_request(request, mixed_model.schema))
    assert decoded.inputs["work"].shape == (count, 1)
    assert yields >= 2 * count // VALUES_PER_BLOCK


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_decode_raw_long_matrix_yields_in_proportion_to_its_numbers(value):
    numbers = np.full((4000, 500), value, "<f4").tobytes()
    request = EncodedRequest(numbers, "application/octet-stream")
    decoded, yields = count_yields(lambda: decode_rows_request(request, WIDE))
    assert decoded.inputs["features"].shape == (4000, 500)
    assert yields >= 4000 * 500 // NUMBERS_PER_BLOCK // 2


REQUESTS = {  # decoder, body, and media type that the client accepts
    "rows": (decode_rows_request, instances([[0] * 3]), ""),
    "csv": (decode_rows_request, instances([[0] * 3]), "text/csv"),
    "tensorflow rows": (decode_tensorflow_request, instances([[0] * 3]), ""),
    "tensorflow columns": (decode_tensorflow_request, b'{"inputs":[[0,0,0]]}', ""),
    "open inference": (
        decode_inference_request,
        b'{"inputs":[{"name":"features","shape":[1,3],"datatype":"FP32","data":[0,0,0]}]}',
        "",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REQUESTS)
@pytest.mark.parametrize("kind", ["texts", "numbers"])
def test_encode_long_answer_equals_joined_short_answers_and_yields(case, kind, numeric_model, rng):
    decode, body, accepted = REQUESTS[case]
    decoded = decode(EncodedRequest(body, accepted_media_type=accepted), numeric_model.schema)
    labels = np.array(["no", 'y"es', "a,b"]) if kind == "texts" else np.arange(3)
    outputs = {
        "label": labels[rng.integers(0, 3, 40_000)],
        "probabilities": rng.random((40_000, 3), np.float32),
    }

    def encode(rows):
        return decoded.encode_answer(
            numeric_model.manifest, {n: a[rows] for n, a in outputs.items()}
        ).content

    whole, yields = count_yields(lambda: encode(slice(None)))
    assert yields >= 3
    parts = [encode(slice(at, at + 1000)) for at in range(0, 40_000, 1000)]
    if accepted:
        assert whole == b"".join(parts)
    else:
        assert flatten(json.loads(whole)) == flatten(*map(json.loads, parts))


def flatten(*answers):
    """Return the numbers and texts of answers by their path in the JSON, rows one after another."""
    found = {}

    def walk(value, path):
        if isinstance(value, list):
            for item in value:
                is_named = isinstance(item, dict) and "name" in item
                walk(item, (*path, item["name"]) if is_named else path)
        elif isinstance(value, dict):
            for key, item in value.items():
                if key != "shape":
                    walk(item, (*path, key))
        else:
            found.setdefault(path, []).append(value)

    for answer in answers:
        walk(answer, ())
    once = {"model", "version", "model_name", "model_version", "name", "datatype"}
    return {path: set(v) if path[-1] in once else v for path, v in found.items()}


def test_decode_tensor_length_differs_from_shape_is_refused_undecoded(mixed_model, monkeypatch):
    monkeypatch.delattr(open_inference_tensors, "validate_long_column")
    short = {"name": "grade", "shape": [3], "datatype": "BYTES", "data": ["1", "2"]}
    binary = {
        "name": "grade",
        "shape": [3],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": 8},
    }
    head = json.dumps({"inputs": [binary]}).encode()
    with pytest.raises(InvalidInstancesError, match="expected 3 elements of .*; got 2"):
        decode_inference_request(
            EncodedRequest(json.dumps({"inputs": [short]}).encode()), mixed_model.schema
        )
    monkeypatch.undo()
    request = EncodedRequest(head + bytes(8), json_length=len(head))
    with pytest.raises(
        InvalidInstancesError, match=r"expected 3 elements .*; got fewer in 8 bytes"
    ):
        decode_inference_request(request, mixed_model.schema)


def test_decode_tensorflow_too_many_rows_are_refused_undecoded(mixed_model, monkeypatch):
    monkeypatch.delattr(tensorflow, "decode_column")
    count = 2**20 // len(mixed_model.schema) + 1
    body = b'{"inputs":{"grade":[' + b'"1",' * (count - 1) + b'"1"]}}'
    with pytest.raises(InvalidInstancesError, match=f"expected at most {count - 1} instances"):
        decode_tensorflow_request(EncodedRequest(body), mixed_model.schema)
