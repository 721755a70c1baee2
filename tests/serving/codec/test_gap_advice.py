"""Errors of NaN and infinity say how a gap is sent, in every body format."""

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
TAKES_GAPS = "for a missing value send null (NaN in binary, an empty value in CSV)"
TAKES_NONE = "and this column accepts no missing value"
MODELS = {
    missing: InputSchema(
        [NumberColumn(name=n, type="number", missing=missing, minimum=0, maximum=1) for n in "ab"]
    )
    for missing in ("impute", "refuse")
}


def npy(values):
    stream = io.BytesIO()
    np.save(stream, np.array([values], np.float64))
    return stream.getvalue()


def arrow(values):
    table, stream = pa.table({"a": [values[0]], "b": [values[1]]}), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def tensor(values):
    return f'{{"inputs":[{{"name":"features","datatype":"FP32","shape":[1,2],"data":{values}}}]}}'


BODIES = {  # of the values 1 and infinity, or what comes closest
    "record": ("rows", '{"instances":[{"a":1,"b":Infinity}]}', "application/json"),
    "record, NaN": ("rows", '{"instances":[{"a":1,"b":NaN}]}', "application/json"),
    "record, text": ("rows", '{"instances":[{"a":1,"b":"NaN"}]}', "application/json"),
    "row": ("rows", '{"instances":[[1,-Infinity]]}', "application/json"),
    "row, text": ("rows", '{"instances":[[1,"inf"]]}', "application/json"),
    "csv": ("rows", "1,inf\n", CSV),
    "npy": ("rows", npy([1, np.inf]), NPY),
    "raw": ("rows", np.array([1, np.inf], "<f4").tobytes(), OCTETS),
    "arrow": ("rows", arrow([1.0, np.inf]), ARROW),
    "tensorflow rows": ("tensorflow", '{"instances":[[1,NaN]]}', "application/json"),
    "tensorflow columns": ("tensorflow", '{"inputs":[[1,"nan"]]}', "application/json"),
    "tensor, text": ("inference_v2", tensor('[1,"NaN"]'), "application/json"),
}


def refusal(body, fields):
    protocol, content, media = body
    content = content.encode() if isinstance(content, str) else content
    with pytest.raises(ServingError) as raised:
        PROTOCOL_DECODERS[protocol](EncodedRequest(content, media), fields)
    return raised.value


@pytest.mark.parametrize("body", BODIES)
def test_no_number_where_the_model_fills_gaps_error_says_how_to_send_one(body):
    error = refusal(BODIES[body], MODELS["impute"])
    assert (error.status, error.message.endswith(f"; {TAKES_GAPS}")) == (422, True), error.message


@pytest.mark.parametrize("body", BODIES)
def test_no_number_where_the_model_fills_no_gap_error_says_so(body):
    error = refusal(BODIES[body], MODELS["refuse"])
    assert error.status == 422
    assert error.message.endswith(f", {TAKES_NONE}"), error.message
    assert "send null" not in error.message


# Protocols whose JSON is read as columns; there NaN makes the whole body no JSON.
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
def test_nan_among_columns_error_says_how_a_gap_is_sent(protocol, model, advice):
    error = refusal((protocol, COLUMNS[protocol], "application/json"), MODELS[model])
    assert error.status == 400
    assert error.message.endswith(f"which is not valid JSON{advice}"), error.message


def test_nan_among_columns_some_take_gaps_error_names_them(table):
    body = b'{"inputs":{"age":[NaN]}}'
    error = refusal(("tensorflow", body, "application/json"), table.fields)
    assert error.message.endswith(
        'got one with NaN, which is not valid JSON; send null for a missing value, which the model accepts in "age", '
        '"member", "work", "since"'
    )


def test_nan_among_columns_of_very_many_the_error_names_a_few():
    names = [f"column {place}" for place in range(2000)]
    fields = InputSchema(
        [
            NumberColumn(name=name, type="number", missing="impute", minimum=0, maximum=1)
            for name in names
        ]
        + [NumberColumn(name="last", type="number", missing="refuse", minimum=0, maximum=1)]
    )
    body = b'{"inputs":[[NaN]]}'
    error = refusal(("tensorflow", body, "application/json"), fields)
    assert error.message.endswith('"column 4" and 1995 more')
