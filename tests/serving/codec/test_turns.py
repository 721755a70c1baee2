"""Long bodies: others have their turns while one is decoded, in a gevent loop as the server's."""

import io
import json

import gevent
import pyarrow as pa
import pytest

from serving.bundle import Number
from serving.codec import csv_rows, inference_tensor
from serving.codec.columns import VALUES
from serving.codec.fields import Fields
from serving.codec.inference_v2 import ask_inference
from serving.codec.rows import ask_rows
from serving.codec.tensorflow import ask_tensorflow
from serving.errors import InvalidInstancesError
from serving.wire import Message

ARROW = "application/vnd.apache.arrow.stream"
WIDE = Fields(
    [
        Number(name=f"c{i}", type="number", missing="impute", minimum=0, maximum=1)
        for i in range(500)
    ]
)
NAMES = ",".join(WIDE.places)
LINE = ",1" * 499
GAPS = [[None] * 500] * 400


def arrow(count):
    stream = io.BytesIO()
    columns = pa.table({"work": ["private"] * count, "grade": ["1"] * count})
    with pa.ipc.new_stream(stream, columns.schema) as writer:
        writer.write_table(columns)
    return stream.getvalue()


def tensor(datatype, count, values):
    shape = [count, len(WIDE)]
    inputs = [{"name": "features", "shape": shape, "datatype": datatype, "data": values}]
    return json.dumps({"inputs": inputs}).encode()


def turns_during(decode):
    """What a body is decoded to, and how often another greenlet has had its turn meanwhile."""
    turns = 0

    def other():
        nonlocal turns
        while True:
            gevent.sleep(1e-9)
            turns += 1

    greenlet = gevent.spawn(other)
    try:
        gevent.sleep(0.01)
        turns = 0
        found = gevent.spawn(decode).get()
        return found, turns
    finally:
        greenlet.kill()


def instances(value):
    return json.dumps({"instances": value}).encode()


BODIES = {  # each of 200,000 values
    "records": (ask_rows, instances([{"c0": 1.5}] * 400), ""),
    "gaps in rows": (ask_rows, instances(GAPS), ""),
    "gaps in columns": (ask_tensorflow, json.dumps({"inputs": GAPS}).encode(), ""),
    "gaps in a tensor": (ask_inference, tensor("FP32", 400, [None] * 200_000), ""),
    "truths in a tensor": (ask_inference, tensor("BOOL", 400, [True] * 200_000), ""),
    "csv": (ask_rows, (NAMES + f"\nNA{LINE}" * 400).encode(), "text/csv"),
}


@pytest.mark.parametrize("case", BODIES)
def test_others_have_turns_by_the_values_of_a_wide_table(case):
    ask, body, media = BODIES[case]
    message = Message(body, media) if media else Message(body)
    question, turns = turns_during(lambda: ask(message, WIDE))
    assert question.inputs["features"].shape == (400, 500)
    assert turns >= 200_000 // VALUES // 2


def test_others_have_turns_while_texts_are_decoded(table):
    question, turns = turns_during(lambda: ask_rows(Message(arrow(100_000), ARROW), table.fields))
    assert question.inputs["work"].shape == (100_000, 1)
    assert turns >= 4 * 100_000 // VALUES // 2  # two columns, each decoded and checked


def test_others_have_turns_between_the_steps_of_numpy(vector):
    rows = b"[1.25,1,3.5]," * 100_000
    body = b'{"instances":[' + rows[:-1] + b"]}"
    question, turns = turns_during(lambda: ask_rows(Message(body), vector.fields))
    assert question.inputs["features"].shape == (100_000, 3)
    assert turns >= 3


@pytest.mark.parametrize("datatype", ["INT64", "UINT8", "BOOL"])
def test_integers_never_are_python_objects(datatype, monkeypatch):
    monkeypatch.delattr(inference_tensor, "_numbers")
    message = Message(tensor(datatype, 2, [0, 1] * 500))
    found = ask_inference(message, WIDE).inputs["features"]
    assert found.tolist() == [[0, 1] * 250] * 2


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1])
def test_integers_up_to_the_last_are_taken(value):
    found = ask_inference(Message(tensor("INT64", 1, [value] * 500)), WIDE).inputs["features"]
    assert (found == float(value)).all()


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT64", 2**63), ("INT64", 0.5), ("UINT8", 256), ("UINT8", -1), ("BOOL", 2), ("BOOL", 0.5)],
)
@pytest.mark.parametrize("others", [0, None])
def test_the_one_number_of_another_datatype_is_named(datatype, value, others):
    values = [others] * 499 + [value]
    with pytest.raises(InvalidInstancesError, match=f"of {datatype}; got .* at place 499"):
        ask_inference(Message(tensor(datatype, 1, values)), WIDE)


@pytest.mark.parametrize("header", [NAMES, NAMES.replace(",", " , ") + "\r", f"\ufeff{NAMES}"])
def test_lines_below_a_header_are_read_by_numpy(header, monkeypatch):
    monkeypatch.delattr(csv_rows, "_instances")
    body = f"{header}\n1{LINE}\n2{LINE}\n".encode()
    found = ask_rows(Message(body, "text/csv"), WIDE).inputs["features"]
    assert found[:, 0].tolist() == [1, 2]
    assert (found[:, 1:] == 1).all()
