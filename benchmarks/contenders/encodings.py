"""Request encodings: rows as each server expects them, and the probabilities in its answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"  # binary extension, requests and answers
INPUT_NAME, OUTPUT_NAME = "features", "probabilities"


@dataclass(frozen=True)
class PostRequest:
    """The headers and the body of a POST request."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class RequestEncoding:
    """How rows are encoded as a request, and how its answer is decoded.

    Attributes:
        make_path: Function that takes the network's name and returns the URL path.
        encode: Function that encodes rows, float32 `(n, 784)`.
        decode: Function that takes an answer's headers and body and returns the probabilities,
            float `(n, 10)`.
    """

    make_path: Callable[[str], str]
    encode: Callable[[NDArray[np.float32]], PostRequest]
    decode: Callable[[Mapping[str, str], bytes], NDArray[Any]]


def _to_decimals(rows: NDArray[np.float32]) -> list[list[float]]:
    """Return the numbers with four decimals, as a client has them, instead of float32's digits."""
    return [[float(str(value)) for value in row] for row in rows]


def _encode_json(content: object) -> PostRequest:
    return PostRequest({"Content-Type": "application/json"}, json.dumps(content).encode())


def _encode_instances(rows: NDArray[np.float32]) -> PostRequest:
    return _encode_json({"instances": _to_decimals(rows)})


def _decode_instances(_: Mapping[str, str], body: bytes) -> NDArray[Any]:
    return np.array(json.loads(body)[OUTPUT_NAME])


def _describe_tensor(rows: NDArray[np.float32]) -> dict[str, object]:
    return {"name": INPUT_NAME, "shape": list(rows.shape), "datatype": "FP32"}


def _encode_tensors(rows: NDArray[np.float32]) -> PostRequest:
    data = [value for row in _to_decimals(rows) for value in row]
    return _encode_json({"inputs": [_describe_tensor(rows) | {"data": data}]})


def _decode_tensors(_: Mapping[str, str], body: bytes) -> NDArray[Any]:
    output = next(o for o in json.loads(body)["outputs"] if o["name"] == OUTPUT_NAME)
    return np.array(output["data"]).reshape(output["shape"])


def _encode_binary(rows: NDArray[np.float32]) -> PostRequest:
    data = rows.astype("<f4").tobytes()
    tensor = _describe_tensor(rows) | {"parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(head))}
    return PostRequest(headers, head + data)


def _decode_binary(headers: Mapping[str, str], body: bytes) -> NDArray[Any]:
    start = int(headers[JSON_LENGTH_HEADER])
    for output in json.loads(body[:start])["outputs"]:
        end = start + output["parameters"]["binary_data_size"]
        if output["name"] == OUTPUT_NAME:
            return np.frombuffer(body[start:end], "<f4").reshape(output["shape"])
        start = end
    raise KeyError(OUTPUT_NAME)


JSON_INSTANCES = RequestEncoding(lambda _: "/predict", _encode_instances, _decode_instances)
OPEN_INFERENCE = RequestEncoding(
    lambda network: f"/v2/models/{network}/infer", _encode_tensors, _decode_tensors
)
OPEN_INFERENCE_BINARY = RequestEncoding(OPEN_INFERENCE.make_path, _encode_binary, _decode_binary)
