"""Requests out of rows, in each format, with the answer that the server gives when it has time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from serving.loadtest.answer_check import Form, Judge, read_answer
from serving.loadtest.http_client import JSON, Address, TargetError, bracketed, quoted
from serving.loadtest.instances import Row, number_of_date
from serving.loadtest.run_record import Call
from serving.loadtest.target import Column, Target

COUNT = 64  # different requests
RAW = "application/octet-stream"
JSON_BYTES = "Inference-Header-Content-Length"  # of the binary extension: of the body, how many
DATATYPES = {"number": "FP32", "boolean": "FP32", "category": "BYTES", "date": "FP64"}
DTYPES = {"FP32": "<f4", "FP64": "<f8"}

Post = tuple[str, Mapping[str, str], bytes]  # a path, headers, a body


def calls(
    target: Target,
    rows_of_a_request: Sequence[int],
    form: Form,
    instances: Sequence[Row],
    *,
    count: int = COUNT,
) -> list[Call]:
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
        first = number * _step(rows, len(instances))
        asked = [instances[(first + place) % len(instances)] for place in range(rows)]
        made.append(_call(target, form, asked))
    return made


def _step(rows: int, among: int) -> int:
    """How far apart requests begin: clear of each other, and nowhere twice before everywhere."""
    while gcd(rows, among) > 1:
        rows += 1
    return rows


def wire(
    method: str, path: str, address: Address, headers: Mapping[str, str], body: bytes = b""
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
    host = bracketed(address.host) + ("" if usual else f":{address.port}")
    lines = {"Host": host, **headers}
    if body or method != "GET":
        lines["Content-Length"] = str(len(body))
    told = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{told}\r\n".encode("latin-1") + body


def _call(target: Target, form: Form, rows: Sequence[Row]) -> Call:
    path, headers, body = POSTS[form](target, rows)
    status, answer = target.post(path, headers, body)
    if status != 200:
        raise TargetError(
            f"expected POST {target.base}{path} to be answered with 200; got {status}: "
            f"{quoted(answer)}"
        )
    if wrong := Judge(form, target, len(rows))(answer):
        raise TargetError(
            f"expected a right answer to POST {target.base}{path} before there is any load: {wrong}"
        )
    version = read_answer(answer, form, target).version
    if version != target.version:
        raise TargetError(
            f"expected version {target.version} of {target.model}, as before; got {version}: the "
            "server has reloaded; try again"
        )
    return Call(
        wire=wire("POST", target.base + path, target.address, {**headers, **target.headers}, body),
        rows=len(rows),
        expected=answer,
        fault=Judge(form, target, len(rows), answer),
    )


def _json(target: Target, rows: Sequence[Row]) -> Post:
    """Records, or of numbers alone lists, as clients have them."""
    path = "/predict" if target.alone else f"/predict?model={quote(target.model, safe='')}"
    asked = [_numbers(row) for row in rows] if target.all_numbers else list(rows)
    return path, {"Content-Type": JSON}, orjson.dumps({"instances": asked})


def _tensors(target: Target, rows: Sequence[Row]) -> Post:
    """The Open Inference Protocol's tensors in JSON."""
    return _infer(target), {"Content-Type": JSON}, orjson.dumps({"inputs": _inputs(target, rows)})


def _binary(target: Target, rows: Sequence[Row]) -> Post:
    """The same with the binary extension, for the answer too."""
    inputs, parts = _inputs(target, rows), []
    for each in inputs:
        parts.append(_raw(each.pop("data"), each["datatype"]))
        each["parameters"] = {"binary_data_size": len(parts[-1])}
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": RAW, JSON_BYTES: str(len(head))}
    return _infer(target), headers, b"".join([head, *parts])


POSTS: Mapping[Form, Callable[[Target, Sequence[Row]], Post]] = {
    "json": _json,
    "oip": _tensors,
    "binary": _binary,
}


def _infer(target: Target) -> str:
    return f"/v2/models/{quote(target.model, safe='')}/infer"


def _inputs(target: Target, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The input tensors with their data: one of all columns, or one a column."""
    if target.all_numbers:
        data = [value for row in rows for value in _numbers(row)]
        shape = [len(rows), len(target.columns)]
        return [{"name": "features", "shape": shape, "datatype": "FP32", "data": data}]
    return [
        {
            "name": column.name,
            "shape": [len(rows), 1],
            "datatype": "FP64" if column.dtype == "float64" else DATATYPES[column.kind],
            "data": [_element(row, column) for row in rows],
        }
        for column in target.columns
    ]


def _numbers(row: Row) -> list[Any]:
    """A row of numbers, truths as 1 and 0."""
    return [int(value) if isinstance(value, bool) else value for value in row.values()]


def _element(row: Row, column: Column) -> float | str | None:
    """A value as its tensor has it; None for a gap."""
    value = row[column.name]
    if column.kind == "date" and isinstance(value, str):
        return number_of_date(value, column)
    return int(value) if isinstance(value, bool) else value


def _raw(data: list[Any], datatype: str) -> bytes:
    """A tensor's elements as bytes; a gap is NaN, or an empty text."""
    if datatype != "BYTES":
        return np.array(data, np.float64).astype(DTYPES[datatype]).tobytes()
    texts = [(text or "").encode() for text in data]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
