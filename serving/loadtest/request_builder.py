"""Requests out of rows, in each format, with the answer that the server gives when it has time."""

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

DEFAULT_REQUEST_COUNT = 64  # different requests
OCTET_STREAM = "application/octet-stream"
JSON_LENGTH_HEADER = (
    "Inference-Header-Content-Length"  # of the binary extension: of the body, how many
)
DATATYPES_BY_KIND = {"number": "FP32", "boolean": "FP32", "category": "BYTES", "date": "FP64"}
DTYPES_BY_DATATYPE = {"FP32": "<f4", "FP64": "<f8"}

EncodedPost = tuple[str, Mapping[str, str], bytes]  # a path, headers, a body


def build_requests(
    target: LoadTarget,
    rows_of_a_request: Sequence[int],
    form: RequestFormat,
    instances: Sequence[Row],
    *,
    count: int = DEFAULT_REQUEST_COUNT,
) -> list[PreparedRequest]:
    """Requests that are known to be answered, and how.

    Each is asked once, by itself, before there is any load.

    Args:
        target: who is asked.
        rows_of_a_request: sizes, which come in turn.
        form: of the bodies.
        instances: one or more, which come in turn, and again if they are fewer than are needed;
            requests are all different as long as there are as many instances as requests.
        count: of requests, all sizes together.

    Raises:
        TargetError: the server does not answer one of them, or wrongly.
    """
    made = []
    for number in range(count):
        rows = rows_of_a_request[number % len(rows_of_a_request)]
        first = number * _choose_stride(rows, len(instances))
        asked = [instances[(first + place) % len(instances)] for place in range(rows)]
        made.append(_build_request(target, form, asked))
    return made


def _choose_stride(rows: int, among: int) -> int:
    """How far apart requests begin: clear of each other, and nowhere twice before everywhere."""
    while gcd(rows, among) > 1:
        rows += 1
    return rows


def encode_http_request(
    method: str, path: str, address: ServerAddress, headers: Mapping[str, str], body: bytes = b""
) -> bytes:
    """A request as it goes over the wire: HTTP/1.1, whose connections are kept open.

    Args:
        method: in capitals.
        path: with its query.
        address: of the server, for Host.
        headers: beside Host and Content-Length.
        body: that follows the head.
    """
    usual = address.port == (443 if address.tls else 80)
    host = format_host(address.host) + ("" if usual else f":{address.port}")
    lines = {"Host": host, **headers}
    if body or method != "GET":
        lines["Content-Length"] = str(len(body))
    told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{told}\r\n".encode("latin-1") + body


def _build_request(target: LoadTarget, form: RequestFormat, rows: Sequence[Row]) -> PreparedRequest:
    path, headers, body = ENCODERS[form](target, rows)
    status, answer = target.post(path, headers, body)
    if status != 200:
        raise UnusableServerError(
            f"expected POST {target.base}{path} to be answered with 200; got {status}: "
            f"{quote_error_body(answer)}"
        )
    if wrong := AnswerChecker(form, target, len(rows))(answer):
        raise UnusableServerError(
            f"expected a right answer to POST {target.base}{path} before there is any load: {wrong}"
        )
    version = parse_answer(answer, form, target).version
    if version != target.version:
        raise UnusableServerError(
            f"expected version {target.version} of {target.model}, as before; got {version}: the "
            "server has reloaded; try again"
        )
    return PreparedRequest(
        wire=encode_http_request(
            "POST", target.base + path, target.address, {**headers, **target.headers}, body
        ),
        rows=len(rows),
        expected=answer,
        fault=AnswerChecker(form, target, len(rows), answer),
    )


def _encode_json(target: LoadTarget, rows: Sequence[Row]) -> EncodedPost:
    """Records, or of numbers alone lists, as clients have them."""
    path = "/predict" if target.alone else f"/predict?model={quote(target.model, safe='')}"
    asked = [_to_numbers(row) for row in rows] if target.all_numbers else list(rows)
    return path, {"Content-Type": JSON_MEDIA_TYPE}, orjson.dumps({"instances": asked})


def _encode_open_inference(target: LoadTarget, rows: Sequence[Row]) -> EncodedPost:
    """The Open Inference Protocol's tensors in JSON."""
    return (
        _infer_path(target),
        {"Content-Type": JSON_MEDIA_TYPE},
        orjson.dumps({"inputs": _build_input_tensors(target, rows)}),
    )


def _encode_binary(target: LoadTarget, rows: Sequence[Row]) -> EncodedPost:
    """The same with the binary extension, for the answer too."""
    inputs, parts = _build_input_tensors(target, rows), []
    for each in inputs:
        parts.append(_encode_raw_tensor(each.pop("data"), each["datatype"]))
        each["parameters"] = {"binary_data_size": len(parts[-1])}
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
    """The input tensors with their data: one of all columns, or one a column."""
    if target.all_numbers:
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
    """A row of numbers, truths as 1 and 0."""
    return [int(value) if isinstance(value, bool) else value for value in row.values()]


def _to_tensor_element(row: Row, column: SchemaColumn) -> float | str | None:
    """A value as its tensor has it; None for a gap."""
    value = row[column.name]
    if column.kind == "date" and isinstance(value, str):
        return date_to_number(value, column)
    return int(value) if isinstance(value, bool) else value


def _encode_raw_tensor(data: list[Any], datatype: str) -> bytes:
    """A tensor's elements as bytes; a gap is NaN, or an empty text."""
    if datatype != "BYTES":
        return np.array(data, np.float64).astype(DTYPES_BY_DATATYPE[datatype]).tobytes()
    texts = [(text or "").encode() for text in data]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
