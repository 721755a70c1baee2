"""The requests of a soak: correct ones in each format, faulty ones with their expected status."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.loadtest.answer_check import REQUEST_FORMATS
from serving.loadtest.http_client import JSON_MEDIA_TYPE
from serving.loadtest.instances import generate_instances
from serving.loadtest.request_builder import build_requests, encode_http_request
from serving.loadtest.run_record import PreparedRequest
from serving.loadtest.target import LoadTarget

ROW_COUNTS = (1, 32)
REQUESTS_PER_FORMAT = 16
OK = http.client.OK


@dataclass(frozen=True)
class SoakRequest:
    """A request, and the status that it must be answered with.

    Attributes:
        prepared: The request; its answer is checked if the expected status is 200.
        expected_status: Expected HTTP status.
    """

    prepared: PreparedRequest
    expected_status: int


def build_correct_requests(target: LoadTarget, rng: np.random.Generator) -> list[SoakRequest]:
    """Build requests of 1 and 32 rows in JSON and in the formats of the Open Inference Protocol.

    Args:
        target: Server and model; the server answers each request once before the load.
        rng: NumPy random generator that draws the rows.

    Raises:
        UnusableServerError: If the server answers one of them with an error, or wrongly.
    """
    instances = generate_instances(target, REQUESTS_PER_FORMAT * max(ROW_COUNTS), rng)
    return [
        SoakRequest(prepared, OK)
        for request_format in REQUEST_FORMATS
        for prepared in build_requests(
            target, ROW_COUNTS, request_format, instances, count=REQUESTS_PER_FORMAT
        )
    ]


def build_faulty_requests(target: LoadTarget) -> list[SoakRequest]:
    """Build one request of each kind that the server must refuse."""
    path, infer = f"/predict?model={target.model}", f"/v2/models/{target.model}/infer"
    narrow_row = _encode_json({"instances": [[1.0]]})
    row = _encode_json({"instances": [[1.0] * len(target.columns)]})
    tensor = {"name": "features", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    return [
        _build_faulty(target, path, b'{"instances": [[1.0,', 400),
        _build_faulty(target, infer, b"{", 400),
        _build_faulty(target, path, narrow_row, 422),
        _build_faulty(target, infer, _encode_json({"inputs": [tensor]}), 422),
        _build_faulty(target, "/predict?model=no-such-model", row, 404),
        _build_faulty(target, "/v2/models/no-such-model/infer", row, 404),
        _build_faulty(target, path, row, 415, "text/plain"),
    ]


def _encode_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _build_faulty(
    target: LoadTarget,
    path: str,
    body: bytes,
    expected_status: int,
    content_type: str = JSON_MEDIA_TYPE,
) -> SoakRequest:
    headers = {"Content-Type": content_type, **target.headers}
    http_bytes = encode_http_request("POST", path, target.address, headers, body)
    fault = f"expected status {expected_status}; got 200"
    return SoakRequest(PreparedRequest(http_bytes, 0, None, lambda _: fault), expected_status)
