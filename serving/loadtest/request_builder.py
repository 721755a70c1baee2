"""Build the requests of a load from instances, in each format, and learn their correct answers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from serving.loadtest.answer_check import AnswerChecker, RequestFormat, parse_answer
from serving.loadtest.http_client import (
    JSON_MEDIA_TYPE,
    ServerAddress,
    UnusableServerError,
    format_host,
    quote_error_body,
)
from serving.loadtest.instances import Row, date_to_number
from serving.loadtest.run_record import PreparedRequest
from serving.loadtest.target import LoadTarget, SchemaColumn

DEFAULT_REQUEST_COUNT = 64
OCTET_STREAM = "application/octet-stream"
JSON_LENGTH_HEADER = "Inference-Header-Content-Length"  # length of the JSON before raw tensors
DATATYPES_BY_KIND = {"number": "FP32", "boolean": "FP32", "category": "BYTES", "date": "FP64"}
DTYPES_BY_DATATYPE = {"FP32": "<f4", "FP64": "<f8"}

EncodedPost = tuple[str, Mapping[str, str], bytes]  # path, headers, body


def build_requests(
    target: LoadTarget,
    row_counts: Sequence[int],
    request_format: RequestFormat,
    instances: Sequence[Row],
    *,
    count: int = DEFAULT_REQUEST_COUNT,
) -> list[PreparedRequest]:
    """Build different requests, and send each once to learn its correct answer.

    Args:
        target: Server and model.
        row_counts: Numbers of instances per request, used in turn.
        request_format: Format of the requests.
        instances: One instance or more, used in turn and repeated if needed. The requests are all
            different if there are at least as many instances as requests.
        count: Number of requests.

    Raises:
        UnusableServerError: If the server answers one of them with an error, or wrongly.
    """
    requests = []
    for number in range(count):
        rows = row_counts[number % len(row_counts)]
        first = number * _choose_stride(rows, len(instances))
        chosen = [instances[(first + offset) % len(instances)] for offset in range(rows)]
        requests.append(_build_request(target, request_format, chosen))
    return requests


def _choose_stride(rows: int, instance_count: int) -> int:
    """Return the distance between the first instances of consecutive requests.

    It is at least `rows` and coprime to the number of instances, so that requests begin at every
    instance before they begin at the same one again.
    """
    while gcd(rows, instance_count) > 1:
        rows += 1
    return rows


def encode_http_request(
    method: str, path: str, address: ServerAddress, headers: Mapping[str, str], body: bytes = b""
) -> bytes:
    """Encode an HTTP/1.1 request for a persistent connection.

    Args:
        method: Method, in capitals.
        path: Absolute path, with its query.
        address: Address of the server, for the Host header.
        headers: Headers, without Host and Content-Length.
        body: Request body; empty for none.
    """
    is_default_port = address.port == (443 if address.use_tls else 80)
    host = format_host(address.host) + ("" if is_default_port else f":{address.port}")
    all_headers = {"Host": host, **headers}
    if body or method != "GET":
        all_headers["Content-Length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def _build_request(
    target: LoadTarget, request_format: RequestFormat, rows: Sequence[Row]
) -> PreparedRequest:
    path, headers, body = ENCODERS[request_format](target, rows)
    full_path = target.base_path + path
    status, answer = target.post(path, headers, body)
    if status != 200:
        raise UnusableServerError(
            f"expected status 200 for POST {full_path}; got {status}: {quote_error_body(answer)}; "
            "check the instances and the format"
        )
    if fault := AnswerChecker(request_format, target, len(rows))(answer):
        raise UnusableServerError(
            f"expected a correct answer to POST {full_path} before the load starts: {fault}"
        )
    version = parse_answer(answer, request_format, target).version
    if version != target.version:
        raise UnusableServerError(
            f"expected version {target.version} of {target.model}, as before; got {version}: the "
            "server has loaded another version meanwhile; try again"
        )
    all_headers = {**headers, **target.headers}
    return PreparedRequest(
        http_bytes=encode_http_request("POST", full_path, target.address, all_headers, body),
        rows=len(rows),
        expected_body=answer,
        find_fault=AnswerChecker(request_format, target, len(rows), answer),
    )


def _encode_json(target: LoadTarget, rows: Sequence[Row]) -> EncodedPost:
    """Encode `POST /predict`: instances as lists if all columns are numbers, else as records."""
    path = "/predict" if target.is_only_model else f"/predict?model={quote(target.model, safe='')}"
    instances = [_to_numbers(row) for row in rows] if target.has_single_input else list(rows)
    return path, {"Content-Type": JSON_MEDIA_TYPE}, orjson.dumps({"instances": instances})


def _encode_open_inference(target: LoadTarget, rows: Sequence[Row]) -> EncodedPost:
    """Encode a request of the Open Inference Protocol, with tensors in JSON."""
    body = orjson.dumps({"inputs": _build_input_tensors(target, rows)})
    return _infer_path(target), {"Content-Type": JSON_MEDIA_TYPE}, body


def _encode_binary(target: LoadTarget, rows: Sequence[Row]) -> EncodedPost:
    """Encode a request of the Open Inference Protocol, with raw tensors in request and answer."""
    inputs, parts = _build_input_tensors(target, rows), []
    for tensor in inputs:
        parts.append(_encode_raw_tensor(tensor.pop("data"), tensor["datatype"]))
        tensor["parameters"] = {"binary_data_size": len(parts[-1])}
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": OCTET_STREAM, JSON_LENGTH_HEADER: str(len(head))}
    return _infer_path(target), headers, b"".join([head, *parts])


ENCODERS: Mapping[RequestFormat, Callable[[LoadTarget, Sequence[Row]], EncodedPost]] = {
    "json": _encode_json,
    "oip": _encode_open_inference,
    "binary": _encode_binary,
}


def _infer_path(target: LoadTarget) -> str:
    return f"/v2/models/{quote(target.model, safe='')}/infer"


def _build_input_tensors(target: LoadTarget, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Build the input tensors with their data: one for all columns, or one per column."""
    if target.has_single_input:
        data = [value for row in rows for value in _to_numbers(row)]
        shape = [len(rows), len(target.columns)]
        return [{"name": "features", "shape": shape, "datatype": "FP32", "data": data}]
    return [
        {
            "name": column.name,
            "shape": [len(rows), 1],
            "datatype": "FP64" if column.dtype == "float64" else DATATYPES_BY_KIND[column.kind],
            "data": [_to_tensor_element(row, column) for row in rows],
        }
        for column in target.columns
    ]


def _to_numbers(row: Row) -> list[Any]:
    """Return the values of a row, booleans as 1 and 0."""
    return [int(value) if isinstance(value, bool) else value for value in row.values()]


def _to_tensor_element(row: Row, column: SchemaColumn) -> float | str | None:
    """Return a value of a row as an element of its tensor; None for a missing value."""
    value = row[column.name]
    if column.kind == "date" and isinstance(value, str):
        return date_to_number(value, column)
    return int(value) if isinstance(value, bool) else value


def _encode_raw_tensor(data: list[Any], datatype: str) -> bytes:
    """Encode the elements of a tensor; a missing value is NaN, or an empty text."""
    if datatype != "BYTES":
        return np.array(data, np.float64).astype(DTYPES_BY_DATATYPE[datatype]).tobytes()
    texts = [(text or "").encode() for text in data]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
