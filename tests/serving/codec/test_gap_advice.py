"""Errors about NaN and infinity say how to send a missing value, in every body format."""

import io

import numpy as np
import pyarrow as pa
import pytest

from serving.bundle import NumberColumn
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.errors import ServingError
from serving.inference.predictor import PROTOCOL_DECODERS

OCTETS, NPY, CSV = "application/octet-stream", "application/x-npy", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
ACCEPTS_GAPS = "for a missing value send null (NaN in binary, an empty value in CSV)"
ACCEPTS_NO_GAPS = "and this column accepts no missing value"
MODELS = {
    missing: InputSchema(
        [NumberColumn(name=n, type="number", missing=missing, minimum=0, maximum=1) for n in "ab"]
    )
    for missing in ("impute", "refuse")
}


def write_npy(values):
    stream = io.BytesIO()
    np.save(stream, np.array([values], np.float64))
    return stream.getvalue()


def write_arrow(values):
    table, stream = pa.table({"a": [values[0]], "b": [values[1]]}), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def tensor(values):
    return f'{{"inputs":[{{"name":"features","datatype":"FP32","shape":[1,2],"data":{values}}}]}}'


# Protocol, content and media type of bodies with the values 1 and infinity, or NaN where the format
# has no infinity.
BODIES = {
    "record": ("rows", '{"instances":[{"a":1,"b":Infinity}]}', "application/json"),
    "record, NaN": ("rows", '{"instances":[{"a":1,"b":NaN}]}', "application/json"),
    "record, text": ("rows", '{"instances":[{"a":1,"b":"NaN"}]}', "application/json"),
    "row": ("rows", '{"instances":[[1,-Infinity]]}', "application/json"),
    "row, text": ("rows", '{"instances":[[1,"inf"]]}', "application/json"),
    "csv": ("rows", "1,inf\n", CSV),
    "npy": ("rows", write_npy([1, np.inf]), NPY),
    "raw": ("rows", np.array([1, np.inf], "<f4").tobytes(), OCTETS),
    "arrow": ("rows", write_arrow([1.0, np.inf]), ARROW),
    "tensorflow rows": ("tensorflow", '{"instances":[[1,NaN]]}', "application/json"),
    "tensorflow columns": ("tensorflow", '{"inputs":[[1,"nan"]]}', "application/json"),
    "tensor, text": ("inference_v2", tensor('[1,"NaN"]'), "application/json"),
}


def get_error(body, schema):
    protocol, content, media = body
    content = content.encode() if isinstance(content, str) else content
    with pytest.raises(ServingError) as raised:
        PROTOCOL_DECODERS[protocol](EncodedRequest(content, media), schema)
    return raised.value


@pytest.mark.parametrize("body", BODIES)
def test_gap_advice_column_accepts_gaps_error_says_how_to_send_one(body):
    error = get_error(BODIES[body], MODELS["impute"])
    assert (error.status, error.message.endswith(f"; {ACCEPTS_GAPS}")) == (422, True), error.message


@pytest.mark.parametrize("body", BODIES)
def test_gap_advice_column_accepts_no_gaps_error_says_so(body):
    error = get_error(BODIES[body], MODELS["refuse"])
    assert error.status == 422
    assert error.message.endswith(f", {ACCEPTS_NO_GAPS}"), error.message
    assert "send null" not in error.message


# Protocols whose JSON holds columns. simdjson parses these bodies, and NaN makes them malformed.
COLUMNS = {
    "tensorflow": '{"inputs":{"a":[1],"b":[NaN]}}',
    "inference_v2": tensor("[1,-Infinity]"),
}


@pytest.mark.parametrize("protocol", COLUMNS)
@pytest.mark.parametrize(
    ("model", "advice"),
    [
        ("impute", "; send null for a missing value"),
        ("refuse", "; send a number, since no column of the model accepts a missing value"),
    ],
)
def test_gap_advice_nan_in_json_columns_error_says_how_to_send_a_gap(protocol, model, advice):
    error = get_error((protocol, COLUMNS[protocol], "application/json"), MODELS[model])
    assert error.status == 400
    assert error.message.endswith(f"which is not valid JSON{advice}"), error.message


def test_gap_advice_nan_in_json_columns_error_names_those_that_accept_gaps(mixed_model):
    body = b'{"inputs":{"age":[NaN]}}'
    error = get_error(("tensorflow", body, "application/json"), mixed_model.schema)
    assert error.message.endswith(
        "got one with NaN, which is not valid JSON; send null for a missing value, which the model "
        'accepts in "age", "member", "work", "since"'
    )


def test_gap_advice_nan_among_thousands_of_columns_error_names_a_few():
    names = [f"column {place}" for place in range(2000)]
    schema = InputSchema(
        [
            NumberColumn(name=name, type="number", missing="impute", minimum=0, maximum=1)
            for name in names
        ]
        + [NumberColumn(name="last", type="number", missing="refuse", minimum=0, maximum=1)]
    )
    body = b'{"inputs":[[NaN]]}'
    error = get_error(("tensorflow", body, "application/json"), schema)
    assert error.message.endswith('"column 4" and 1995 more')
