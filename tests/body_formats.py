"""Encoders of columns in every body format, with pyarrow, NumPy and the standard library alone.

Each takes columns of Python values, None for a gap; it returns a decoder and a request.
"""

import csv
import gzip
import io
import json
import math
import struct
import zlib

import numpy as np
import pyarrow as pa

from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.rows import decode_rows_request
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import InvalidInstancesError
from serving.http.compression import decompress

ARROW = "application/vnd.apache.arrow.stream"
NPY, RAW, CSV = "application/x-npy", "application/octet-stream", "text/csv"


def json_rows(columns):
    rows = list(zip(*columns.values(), strict=True))
    return decode_rows_request, EncodedRequest(json.dumps({"instances": rows}).encode())


def json_records(columns):
    rows = zip(*columns.values(), strict=True)
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    return decode_rows_request, EncodedRequest(json.dumps({"instances": records}).encode())


def tensorflow_rows(columns):
    return decode_tensorflow_request, json_rows(columns)[1]


def write_csv(columns, *, header):
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([list(columns)] * header)
    writer.writerows(zip(*columns.values(), strict=True))
    return decode_rows_request, EncodedRequest(stream.getvalue().encode(), CSV)


def tensorflow_columns(columns):
    return decode_tensorflow_request, EncodedRequest(json.dumps({"inputs": columns}).encode())


def write_arrow(arrays, *, rows_of_a_batch=3, **options):
    stream = io.BytesIO()
    table = pa.table(arrays)
    with pa.ipc.new_stream(
        stream, table.schema, options=pa.ipc.IpcWriteOptions(**options)
    ) as writer:
        writer.write_table(table, max_chunksize=rows_of_a_batch)
    return decode_rows_request, EncodedRequest(stream.getvalue(), ARROW)


def oip_json(tensors, *, nested):
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": [len(values), *[1] * nested],
            "data": [[value] for value in values] if nested else values,
        }
        for name, (datatype, values) in tensors.items()
    ]
    return decode_inference_request, EncodedRequest(json.dumps({"inputs": inputs}).encode())


def oip_binary(tensors):
    inputs, parts = [], []
    for name, (datatype, values) in tensors.items():
        if datatype == "BYTES":
            texts = [("" if value is None else value).encode() for value in values]
            parts.append(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        else:
            gaps = [math.nan if value is None else value for value in values]
            parts.append(np.array(gaps, DTYPES[datatype]).tobytes())
        inputs.append(
            {
                "name": name,
                "datatype": datatype,
                "shape": [len(values)],
                "parameters": {"binary_data_size": len(parts[-1])},
            }
        )
    head = json.dumps({"inputs": inputs}).encode()
    return decode_inference_request, EncodedRequest(b"".join([head, *parts]), json_length=len(head))


def write_npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return decode_rows_request, EncodedRequest(stream.getvalue(), NPY)


DTYPES = {"FP32": "f4", "FP64": "f8", "INT64": "i8", "INT32": "i4", "UINT64": "u8", "BOOL": "?"}


def decode(decoder, request, schema):
    """Return the arrays, or None if the model does not accept the instances."""
    squeezed = b"".join(decompress(gzip.compress(request.content, 1), "gzip", 2**24))
    assert zlib.crc32(squeezed) == zlib.crc32(request.content)
    try:
        return decoder(request, schema).inputs
    except InvalidInstancesError:
        return None


def to_comparable(array):
    """Return a form of an array that is equal only for arrays equal to the last bit."""
    if array.dtype == object:
        return array.tolist()
    # The graph does not distinguish the many bit patterns of NaN.
    canonical = np.where(np.isnan(array), np.nan, array)
    return canonical.tobytes()


def assert_same(bodies, schema):
    """Assert that all bodies give the same arrays; return them, or None if all are refused."""
    found = {name: decode(*body, schema) for name, body in bodies.items()}
    first, *others = found
    for other in others:
        assert (found[first] is None) == (found[other] is None), f"{first} and {other}"
        for name, array in (found[first] or {}).items():
            assert array.dtype == found[other][name].dtype
            assert array.shape == found[other][name].shape
            assert to_comparable(array) == to_comparable(found[other][name]), (
                f"{name}: {first} and {other}"
            )
    return found[first]
