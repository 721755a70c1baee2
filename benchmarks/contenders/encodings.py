"""Encodings: rows as each server wants them, and the probabilities out of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = "Inference-Header-Content-Length"  # of the binary extension, in requests and answers
INPUT, OUTPUT = "features", "probabilities"


@dataclass(frozen=True)
class Request:
    """What is posted: headers, and a body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Encoding:
    """How rows are asked about.

    Attributes:
        path: where to post, given the network's name.
        request: rows float32 `(n, 784)` as they are posted.
        probabilities: of an answer's headers and body, float `(n, 10)`.
    """

    path: Callable[[str], str]
    request: Callable[[NDArray[np.float32]], Request]
    probabilities: Callable[[Mapping[str, str], bytes], NDArray[Any]]


def _as_written(rows: NDArray[np.float32]) -> list[list[float]]:
    """Numbers of four decimals, as a client has them, and not float32's nearest."""
    return [[float(str(value)) for value in row] for row in rows]


def _json(content: object) -> Request:
    return Request({"Content-Type": "application/json"}, json.dumps(content).encode())


def _instances(rows: NDArray[np.float32]) -> Request:
    return _json({"instances": _as_written(rows)})


def _of_instances(_: Mapping[str, str], body: bytes) -> NDArray[Any]:
    return np.array(json.loads(body)[OUTPUT])


def _tensor(rows: NDArray[np.float32]) -> dict[str, object]:
    return {"name": INPUT, "shape": list(rows.shape), "datatype": "FP32"}


def _tensors(rows: NDArray[np.float32]) -> Request:
    flat = [value for row in _as_written(rows) for value in row]
    return _json({"inputs": [_tensor(rows) | {"data": flat}]})


def _of_tensors(_: Mapping[str, str], body: bytes) -> NDArray[Any]:
    output = next(o for o in json.loads(body)["outputs"] if o["name"] == OUTPUT)
    return np.array(output["data"]).reshape(output["shape"])


def _binary(rows: NDArray[np.float32]) -> Request:
    raw = rows.astype("<f4").tobytes()
    described = _tensor(rows) | {"parameters": {"binary_data_size": len(raw)}}
    content = {"inputs": [described], "parameters": {"binary_data_output": True}}
    head = json.dumps(content).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER: str(len(head))}
    return Request(headers, head + raw)


def _of_binary(headers: Mapping[str, str], body: bytes) -> NDArray[Any]:
    at = int(headers[HEADER])
    for output in json.loads(body[:at])["outputs"]:
        end = at + output["parameters"]["binary_data_size"]
        if output["name"] == OUTPUT:
            return np.frombuffer(body[at:end], "<f4").reshape(output["shape"])
        at = end
    raise KeyError(OUTPUT)


ROWS = Encoding(lambda _: "/predict", _instances, _of_instances)
V2 = Encoding(lambda name: f"/v2/models/{name}/infer", _tensors, _of_tensors)
V2_BINARY = Encoding(V2.path, _binary, _of_binary)
