"""Requests for the load generator: different rows, and the probabilities that are correct."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.contender_server import MAX_PROBABILITY_ERROR, ContenderServer
from benchmarks.contenders.networks import FEATURES
from serving.loadtest.http_client import ServerAddress
from serving.loadtest.request_builder import encode_http_request
from serving.loadtest.run_record import PreparedRequest

REQUEST_COUNT = 16


def draw_row_sets(count: int) -> list[NDArray[np.float32]]:
    """Draw the rows of each request, float32 `(count, 784)`, from 0 to 1 with four decimals."""
    drawn = np.random.default_rng(count).random((REQUEST_COUNT, count, FEATURES))
    return list(drawn.round(4).astype(np.float32))


def prepare_request(
    server: ContenderServer, features: NDArray[np.float32], expected: NDArray[np.float32]
) -> PreparedRequest:
    """Prepare a request, after sending it once and checking the answer.

    Args:
        server: Server that the request is for.
        features: Rows, float32 `(n, 784)`.
        expected: Probabilities that ONNX Runtime computes, float32 `(n, 10)`.

    Raises:
        StartError: If the server's answer is wrong.
    """
    encoding = server.contender.encoding
    request = encoding.encode(features)
    server.check_answer(request, expected)
    headers, body = server.post(request)

    def find_fault(other_body: bytes) -> str | None:
        """Check an answer with other bytes; in another batch, the last digits may differ."""
        try:
            got = encoding.decode(headers, other_body)
        except (LookupError, ValueError) as error:
            return f"expected an answer with probabilities; got {error!r}"
        if got.shape == expected.shape and (np.abs(got - expected) <= MAX_PROBABILITY_ERROR).all():
            return None
        return f"expected the probabilities {expected[0]}; got {got[:1]}"

    address = ServerAddress("127.0.0.1", server.ports[0])
    path = encoding.make_path(server.network)
    return PreparedRequest(
        encode_http_request("POST", path, address, request.headers, request.body),
        len(expected),
        body,
        find_fault,
    )
