"""Columns of float64, and dates that are written as numbers, in every body format."""

import io
import json
import struct

import numpy as np
import pyarrow as pa
import pytest

from serving.bundle import DateColumn, NumberColumn
from serving.codec.input_schema import InputSchema
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.rows import decode_rows_request
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import InvalidInstancesError

ARROW, NPY = "application/vnd.apache.arrow.stream", "application/x-npy"
RAW, CSV = "application/octet-stream", "text/csv"
NORTHING = NumberColumn(
    name="northing", type="number", missing="refuse", dtype="float64", minimum=0, maximum=1
)
X = NumberColumn(name="x", type="number", missing="impute", minimum=0, maximum=1)
PRECISE = InputSchema([NORTHING, X])
VALUES = [5812345.001, 5812345.002, -1e300]


def json_body(columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return decode_rows_request, EncodedRequest(json.dumps({"instances": rows}).encode())


def json_rows(columns):
    rows = list(zip(*columns.values(), strict=True))
    return decode_rows_request, EncodedRequest(json.dumps({"instances": rows}).encode())


def csv_body(columns):
    lines = [",".join(columns)]
    lines += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    return decode_rows_request, EncodedRequest("\n".join(lines).encode(), CSV)


def arrow_body(columns):
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return decode_rows_request, EncodedRequest(sink.getvalue(), ARROW)


def tensorflow_body(columns):
    return decode_tensorflow_request, EncodedRequest(json.dumps({"inputs": columns}).encode())


def tensors(columns, datatypes):
    inputs = [
        {"name": name, "datatype": datatypes[name], "shape": [len(values)], "data": list(values)}
        for name, values in columns.items()
    ]
    return decode_inference_request, EncodedRequest(json.dumps({"inputs": inputs}).encode())


def binary_tensor(name, values, datatype, code):
    data = struct.pack(f"<{len(values)}{code}", *values)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": [len(values), 1],
                    "parameters": {"binary_data_size": len(data)},
                }
            ]
        }
    ).encode()
    return decode_inference_request, EncodedRequest(head + data, RAW, json_length=len(head))


def decode(decoder_and_request, schema):
    decoder, request = decoder_and_request
    return decoder(request, schema).inputs


@pytest.mark.parametrize(
    "encode",
    [
        json_body,
        json_rows,
        csv_body,
        arrow_body,
        tensorflow_body,
        lambda columns: tensors(columns, {"northing": "FP64", "x": "FP32"}),
    ],
)
def test_float64_column_every_format_keeps_all_digits(encode):
    inputs = decode(encode({"northing": VALUES, "x": [1.0, 2.0, 3.0]}), PRECISE)
    assert inputs["northing"].dtype == np.float64
    assert inputs["northing"][:, 0].tolist() == VALUES
    assert inputs["x"].dtype == np.float32


@pytest.mark.parametrize("value", ["1e400", str(10**400)])
def test_float64_column_number_beyond_float64_is_refused(value):
    request = EncodedRequest(f'{{"instances": [{{"northing": {value}, "x": 1}}]}}'.encode())
    with pytest.raises(InvalidInstancesError, match="float64 cannot hold|finite"):
        decode_rows_request(request, PRECISE)


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "BF16"])
def test_float64_column_tensor_of_a_narrow_datatype_is_refused(datatype):
    columns = {"northing": [1.0], "x": [1.0]}
    with pytest.raises(InvalidInstancesError, match=f"of FP64, since .* got {datatype}"):
        decode(tensors(columns, {"northing": datatype, "x": "FP32"}), PRECISE)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16()])
@pytest.mark.parametrize("is_encoded", [False, True])
def test_float64_column_arrow_column_of_a_narrow_type_is_refused(kind, is_encoded):
    northing = pa.array(np.ones(1), pa.float64()).cast(kind)
    if is_encoded:
        northing = pa.DictionaryArray.from_arrays(pa.array([0]), northing)
    columns = {"northing": northing, "x": pa.array([1.0])}
    with pytest.raises(InvalidInstancesError, match="expected float64 in field 'northing'"):
        decode(arrow_body(columns), PRECISE)


def test_float64_column_accepts_integers():
    columns = {"northing": pa.array([5812345], pa.int64()), "x": pa.array([1.0])}
    assert decode(arrow_body(columns), PRECISE)["northing"][0, 0] == 5812345


@pytest.mark.parametrize("media", [NPY, RAW])
def test_float64_column_matrix_error_names_the_accepted_formats(media):
    file = io.BytesIO()
    np.save(file, np.ones((1, 2)))
    with pytest.raises(InvalidInstancesError, match='reads "northing" in float64.*JSON, CSV or'):
        decode_rows_request(
            EncodedRequest(file.getvalue() if media == NPY else bytes(8), media), PRECISE
        )


def test_float64_column_features_tensor_error_names_the_inputs():
    features = {"features": [1.0, 2.0]}
    with pytest.raises(InvalidInstancesError, match='"northing", "x".*no matrix'):
        decode(tensors(features, {"features": "FP32"}), PRECISE)


SECONDS = 1679097600.0  # 2023-03-18T00:00:00Z
NUMBERS = {
    "iso8601": 1679097600,
    "seconds": 1679097600,
    "milliseconds": 1679097600000,
    "microseconds": 1679097600000000,
    "nanoseconds": 1679097600000000000,
    "%Y%m%d": 20230318,
}


def dates(date_format):
    return InputSchema(
        [
            DateColumn(
                name="t",
                type="date",
                missing="impute",
                minimum="2020-01-01",
                maximum="2024-01-01",
                format=date_format,
            )
        ]
    )


@pytest.mark.parametrize(("date_format", "number"), NUMBERS.items())
@pytest.mark.parametrize(
    "encode",
    [
        json_body,
        json_rows,
        arrow_body,
        tensorflow_body,
        lambda columns: tensors(columns, {"t": "INT64"}),
        lambda columns: tensors(columns, {"t": "FP64"}),
        lambda columns: binary_tensor("t", columns["t"], "INT64", "q"),
        lambda columns: binary_tensor("t", columns["t"], "FP64", "d"),
    ],
)
def test_date_number_is_read_by_the_columns_format(encode, date_format, number):
    assert decode(encode({"t": [number]}), dates(date_format))["t"].tolist() == [[SECONDS]]


@pytest.mark.parametrize("date_format", [w for w in NUMBERS if w != "iso8601"])
@pytest.mark.parametrize("encode", [json_body, csv_body, tensorflow_body])
@pytest.mark.parametrize("text", ["2023-03-18", "2023-03-18T00:00:00Z", "20230318T000000Z", None])
def test_date_text_of_a_number_or_of_iso_8601_is_read(encode, date_format, text):
    text = str(NUMBERS[date_format]) if text is None else text
    assert decode(encode({"t": [text]}), dates(date_format))["t"].tolist() == [[SECONDS]]


@pytest.mark.parametrize("date_format", NUMBERS)
def test_date_arrow_timestamp_ignores_the_columns_unit(date_format):
    times = pa.array([int(SECONDS)], pa.timestamp("s"))
    assert decode(arrow_body({"t": times}), dates(date_format))["t"].tolist() == [[SECONDS]]


@pytest.mark.parametrize(
    ("date_format", "number"),
    [
        ("%Y%m%d", 20231318),
        ("%Y%m%d", 20230229),
        ("%Y%m%d", 1679097600),
        ("%Y%m%d", 20230318.5),
        ("milliseconds", 1e18),
        ("nanoseconds", 1e30),
        ("seconds", 1e12),
    ],
)
@pytest.mark.parametrize("encode", [json_body, arrow_body, csv_body])
def test_date_number_that_is_no_date_is_refused(encode, date_format, number):
    with pytest.raises(InvalidInstancesError, match="field 't'"):
        decode(encode({"t": [number]}), dates(date_format))


@pytest.mark.parametrize("date_format", NUMBERS)
def test_date_gap_stays_a_gap(date_format):
    inputs = decode(json_body({"t": [None, NUMBERS[date_format]]}), dates(date_format))
    assert np.isnan(inputs["t"][0, 0])
    columns = {"t": pa.array([None, NUMBERS[date_format]], pa.int64())}
    inputs = decode(arrow_body(columns), dates(date_format))
    np.testing.assert_array_equal(inputs["t"][:, 0], [np.nan, SECONDS])


# For each unit, the first and the last number that is a date, and the numbers just outside, which
# are not. As float64, those of microseconds and of nanoseconds would be equal.
EDGES = [
    ("microseconds", 253402300799999999, True),  # 9999-12-31T23:59:59.999999
    ("microseconds", 253402300800000000, False),
    ("microseconds", -62135596800000000, True),  # 0001-01-01
    ("microseconds", -62135596800000001, False),
    ("nanoseconds", 2**63 - 1, True),
    ("nanoseconds", -(2**63) + 1, True),
    ("nanoseconds", -(2**63), False),  # by which pandas and NumPy store a missing time
    ("seconds", 253402300799, True),
    ("seconds", 253402300800, False),
]


@pytest.mark.parametrize(("date_format", "number", "is_date"), EDGES)
def test_date_first_and_last_number_of_a_unit_are_the_same_in_every_format(
    date_format, number, is_date
):
    bodies = [
        json_body({"t": [number]}),
        csv_body({"t": [number]}),
        arrow_body({"t": pa.array([number], pa.int64())}),
        tensors({"t": [number]}, {"t": "INT64"}),
        binary_tensor("t", [number], "INT64", "q"),
    ]
    found = []
    for body in bodies:
        try:
            found.append(decode(body, dates(date_format))["t"].tolist())
        except InvalidInstancesError:
            found.append(None)
    assert found == [found[0]] * len(bodies)
    assert (found[0] is not None) == is_date


def test_date_column_of_days_error_does_not_mention_seconds():
    for text in ("2024", "20240230"):
        with pytest.raises(InvalidInstancesError, match="a day such as 20240517") as raised:
            decode(csv_body({"t": [text]}), dates("%Y%m%d"))
        assert "seconds" not in raised.value.message
