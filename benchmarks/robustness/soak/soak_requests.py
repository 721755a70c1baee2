"""Requests: good ones in each format, and bad ones with the status that each must get."""

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

ROWS = (1, 32)
COUNT = 16  # good requests of each format
OK = http.client.OK


@dataclass(frozen=True)
class Asked:
    """A request, and what it must be answered with.

    Attributes:
        call: as it is sent.
        status: that it must get; only of 200 is the answer looked at.
    """

    call: PreparedRequest
    status: int


def good(target: LoadTarget, rng: np.random.Generator) -> list[Asked]:
    """Rows as JSON and as the Open Inference Protocol has them, 1 and 32 at a time.

    Args:
        target: who is asked, and answers each once before there is any load.
        rng: what draws the rows.

    Raises:
        UnusableServerError: the server does not answer one of them, or wrongly.
    """
    drawn = generate_instances(target, COUNT * max(ROWS), rng)
    return [
        Asked(call, OK)
        for form in REQUEST_FORMATS
        for call in build_requests(target, ROWS, form, drawn, count=COUNT)
    ]


def bad(target: LoadTarget) -> list[Asked]:
    """One request of each kind that must be refused."""
    path = f"/predict?model={target.model}"
    narrow = _json({"instances": [[1.0]]})
    row = _json({"instances": [[1.0] * len(target.columns)]})
    tensor = {"name": "features", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}
    return [
        _refused(target, path, b'{"instances": [[1.0,', 400),
        _refused(target, f"/v2/models/{target.model}/infer", b"{", 400),
        _refused(target, path, narrow, 422),
        _refused(target, f"/v2/models/{target.model}/infer", _json({"inputs": [tensor]}), 422),
        _refused(target, "/predict?model=no-such-model", row, 404),
        _refused(target, "/v2/models/no-such-model/infer", row, 404),
        _refused(target, path, row, 415, "text/plain"),
    ]


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _refused(
    target: LoadTarget,
    path: str,
    body: bytes,
    status: int,
    content_type: str = JSON_MEDIA_TYPE,
) -> Asked:
    headers = {"Content-Type": content_type, **target.headers}
    sent = encode_http_request("POST", path, target.address, headers, body)
    return Asked(
        PreparedRequest(sent, 0, None, lambda _: "expected to be refused; got 200"), status
    )
