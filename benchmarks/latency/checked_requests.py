"""Requests for the generator: different rows, and the probabilities that are right for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.contender_server import TOLERANCE, Server
from benchmarks.contenders.encodings import Encoding
from benchmarks.contenders.networks import FEATURES
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.request_builder import encode_http_request
from serving.loadtest.run_record import PreparedRequest

DIFFERENT = 16


def rows(count: int) -> list[NDArray[np.float32]]:
    """Rows of each request, float32 `(count, 784)`, as `networks.rows` has them."""
    drawn = np.random.default_rng(count).random((DIFFERENT, count, FEATURES))
    return list(drawn.round(4).astype(np.float32))


def call(
    server: Server, features: NDArray[np.float32], right: NDArray[np.float32]
) -> PreparedRequest:
    """A request that this server was asked once, and answered rightly.

    Args:
        server: that is to be asked.
        features: of the rows.
        right: probabilities as ONNX Runtime has them, `(n, 10)`.
    """
    encoding: Encoding = server.side.encoding
    request = encoding.request(features)
    server.check(request, right)
    headers, body = server.post(request)

    def fault(other: bytes) -> str | None:
        """Answers of other bytes may be right, too: joined with others, last digits change."""
        try:
            found = encoding.probabilities(headers, other)
        except (LookupError, ValueError) as error:
            return f"expected an answer with probabilities; got {error!r}"
        if found.shape == right.shape and (np.abs(found - right) <= TOLERANCE).all():
            return None
        return f"expected the probabilities {right[0]}; got {found[:1]}"

    address = ServerAddress("127.0.0.1", server.ports[0])
    path = encoding.path(server.network)
    return PreparedRequest(
        encode_http_request("POST", path, address, request.headers, request.body),
        len(right),
        body,
        fault,
    )
